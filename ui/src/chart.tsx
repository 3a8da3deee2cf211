/** Lines, bands and points over an axis: uPlot keeps the axes, the cursor and the zoom; the marks are a display list. */
import type { ComponentChildren, JSX } from "preact"
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import uPlot from "uplot"
import { extent, linearTicks, logTicks, roomy } from "./axis"
import { type Drawing, FONT, paintShapes, type Shape } from "./drawing"
import { Export } from "./export"
import { useWidth } from "./figure"
import { number, tick } from "./format"
import { type Theme, useTheme } from "./palette"
import type { Num } from "./types"

export interface ChartAxis {
  label: string
  log?: boolean
  format?: (value: number) => string
  range?: [number, number] | null // instead of what the series need
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
  low?: Num[]
  high?: Num[]
  dots?: number
  quiet?: boolean // drawn, but neither in the legend of the file nor under the cursor
  loose?: boolean // does not widen the axis: a line that leaves the panel
}

/** A mark at a place of the axes; where x or y is null it spans the panel. */
export type ChartMark =
  | { kind: "cross" | "ring"; x: number; y: Num; colour: string; label: string; row?: number } // no y: at the upper border, or in a row of the lower one
  | { kind: "vertical"; x: number; colour: string; dash?: number[]; label: string }
  | { kind: "span"; from: number; to: number; row: number; colour: string; label: string } // a bar in a row along the lower border

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
  data?: Record<string, string | number | null>
}

interface Limits {
  x: [number, number]
  y: [number, number]
  floor: number // below it are the rows of marks
}

interface Now {
  props: LineChartProps
  theme: Theme
}

interface Reading {
  x: number
  left: number
  side: "left" | "right"
  values: { name: string; colour: string; y: number; low: Num; high: Num }[]
}

const PANEL = 300 // pixels: the height of a panel as a rule
const ROW = 11 // pixels from one row along the lower border to the next
const READ = 12 // as many lines under the cursor are told

export function LineChart(props: LineChartProps): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>()
  const colours = useTheme()
  const now = useRef<Now>({ props, theme: colours })
  now.current = { props, theme: colours }
  const plot = useRef<uPlot | null>(null)
  const [under, setUnder] = useState<Reading | null>(null)
  const height = props.height ?? (width < 560 ? 300 : 400)
  const limits = useMemo(() => bounds(props), [props.series, props.marks, props.x, props.y])

  useLayoutEffect(() => {
    if (width === 0 || !box.current) return
    const made = new uPlot(options(now, width, height, setUnder), frameData(limits), box.current)
    plot.current = made
    return () => {
      made.destroy()
      plot.current = null
    }
  }, [width === 0, props.x.log, props.y.log, props.x.label, props.y.label, colours])
  useLayoutEffect(() => plot.current?.setSize({ width, height }), [width, height])
  useEffect(() => plot.current?.setData(frameData(limits)), [props.series, props.marks, limits])

  const points = props.series.reduce((sum, one) => sum + one.y.reduce<number>((k, y) => k + (y === null ? 0 : 1), 0), 0)
  const label = `${props.title}: ${props.y.label} against ${props.x.label}, ${props.series.length} lines, n = ${props.n}`
  const mirror = Object.fromEntries(Object.entries(props.data ?? {}).map(([key, value]) => [`data-${key}`, value ?? ""]))
  const drawing = (): Drawing | null => (plot.current ? draw(plot.current, now.current) : null)
  const key = (event: KeyboardEvent): void => steer(event, plot.current, props)
  return (
    <figure
      class="chart" data-chart={props.name} data-points={points} data-series={props.series.length} data-n={props.n}
      data-min={limits?.y[0] ?? ""} data-max={limits?.y[1] ?? ""} data-from={limits?.x[0] ?? ""} data-to={limits?.x[1] ?? ""}
      data-x-log={props.x.log ? "yes" : "no"} data-y-log={props.y.log ? "yes" : "no"} data-marks={props.marks?.length ?? 0} {...mirror}
    >
      <div class="plot" role="img" aria-label={label} tabIndex={0} onKeyDown={key} ref={box} style={{ minHeight: `${height}px` }}>
        {limits === null && <p class="nothing">No finite number to draw yet.</p>}
      </div>
      {under && <Readout reading={under} props={props} />}
      <figcaption>
        <span>{props.caption ?? `n = ${props.n}`}</span>
        <Export drawing={drawing} name={props.name} />
      </figcaption>
    </figure>
  )
}

