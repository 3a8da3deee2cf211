/** The map as a display list: the surface once, and over it the paths up to a step. */
import { linearTicks } from "../axis"
import { lines, regions } from "../contours"
import type { Drawing, Shape } from "../drawing"
import { number } from "../format"
import { levels } from "../levels"
import { sequential, type Theme } from "../palette"
import { ticked } from "../ticks"
import type { Num, SurfaceView } from "../types"
import { aim, cross, gone, lost, within } from "./signs"
import { axes, camera, type Track, upTo } from "./tracks"

type Point = [number, number]

export interface Frame {
  width: number
  height: number
  left: number
  top: number
  w: number
  h: number
  x: (value: number) => number
  y: (value: number) => number
  backX: (pixel: number) => number
  backY: (pixel: number) => number
}

const TALLEST = 600
const FAR = 4000 // pixels: what is farther from the map is not drawn
const LEVELS = 16

/** The map's place on a drawing: as many pixels a unit along x as along y, where that is not too long. */
export function frame(surface: SurfaceView, width: number, tallest = TALLEST): Frame {
  const [[low, high], [bottom, up]] = surface.bounds
  const ratio = Math.min(Math.max((up - bottom) / (high - low), 0.6), 1.4)
  const [top, under, side] = [8, 26, 10]
  const left = 44
  const room = width - left - side
  const w = Math.max(Math.min(room, (tallest - top - under) / ratio), 60)
  const h = w * ratio
  const from = left + (room - w) / 2
  return {
    width,
    height: Math.round(h + top + under),
    left: from,
    top,
    w,
    h,
    x: (value) => from + ((value - low) / (high - low)) * w,
    y: (value) => top + h - ((value - bottom) / (up - bottom)) * h,
    backX: (pixel) => low + ((pixel - from) / w) * (high - low),
    backY: (pixel) => bottom + ((top + h - pixel) / h) * (up - bottom),
  }
}

function mixed(colour: string, paper: string, much: number): string {
  const parts = (text: string): number[] => {
    if (!text.startsWith("#")) return (text.match(/[\d.]+/g) ?? []).map(Number)
    const size = text.length > 4 ? 2 : 1 // #fff is #ffffff
    return [0, 1, 2].map((i) => parseInt(text.slice(1 + size * i, 1 + size * (i + 1)).repeat(3 - size), 16))
  }
  const [a, b] = [parts(colour), parts(paper)]
  return `rgb(${a.map((value, i) => Math.round(much * value + (1 - much) * b[i])).join(",")})`
}

/** Values for which levels are chosen: a minimum of 0 on the grid would ask for a level at every power of ten down to it. */
function floored(values: Num[]): Num[] {
  const sorted = values.filter((value): value is number => value !== null).sort((a, b) => a - b)
  const floor = sorted[Math.floor(0.006 * sorted.length)] ?? 0
  return values.map((value) => (value === null ? null : Math.max(value, floor)))
}

/** The surface in bands of equal colour with their borders; the lower, the darker on light paper. */
export function ground(surface: SurfaceView, box: Frame, theme: Theme): Shape[] {
  const grid = { ...axes(surface), values: surface.values }
  const cut = levels(floored(surface.values), LEVELS)
  const dark = document.documentElement.dataset.theme === "dark"
  const tone = (k: number): string =>
    mixed(sequential(0.12 + (0.83 * k) / Math.max(cut.values.length, 1)), theme.paper, dark ? 0.62 : 0.5)
  const at = (points: readonly Point[]): Point[] => points.map(([x, y]) => [box.x(x), box.y(y)])
  const inside: Shape[] = [{ kind: "rect", x: box.left, y: box.top, w: box.w, h: box.h, fill: tone(0) }]
  cut.values.forEach((level, k) => {
    const points = regions(grid, level).flatMap((loop): Point[] => [...at(loop), [NaN, NaN]])
    if (points.length > 0) inside.push({ kind: "area", points, colour: tone(k + 1), opacity: 1 })
  })
  for (const level of cut.values) {
    for (const line of lines(grid, level)) {
      inside.push({ kind: "line", points: at(line.points), colour: theme.ink, width: 0.7, opacity: 0.28 })
    }
  }
  return [{ kind: "clip", x: box.left, y: box.top, w: box.w, h: box.h, shapes: inside }]
}

/** The ticks of both axes as they stand in a step. */
export function ticks(surface: SurfaceView, box: Frame, theme: Theme, at: number): Shape[] {
  const [dx, dy] = camera(surface, at)
  const [[low, high], [bottom, up]] = surface.bounds
  const corner = {
    left: box.left,
    bottom: box.top + box.h,
    x: (value: number) => box.x(value - dx),
    y: (value: number) => box.y(value - dy),
  }
  const across = linearTicks(low + dx, high + dx, box.w / 80)
  return ticked(across, linearTicks(bottom + dy, up + dy, box.h / 50), corner, theme)
}

export interface Shown {
  at: number
  start: Point
  aim: Point | null // where the keys are about to put the start
  bright: number | null // the entrant that is pointed at
}

