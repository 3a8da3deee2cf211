/** The documents that the page reads, as Python writes them: a number that is not finite is null. */

export type Num = number | null
export type Status = "running" | "complete" | "interrupted"

export interface Entry {
  id: string
  name: string
  task: string
  status: Status
  runs: number
  metric: string | null
  sentence: string | null
  modified: number // seconds since 1970
  has: { verdict: boolean; layers: boolean; landscape: boolean; findings: boolean; shift: boolean }
}

export interface Home {
  version: string
  live: boolean
  studies: Entry[]
}

export interface Head extends Entry {
  steps: Num
  budget: string | null
  effort: string
  environment: Record<string, string | number>
  executor: unknown
  entrants: string[] // in the order of their colours; the same in every view
  progress: { runs: number; running: number; diverged: number; samples: number; seconds: number }
  resume: string // the command
}

export interface Interval {
  mean: Num
  interval: [Num, Num]
}

export interface Finalist {
  name: string
  optimizer: string
  recipe: Record<string, unknown>
  seeds: number[]
  scores: Num[]
  mean: Num
  interval: [Num, Num]
  difference: Interval & { p_better: Num; decision: string }
  baseline: boolean
  samples_to_target: Num
  lr_robustness_decades: Num
  lr_edge: Num
  diverged: number
  seconds: number
  border: string | null
  calibration: Record<string, number> | null
  gradient_evaluations: number
  bytes_per_parameter: number
}

export interface BestSoFar {
  runs: number[]
  samples: number[]
  seconds: number[]
  value: Num[]
  low: Num[]
  high: Num[]
}

export interface Verdict {
  sentences: string[]
  winner: string | null
  best: string | null
  equivalent: string[]
  metric: string
  unit: "share" | "number"
  direction: "max" | "min"
  smallest_difference: number
  level: number
  methods: string
  finalists: Finalist[]
  not_tried: string[]
  notes: string[]
  footnotes: string[]
  cost: { runs: number; samples: number; seconds: number }
  test: (Interval & { metric: string; models: number }) | null
  code: { label: string; text: string }[] // code to paste: thalweg, plain PyTorch, Trainer, Lightning
  best_so_far: BestSoFar | null
}

export type RunStatus = "running" | "finished" | "diverged" | "stopped"

export interface Curve {
  run: string
  seed: number
  phase: string
  lr: Num
  status: RunStatus
  where: string | null
  end: Num
  x: number[]
  y: Num[]
}

/** Median and 10-90 % over the seeds of the longest phase that has two runs or more. */
export interface Band {
  x: number[]
  low: Num[]
  mid: Num[]
  high: Num[]
  n: number
}

export interface CurveGroup {
  name: string
  band: Band | null
  runs: Curve[]
}

export interface Curves {
  x: string
  y: string
  ys: string[]
  direction: "max" | "min"
  metric: string | null
  phases: string[]
  phase: string
  cursor: number
  n: number
  groups: CurveGroup[]
  thinned: boolean
}

export interface Rate {
  lr: number
  value: Num
  status: string
  steps: number
  seed: number
  phase: string
}

export interface RateGroup {
  name: string
  points: Rate[]
  best: { lr: number; value: number } | null
  width_decades: Num
  within: [number, number] | null
  edge: Num
  border: string | null
}

export interface Rates {
  metric: string
  direction: "max" | "min"
  steps: Num
  n: number
  groups: RateGroup[]
}

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

export interface Job {
  id: string
  kind: "try" | "resume"
  study: string
  status: "running" | "done" | "failed"
  said: string
  outcome: Outcome | null
}

export interface BatchRun {
  run: string
  entrant: string
  phase: string
  seed: number
  lr: Num
  steps: number
  status: string
  where: string | null
  begun?: boolean // again: what was known of it is void
}

export interface BatchColumns {
  step: number[]
  samples: number[]
  seconds: number[]
  loss: Num[]
  lr: number[]
  grad_norm: Num[]
}

/** What arrived in the trace since the last batch; the columns are keyed by run. */
export interface Batch {
  cursor: number
  runs: BatchRun[]
  columns: Record<string, BatchColumns>
  evaluations: Record<string, Record<string, number | string | null>[]>
}

/** What a report holds in place of a server. */
export interface Packed {
  home: Home
  studies: Record<string, PackedStudy>
  playground: Playground | null
}

export interface PackedStudy {
  head: Head
  verdict?: Verdict | null
  curves?: Record<string, Curves> // "x|y|phase"
  rates?: Rates | null
  layers?: Layers | null
  landscape?: Landscape | null
  findings?: Findings | null
  shift?: ShiftView | null
}