/** What the axes must show, or null where nothing is finite. */
function bounds({ series, marks = [], x, y }: LineChartProps): Limits | null {
  const firm = series.some((one) => !one.loose && one.y.some((value) => value !== null))
  const counting = series.filter((one) => !firm || !one.loose)
  const across = x.range ?? extent(concat([...counting.map((one) => one.x), marks.flatMap(placesX)]), x.log)
  if (across === null) return null
  const [from, to] = across
  const inside = (one: ChartSeries, values: Num[]): Num[] => values.filter((_, i) => one.x[i] >= from && one.x[i] <= to)
  const lists = counting.flatMap((one) => [one.y, one.low, one.high].map((values) => (values ? inside(one, values) : [])))
  const rings = marks.map((mark) => (mark.kind === "ring" ? mark.y : null))
  const up = y.range ?? extent(concat([...lists, rings]), y.log)
  if (up === null) return null
  const need = y.range ?? roomy(up, y.log, 0.06)
  const rows = Math.max(0, ...marks.map((mark) => ("row" in mark && mark.row !== undefined ? mark.row + 1.5 : 0)))
  return { x: x.range ?? roomy(across, x.log, 0.02), y: below(need, rows * ROW, y.log), floor: need[0] }
}

/** A range with room for so many pixels of a panel of usual height below the lines. */
function below([low, high]: [number, number], pixels: number, log = false): [number, number] {
  const share = Math.min(pixels / PANEL, 0.5)
  const more = share / (1 - share)
  return log ? [low / (high / low) ** more, high] : [low - (high - low) * more, high]
}

function placesX(mark: ChartMark): number[] {
  return mark.kind === "span" ? [mark.from, mark.to] : [mark.x]
}

function* concat(lists: Num[][]): Generator<Num> {
  for (const list of lists) yield* list
}

/** uPlot needs some data for its axes; the marks are drawn by `marks`. */
function frameData(limits: Limits | null): uPlot.AlignedData {
  return limits ? [limits.x, limits.y] : [[0, 1], [0, 1]]
}

function options(now: { current: Now }, width: number, height: number, told: (reading: Reading | null) => void): uPlot.Options {
  const { props, theme } = now.current
  const font = `12px ${FONT}`
  const axis = (which: "x" | "y"): uPlot.Axis => ({
    stroke: theme.soft,
    font,
    grid: { stroke: theme.faint, width: 1 },
    ticks: { stroke: theme.line, width: 1, size: 5 },
    border: { show: true, stroke: theme.line, width: 1 },
    gap: 5,
    filter: (_, splits) => splits,
    splits: (u) => ticks(u, now.current.props, which),
    values: (_, splits) => splits.map(now.current.props[which].format ?? tick),
  })
  return {
    width,
    height,
    padding: [30, 14, 0, 0],
    legend: { show: false },
    series: [{}, { paths: () => null, points: { show: false } }],
    scales: {
      x: { time: false, distr: props.x.log ? 3 : 1, range: (u) => [u.data[0][0], u.data[0][1]] },
      y: { distr: props.y.log ? 3 : 1, range: (u) => [u.data[1][0] as number, u.data[1][1] as number] },
    },
    axes: [
      { ...axis("x"), size: 28, label: props.x.label, labelSize: 20, labelGap: 0, labelFont: font },
      { ...axis("y"), size: (_, texts) => 16 + 7 * Math.max(2, ...(texts ?? []).map((text) => text.length)) },
    ],
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: props.onZoom !== undefined, y: false, setScale: false },
      bind: { dblclick: () => () => (now.current.props.onZoom?.(null), null) },
    },
    hooks: {
      draw: [(u) => onto(u, now.current)],
      setCursor: [(u) => told(read(u, now.current.props))],
      setSelect: [
        (u) => {
          if (u.select.width < 4) return
          const [from, to] = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
          now.current.props.onZoom?.([from, to])
        },
      ],
    },
  }
}

