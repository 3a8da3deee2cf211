/** What was measured on a model: its layers, its surface, what is wrong with it, how the data moved. */
import type { Num } from "./types"

export interface LayerQuantity {
  key: string
  label: string
  scale: "log" | "linear" | "share"
  good: [Num, Num] | null
  values: Num[][] // [layer][time]
}

export interface Experiments {
  rows: string[]
  columns: string[]
  row: string
  column: string
  metric: string
  values: Num[][]
  n: number[][]
  of: number[][] // seeds, with those that diverged
}

export interface Layers {
  recipe: string
  seed: number
  rows: number
  steps: number[]
  layers: { name: string; kind: string; activation: string | null }[]
  quantities: LayerQuantity[]
  notes: string[]
  experiments: Experiments | null
}

export interface PathPoint {
  at: number[]
  step: Num
  loss: Num
  off: number
  recorded: Num
  name: string
}

export interface Path {
  run: string
  points: PathPoint[]
}

/** A surface over two axes, y-major: values[j * x.length + i]. */
export interface Plane {
  kind: string
  title: string
  axes: [string, string]
  x: number[]
  y: number[]
  values: Num[]
  others: Record<string, Num[]>
  data: string
  explained: number[] | null
  evaluated: number
  error: number
  paths: Path[]
  words: string[]
  complete: boolean
}

export interface SliceView {
  kind: string
  title: string
  axis: string
  x: number[]
  values: Num[]
  others: Record<string, Num[]>
  marks: PathPoint[]
  words: string[]
}

export interface Landscape {
  task: string
  where: string
  loss: Num
  data: string
  planes: Plane[]
  slices: SliceView[]
  connections: { kind: string; x: number[]; values: Num[]; sentence: string }[]
  sentences: string[]
  notes: string[]
  complete: boolean
}

export interface Outcome {
  before: Num
  after: Num
  interval: [Num, Num]
  seeds: number
  steps: [number, number] | null // of a run without and with the remedy; an older study does not say
  helps: boolean
  sentence: string
}

export interface Finding {
  code: string
  severity: "error" | "warning" | "note"
  where: string
  sentence: string
  evidence: { name: string; value: Num; threshold: Num; error: Num }[]
  confidence: number
  remedy: { kind: "recipe" | "code"; text: string; diff: { field: string; before: string; after: string }[] } | null
  can_try: boolean
  outcome: Outcome | null
  page: string // what the code means, plain text paragraphs
}

export interface Findings {
  title: string
  recipe: string
  findings: Finding[]
  measured: string[]
  not_measured: { what: string; why: string }[]
  notes: string[] // e.g. that the task has changed
  cost: { gradient_evaluations: number; seconds: number }
}

export interface ShiftView {
  kind: string | null
  title: string
  sentence: string
  confidence: Num
  rows: { reference: number; incoming: number }
  features: { name: string; effect: Num; p: Num; alarm: boolean }[]
  planes: { old: Plane; new: Plane } | null
  slices: { axis: string; x: number[]; old: Num[]; new: Num[] }[]
  surface: string[]
  remedies: {
    name: string
    loss: Num
    interval: [Num, Num]
    cost: string
    old_loss: Num
    recommended: boolean
  }[]
  notes: string[]
}
