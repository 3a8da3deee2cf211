/** The documents that the page reads, as Python writes them: a number that is not finite is null. */

import type { Findings, Landscape, Layers, Outcome, ShiftView } from "./measured"
import type { Playground } from "./races"

export type * from "./measured"
export type * from "./races"

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
  older: number // studies that are not listed: the newest are
}

export interface Head extends Entry {
  steps: Num
  budget: string | null
  effort: string
  environment: Record<string, string | number>
  executor: unknown
  entrants: string[] // in the order of their colours; the same in every view
  progress: { runs: number; running: number; diverged: number; samples: number; seconds: number }
  resume: string // the command; "" where there is none
  goes_on: boolean // whether it can be trained on from here
  code: string | null // the file that runs when it is
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
  seconds: Num
  border: string | null
  calibration: Record<string, number> | null
  gradient_evaluations: number
  bytes_per_parameter: number
}

export interface BestSoFar {
  runs: number[]
  samples: number[] // of full runs alone
  low: Num[]
  high: Num[]
  came: { runs: number[]; samples: number[]; value: Num[] } // each gain; its samples count all that was spent, probes too
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
  end: Num // where on the x axis the run ended, null before
  gap: Num // the mean distance of its points, before any was left out
  x: number[]
  y: Num[]
}

/**
 * Median and spread over the seeds of the longest phase that has two runs or more: 10 to 90 % of ten and more, else from
 * the least to the greatest. A run that diverged counts as the worst: null is worse than any number.
 */
export interface Band {
  x: number[]
  low: Num[]
  mid: Num[]
  high: Num[]
  n: number
  levels: [number, number]
}

export interface CurveGroup {
  name: string
  n: number // runs, all of them
  left_out: number // of which the line is not here: some that diverged keep a point, the others are not listed
  diverged: number // of all
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
  epoch: number // of the trace that the cursor is of
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