/** The places of an axis that are named; none among the rows of marks. */
function ticks(u: uPlot, props: LineChartProps, which: "x" | "y"): number[] {
  const { min, max } = u.scales[which]
  if (min == null || max == null) return []
  const wanted = which === "x" ? u.width / 90 : u.height / 60
  const found = (props[which].log ? logTicks : linearTicks)(min, max, wanted)
  const floor = which === "y" ? (bounds(props)?.floor ?? min) : min
  return found.filter((at) => at >= floor)
}

interface Panel {
  left: number
  top: number
  width: number
  height: number
  x: (value: number) => number
  y: (value: number) => number
}

/** Where the panel stands in CSS pixels, and what turns values into places. */
function panel(u: uPlot, down = 0): Panel {
  const { left, top, width, height } = u.bbox
  const of = u.width / u.ctx.canvas.width
  const box = { left: left * of, top: top * of + down, width: width * of, height: height * of }
  return {
    ...box,
    x: (value) => box.left + u.valToPos(value, "x"),
    y: (value) => box.top + u.valToPos(value, "y"),
  }
}

function onto(u: uPlot, { props, theme }: Now): void {
  const scale = u.ctx.canvas.width / u.width
  u.ctx.save()
  u.ctx.setTransform(scale, 0, 0, scale, 0, 0)
  const box = panel(u)
  paintShapes([label(props, box, theme), ...marksOf(props, box, theme)], u.ctx)
  u.ctx.restore()
}

function label(props: LineChartProps, box: Panel, theme: Theme): Shape {
  return { kind: "text", x: 4, y: box.top - 12, text: props.y.label, size: 12, colour: theme.soft, anchor: "start" }
}

/** Lines, bands, points and marks, clipped to the panel. */
function marksOf(props: LineChartProps, box: Panel, theme: Theme): Shape[] {
  const lines: Shape[] = []
  const places = (x: number[], y: Num[]): [number, number][] =>
    y.map((value, i) => (value === null || (props.y.log && value <= 0) ? [NaN, NaN] : [box.x(x[i]), box.y(value)]))
  for (const one of props.series) {
    if (!one.low || !one.high) continue
    for (const points of strips(one.x, one.low, one.high, places)) {
      lines.push({ kind: "area", points, colour: one.colour, opacity: 0.16 })
    }
  }
  for (const one of props.series) {
    const points = places(one.x, one.y)
    const { colour, dash, opacity, name } = one
    if (!one.quiet && one.width !== 0) lines.push({ kind: "line", points, colour: theme.paper, width: (one.width ?? 1.8) + 2.4, dash, opacity: 0.7 })
    if (one.width !== 0) lines.push({ kind: "line", points, colour, width: one.width ?? 1.8, dash, opacity, label: name })
    if (one.dots === undefined) continue
    for (const [x, y] of points) {
      if (Number.isFinite(x)) lines.push({ kind: "circle", x, y, r: one.dots, fill: colour, stroke: theme.paper })
    }
  }
  const over: Shape[] = []
  for (const mark of props.marks ?? []) (mark.kind === "vertical" ? lines : over).push(...markOf(mark, box))
  return [{ kind: "clip", x: box.left, y: box.top, w: box.width, h: box.height, shapes: lines }, ...over]
}

/** A band as closed strips; a missing number ends a strip. */
function strips(
  x: number[], low: Num[], high: Num[], places: (x: number[], y: Num[]) => [number, number][],
): [number, number][][] {
  const [under, over] = [places(x, low), places(x, high)]
  const found: [number, number][][] = []
  let start = 0
  for (let i = 0; i <= x.length; i += 1) {
    if (i < x.length && Number.isFinite(under[i][0]) && Number.isFinite(over[i][0])) continue
    if (i - start > 1) found.push([...over.slice(start, i), ...under.slice(start, i).reverse()])
    start = i + 1
  }
  return found
}

