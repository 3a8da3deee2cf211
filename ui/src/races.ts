/** The playground: surfaces, rules, and how they raced. */
import type { Num } from "./types"

export interface SurfaceView {
  id: string
  name: string
  formula: string
  bounds: [[number, number], [number, number]]
  width: number
  height: number
  values: Num[]
  start: [number, number]
  minima: [number, number][]
  goal: string | null // when a racer stops, in words
  drift: [number, number] | null // how far the whole surface moves in a step
  shows: string
  does_not_show: string
  kind: "classic" | "plane"
  source: string
}

export interface RuleView {
  name: string
  label: string
  equation: string
  options: {
    name: string
    label: string
    value: number
    low: number
    high: number
    scale: "log" | "linear" | "one-minus-log"
  }[]
}

export interface Racer {
  rule: string
  options: Record<string, number>
}

export interface RaceRequest {
  surface: string
  start: [number, number]
  steps: number
  noise: number
  clip: Num
  seed: number
  goal: Num // stop nearer than this to a lowest minimum; null: the surface's own goal; 0: nowhere
  racers: Racer[]
}

export interface RaceResult {
  racers: {
    rule: string
    x: Num[]
    y: Num[]
    loss: Num[]
    status: "reached" | "finished" | "diverged"
    steps: number
    message: string
  }[]
  every: number // the points are of the steps 0, every, 2 every, ..., and the last
  seconds: number
}

export interface Preset extends RaceRequest {
  id: string
  title: string
  see: string
  not: string
  result: RaceResult | null // only inside a report
}

export interface Playground {
  surfaces: SurfaceView[]
  rules: RuleView[]
  presets: Preset[]
  live: boolean
}
