/** A finished race as paths over the map, and where everybody is in a step. */
import type { Num, RaceResult, SurfaceView } from "../types"
import type { Look } from "./setup"

export interface Track extends Look {
  row: number // among the entrants
  steps: number[]
  x: Num[]
  y: Num[]
  loss: Num[]
  status: RaceResult["racers"][number]["status"]
  end: number
  message: string
}

/** The racers of a result with the looks of the entrants that ran. */
export function tracks(result: RaceResult, running: number[], looks: Look[]): Track[] {
  return result.racers.map((racer, i) => {
    const last = racer.x.length - 1
    const steps = racer.x.map((_, k) => (k === last ? racer.steps : k * result.every))
    const { x, y, loss, status, message } = racer
    return { ...looks[running[i]], row: running[i], steps, x, y, loss, status, end: racer.steps, message }
  })
}

export function longest(all: Track[]): number {
  return all.reduce((most, track) => Math.max(most, track.end), 0)
}

/** How many points of a track belong to steps up to `at`. */
export function upTo(track: Track, at: number): number {
  let [low, high] = [0, track.steps.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (track.steps[middle] <= at) low = middle + 1
    else high = middle
  }
  return low
}

/** A dense grid's coordinates. */
export function axes(surface: SurfaceView): { x: number[]; y: number[] } {
  const along = ([low, high]: [number, number], n: number): number[] =>
    Array.from({ length: n }, (_, i) => low + (i / (n - 1)) * (high - low))
  return { x: along(surface.bounds[0], surface.width), y: along(surface.bounds[1], surface.height) }
}

/** Where the camera is in a step: it travels with a surface that moves. */
export function camera(surface: SurfaceView, at: number): [number, number] {
  return surface.drift ? [at * surface.drift[0], at * surface.drift[1]] : [0, 0]
}