function markOf(mark: ChartMark, box: Panel): Shape[] {
  const [bottom, right] = [box.top + box.height, box.left + box.width]
  const across = (x: number): number => Math.min(Math.max(box.x(x), box.left), right)
  const { colour } = mark
  if (mark.kind === "vertical") {
    const x = box.x(mark.x)
    return [{ kind: "line", points: [[x, box.top], [x, bottom]], colour, width: 1.4, dash: mark.dash ?? [2, 4], opacity: 0.7, label: mark.label }]
  }
  if (mark.kind === "span") {
    const y = rowAt(mark.row, bottom)
    return [{ kind: "line", points: [[across(mark.from), y], [across(mark.to), y]], colour, width: 3.5, opacity: 0.8, label: mark.label }]
  }
  const x = across(mark.x)
  const free = mark.y === null ? box.top + 8 : Math.min(Math.max(box.y(mark.y), box.top + 8), bottom - 8)
  const y = mark.row === undefined ? free : rowAt(mark.row, bottom)
  if (mark.kind === "ring") return [{ kind: "circle", x, y, r: 7, fill: "none", stroke: colour }]
  const arm = 4.5
  return [
    { kind: "line", points: [[x - arm, y - arm], [x + arm, y + arm]], colour, width: 2.2, label: mark.label },
    { kind: "line", points: [[x - arm, y + arm], [x + arm, y - arm]], colour, width: 2.2 },
  ]
}

function rowAt(row: number, bottom: number): number {
  return bottom - ROW * (row + 0.75)
}

/** The chart as a display list: what is on the screen, with a title and a legend. */
function draw(u: uPlot, { props, theme }: Now): Drawing {
  const named = props.series.filter((one) => !one.quiet)
  const shapes: Shape[] = [{ kind: "text", x: 4, y: 20, text: props.title, size: 15, colour: theme.ink, anchor: "start", bold: true }]
  let [x, y] = [4, 42]
  for (const one of named) {
    const wide = 30 + 7 * one.name.length + 16
    if (x + wide > u.width && x > 4) [x, y] = [4, y + 18]
    shapes.push({ kind: "line", points: [[x, y - 4], [x + 22, y - 4]], colour: one.colour, width: 2.5, dash: one.dash })
    shapes.push({ kind: "text", x: x + 28, y, text: one.name, size: 12, colour: theme.ink, anchor: "start" })
    x += wide
  }
  const down = y + 4
  const box = panel(u, down)
  shapes.push(...axesOf(u, props, box, theme), label(props, box, theme), ...marksOf(props, box, theme))
  const counted = `n = ${props.n}`
  shapes.push({ kind: "text", x: u.width - 6, y: 20, text: counted, size: 12, colour: theme.soft, anchor: "end" })
  const columns = ["series", props.x.label, props.y.label, "low", "high"]
  const [from, to] = [u.scales.x.min!, u.scales.x.max!]
  const rows = props.series.flatMap((one) =>
    one.x.flatMap((at, i) => (at >= from && at <= to ? [[one.name, at, one.y[i], one.low?.[i] ?? null, one.high?.[i] ?? null]] : [])),
  )
  const marked = (props.marks ?? []).map((mark) => [
    `${mark.kind}: ${mark.label}`, placesX(mark)[0], "y" in mark ? mark.y : null, null, placesX(mark)[1] ?? null,
  ])
  const height = u.height + down
  return { width: u.width, height, background: theme.paper, title: props.title, shapes, table: { columns, rows: [...rows, ...marked] } }
}

