/** What a chart of lines shows: its series and marks, the ranges they need, and where values stand in its panel. */
import type { ComponentChildren } from "preact"
import type uPlot from "uplot"
import { extent, linearTicks, logTicks, roomy } from "./axis"
import type { Theme } from "./palette"
import type { Num } from "./types"

export interface ChartAxis {
  label: string
  log?: boolean
  format?: (value: number) => string
  range?: [number, number] | null // instead of what the series need
  least?: number // what lies below is cut off
}

/** A line, with a band where `low` and `high` are given, and points where `dots` is their radius. */
export interface ChartSeries {
  name: string
  colour: string
  dash?: number[]
  width?: number
  opacity?: number
  x: number[]
  y: Num[]
  raw?: Num[] // what y was before it was smoothed; this is told under the cursor
  low?: Num[]
  high?: Num[]
  dots?: number
  quiet?: boolean // drawn, but neither in the legend of the file nor under the cursor
  loose?: boolean // does not widen the axis: a line that leaves the panel
}

/**
 * A mark at a place of the axes. A cross without y stands at the upper border, or in a row below the lines;
 * a span is a bar in such a row.
 */
export type ChartMark =
  | { kind: "cross" | "ring"; x: number; y: Num; colour: string; label: string; row?: number }
  | { kind: "vertical"; x: number; colour: string; dash?: number[]; label: string }
  | { kind: "span"; from: number; to: number; row: number; colour: string; label: string }

export interface LineChartProps {
  title: string
  name: string
  n: number
  x: ChartAxis
  y: ChartAxis
  series: ChartSeries[]
  marks?: ChartMark[]
  height?: number
  caption?: ComponentChildren
  onZoom?: (range: [number, number] | null) => void
  readNote?: string // said with the numbers under the cursor
  data?: Record<string, string | number | null>
}

export interface Limits {
  x: [number, number]
  y: [number, number]
}

export interface Now {
  props: LineChartProps
  theme: Theme
}

const PANEL = 300 // pixels: the height of a panel as a rule
export const ROW = 11 // pixels from one row along the lower border to the next

/** What the axes must show, or null where nothing is finite. */
export function bounds({ series, marks = [], x, y }: LineChartProps): Limits | null {
  const firm = series.some((one) => !one.loose && one.y.some((value) => value !== null))
  const counting = series.filter((one) => !firm || !one.loose)
  const across = x.range ?? extent(concat([...counting.map((one) => one.x), marks.flatMap(placesX)]), x.log)
  if (across === null) return null
  const [from, to] = across
  const inside = (one: ChartSeries, values: Num[]): Num[] => values.filter((_, i) => one.x[i] >= from && one.x[i] <= to)
  const lists = counting.flatMap((one) =>
    [one.y, one.low, one.high].map((values) => (values ? inside(one, values) : [])),
  )
  const rings = marks.map((mark) => (mark.kind === "ring" ? mark.y : null))
  const up = y.range ?? extent(concat([...lists, rings]), y.log)
  if (up === null) return null
  const need = y.range ?? roomy([Math.max(up[0], Math.min(y.least ?? up[0], up[1])), up[1]], y.log, 0.06)
  return { x: x.range ?? roomy(across, x.log, 0.02), y: below(need, rowsShare(marks), y.log) }
}

/** Which share of the panel's height the rows of marks below the lines take. */
function rowsShare(marks: ChartMark[] = []): number {
  const rows = Math.max(0, ...marks.map((mark) => ("row" in mark && mark.row !== undefined ? mark.row + 1.5 : 0)))
  return Math.min((rows * ROW) / PANEL, 0.5)
}

/** A range with room for the rows below what is needed. */
function below([low, high]: [number, number], share: number, log = false): [number, number] {
  const more = share / (1 - share)
  return log ? [low / (high / low) ** more, high] : [low - (high - low) * more, high]
}

export function placesX(mark: ChartMark): number[] {
  return mark.kind === "span" ? [mark.from, mark.to] : [mark.x]
}

function* concat(lists: Num[][]): Generator<Num> {
  for (const list of lists) yield* list
}

/** The places of an axis that are named; none among the rows of marks. */
export function ticks(u: uPlot, props: LineChartProps, which: "x" | "y"): number[] {
  const { min, max } = u.scales[which]
  if (min == null || max == null) return []
  const wanted = which === "x" ? u.width / 90 : u.height / 60
  const found = (props[which].log ? logTicks : linearTicks)(min, max, wanted)
  if (which === "x") return found
  const share = rowsShare(props.marks)
  const floor = props.y.log ? min * (max / min) ** share : min + (max - min) * share
  return found.filter((at) => at >= floor)
}

export interface Panel {
  left: number
  top: number
  width: number
  height: number
  floor: number // where the rows of marks begin, or the lower border
  x: (value: number) => number
  y: (value: number) => number
}

/** Where the panel stands in CSS pixels, and what turns values into places. */
export function panel(u: uPlot, props: LineChartProps, down = 0): Panel {
  const { left, top, width, height } = u.bbox
  const of = u.width / u.ctx.canvas.width
  const box = { left: left * of, top: top * of + down, width: width * of, height: height * of }
  return {
    ...box,
    floor: box.top + box.height * (1 - rowsShare(props.marks)),
    x: (value) => box.left + u.valToPos(value, "x"),
    y: (value) => box.top + u.valToPos(value, "y"),
  }
}