/** Paths, heads, minima and the start, in a step. */
export function actors(surface: SurfaceView, box: Frame, theme: Theme, all: Track[], shown: Shown): Shape[] {
  const [dx, dy] = camera(surface, shown.at)
  const place = (x: number, y: number): Point => [box.x(x - dx), box.y(y - dy)]
  const shapes: Shape[] = []
  if (surface.drift) {
    const points: Point[] = [
      place(surface.minima[0][0], surface.minima[0][1]),
      [box.x(surface.minima[0][0]), box.y(surface.minima[0][1])],
    ]
    shapes.push({ kind: "line", points, colour: theme.ink, width: 1.5, dash: [2, 4], label: "the target's way" })
  }
  for (const [x, y] of surface.minima) shapes.push(...cross(box.x(x), box.y(y), theme))
  const order = [...all].sort((a, b) => Number(a.row === shown.bright) - Number(b.row === shown.bright))
  const ends: Shape[] = []
  for (const track of order) {
    const faded = shown.bright !== null && track.row !== shown.bright
    const { points, tip, whole } = walked(track, shown.at, place, surface.drift !== null)
    if (tip === null) continue
    const opacity = faded ? 0.25 : 1
    if (!faded) shapes.push({ kind: "line", points, colour: theme.paper, width: 5, opacity: 0.75 })
    shapes.push({
      kind: "line",
      points,
      colour: track.colour,
      width: track.row === shown.bright ? 3.4 : 2.4,
      dash: track.dash,
      opacity,
      label: track.name,
    })
    const [x, y] = tip
    const done = shown.at >= track.end
    if (faded) continue
    if (done && track.status === "diverged") ends.push(...lost(x, y, track.colour, box))
    else if (!whole || !within(x, y, box)) ends.push(...gone(x, y, track.colour, theme, box))
    else {
      ends.push({
        kind: "circle",
        x,
        y,
        r: done && track.status === "reached" ? 7 : 5,
        fill: track.colour,
        stroke: theme.paper,
      })
      if (done && track.status === "reached") ends.push({ kind: "circle", x, y, r: 2.5, fill: theme.paper })
    }
  }
  const [sx, sy] = place(shown.start[0], shown.start[1])
  ends.push(
    { kind: "circle", x: sx, y: sy, r: 6.5, fill: "none", stroke: theme.ink },
    { kind: "circle", x: sx, y: sy, r: 2, fill: theme.ink },
  )
  if (shown.aim) ends.push(...aim(box.x(shown.aim[0]), box.y(shown.aim[1]), theme))
  return [{ kind: "clip", x: box.left, y: box.top, w: box.w, h: box.h, shapes: [...shapes, ...ends] }]
}

interface Walk {
  points: Point[]
  tip: Point | null // where it is
  whole: boolean // whether it is still near the map
}

/**
 * The pixels of a track up to a step, without those too near to the last to be seen.
 *
 * It ends where it goes far from the map; where the map itself moves, what lies far behind is left out.
 */
function walked(track: Track, at: number, place: (x: number, y: number) => Point, moving: boolean): Walk {
  const points: Point[] = []
  let tip: Point | null = null
  const n = upTo(track, at)
  for (let k = 0; k < n; k += 1) {
    const [x, y] = [track.x[k], track.y[k]]
    if (x === null || y === null) return { points, tip, whole: false }
    const [px, py] = place(x, y)
    const far = Math.abs(px) > FAR || Math.abs(py) > FAR
    tip = [Math.max(Math.min(px, FAR), -FAR), Math.max(Math.min(py, FAR), -FAR)]
    if (far && moving) continue
    const last = points[points.length - 1]
    if (last === undefined || k === n - 1 || Math.hypot(px - last[0], py - last[1]) > 0.6) points.push(tip)
    if (far) return { points, tip, whole: false }
  }
  return { points, tip, whole: true }
}

/** The picture with a title and the names, for a file; its table holds every point. */
export function drawing(surface: SurfaceView, width: number, theme: Theme, all: Track[], shown: Shown): Drawing {
  const box = frame(surface, width)
  const shapes: Shape[] = [
    ...ground(surface, box, theme),
    ...ticks(surface, box, theme, shown.at),
    ...actors(surface, box, theme, all, { ...shown, aim: null, bright: null }),
  ]
  let y = box.height + 16
  for (const track of all) {
    shapes.push({
      kind: "line",
      points: [
        [12, y - 4],
        [40, y - 4],
      ],
      colour: track.colour,
      width: 2.5,
      dash: track.dash,
    })
    const said = `${track.name}: ${track.message}`
    shapes.push({ kind: "text", x: 48, y, text: said, size: 12, colour: theme.ink, anchor: "start" })
    y += 18
  }
  const title = `${surface.name}: ${surface.formula}`
  shapes.push({
    kind: "text",
    x: 12,
    y: y + 4,
    text: `${title} · n = ${all.length} racers`,
    size: 12,
    colour: theme.soft,
    anchor: "start",
  })
  const rows = all.flatMap((track) =>
    track.steps.map((step, k) => [track.name, step, track.x[k], track.y[k], track.loss[k]]),
  )
  const table = { columns: ["racer", "step", "x", "y", "loss"], rows }
  return { width, height: y + 16, background: theme.paper, title, shapes, table }
}

/** A place in words. */
export function said([x, y]: Point): string {
  return `(${number(x)}, ${number(y)})`
}