function axesOf(u: uPlot, props: LineChartProps, box: Panel, theme: Theme): Shape[] {
  const [bottom, right] = [box.top + box.height, box.left + box.width]
  const shapes: Shape[] = []
  const line = (points: [number, number][], colour: string): void => void shapes.push({ kind: "line", points, colour, width: 1 })
  const text = (x: number, y: number, words: string, anchor: "middle" | "end"): void =>
    void shapes.push({ kind: "text", x, y, text: words, size: 12, colour: theme.soft, anchor })
  for (const at of ticks(u, props, "x")) {
    line([[box.x(at), box.top], [box.x(at), bottom]], theme.faint)
    line([[box.x(at), bottom], [box.x(at), bottom + 5]], theme.line)
    text(box.x(at), bottom + 19, (props.x.format ?? tick)(at), "middle")
  }
  for (const at of ticks(u, props, "y")) {
    line([[box.left, box.y(at)], [right, box.y(at)]], theme.faint)
    text(box.left - 10, box.y(at) + 4, (props.y.format ?? tick)(at), "end")
  }
  line([[box.left, box.top], [box.left, bottom], [right, bottom]], theme.line)
  text((box.left + right) / 2, bottom + 40, props.x.label, "middle")
  return shapes
}

/** What the named series are worth at the cursor: the nearest point of each. */
function read(u: uPlot, props: LineChartProps): Reading | null {
  const { left } = u.cursor
  if (left === undefined || left < 0) return null
  const x = u.posToVal(left, "x")
  const values: Reading["values"] = []
  for (const one of props.series) {
    const i = one.quiet ? -1 : nearest(one.x, x)
    const y = i < 0 ? null : one.y[i]
    if (y === null || Math.abs(u.valToPos(one.x[i], "x") - left) > 40) continue
    values.push({ name: one.name, colour: one.colour, y, low: one.low?.[i] ?? null, high: one.high?.[i] ?? null })
  }
  if (values.length === 0) return null
  values.sort((a, b) => b.y - a.y)
  const box = panel(u)
  return { x, left: box.left + left, side: left > box.width / 2 ? "left" : "right", values: values.slice(0, READ) }
}

function nearest(sorted: number[], x: number): number {
  if (sorted.length === 0) return -1
  let [low, high] = [0, sorted.length - 1]
  while (low < high) {
    const middle = (low + high) >> 1
    if (sorted[middle] < x) low = middle + 1
    else high = middle
  }
  return low > 0 && x - sorted[low - 1] < sorted[low] - x ? low - 1 : low
}

function Readout({ reading, props }: { reading: Reading; props: LineChartProps }): JSX.Element {
  const [sayX, sayY] = [props.x.format ?? tick, props.y.format ?? ((value: number) => number(value, 4))]
  return (
    <div class={`readout ${reading.side}`} style={{ left: `${reading.left}px` }} aria-live="polite">
      <b>{sayX(Number(reading.x.toPrecision(4)))} {props.x.label}</b>
      {reading.values.map((one) => (
        <span key={one.name}>
          <i style={{ background: one.colour }} />{one.name} <em>{sayY(one.y)}</em>
        </span>
      ))}
    </div>
  )
}

/** The keys of a chart: arrows move the cursor, + and - zoom about it, 0 shows all. */
function steer(event: KeyboardEvent, u: uPlot | null, props: LineChartProps): void {
  if (!u || event.ctrlKey || event.metaKey || event.altKey) return
  const wide = u.over.clientWidth
  const at = u.cursor.left !== undefined && u.cursor.left >= 0 ? u.cursor.left : wide / 2
  const moves: Record<string, number> = { ArrowLeft: -wide / 50, ArrowRight: wide / 50, Home: -wide, End: wide }
  const zooms: Record<string, number> = { "+": 0.5, "=": 0.5, "-": 2 }
  if (event.key in moves) u.setCursor({ left: Math.min(Math.max(at + moves[event.key], 0), wide - 1), top: 1 })
  else if (event.key in zooms && props.onZoom) {
    const [from, to] = [at - at * zooms[event.key], at + (wide - at) * zooms[event.key]]
    props.onZoom([u.posToVal(from, "x"), u.posToVal(to, "x")])
  } else if (event.key === "0" && props.onZoom) props.onZoom(null)
  else return
  event.preventDefault()
}
