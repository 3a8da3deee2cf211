/** Lines, bands and points: uPlot keeps the axes, the cursor and the zoom; the marks are a display list. */
import type { JSX } from "preact"
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import uPlot from "uplot"
import { type Drawing, FONT, paintShapes } from "./drawing"
import { Export } from "./export"
import { useWidth } from "./figure"
import { number, tick } from "./format"
import { draw, label, linesOf, marksOf } from "./marks"
import { useTheme } from "./palette"
import { bounds, type Limits, type LineChartProps, type Now, panel, ticks } from "./plot"
import type { Num } from "./types"

export type { ChartAxis, ChartMark, ChartSeries, LineChartProps } from "./plot"

interface Reading {
  x: number
  left: number
  side: "left" | "right"
  values: { name: string; colour: string; y: number; low: Num; high: Num }[]
}

const READ = 12 // as many lines under the cursor are told
const KEYS = "Arrow keys read the values, + and - zoom, Shift with an arrow moves the window, 0 shows all."

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
  const drawn = `${props.y.label} against ${props.x.label}, ${props.series.length} lines`
  const label = `${props.title}: ${drawn}, n = ${props.n}`
  const mirror = Object.fromEntries(
    Object.entries(props.data ?? {}).map(([key, value]) => [`data-${key}`, value ?? ""]),
  )
  const drawing = (): Drawing | null => (plot.current ? draw(plot.current, now.current) : null)
  const key = (event: KeyboardEvent): void => steer(event, plot.current, props)
  return (
    <figure
      class="chart"
      data-chart={props.name}
      data-points={points}
      data-series={props.series.length}
      data-n={props.n}
      data-min={limits?.y[0] ?? ""}
      data-max={limits?.y[1] ?? ""}
      data-from={limits?.x[0] ?? ""}
      data-to={limits?.x[1] ?? ""}
      data-x-log={props.x.log ? "yes" : "no"}
      data-y-log={props.y.log ? "yes" : "no"}
      data-marks={props.marks?.length ?? 0}
      {...mirror}
    >
      <div
        class="plot"
        role="application"
        aria-label={`${label}. ${KEYS}`}
        tabIndex={0}
        onKeyDown={key}
        ref={box}
        style={{ minHeight: `${height}px` }}
      >
        {limits === null && <p class="nothing">No finite number to draw yet.</p>}
      </div>
      {under && <Readout reading={under} props={props} />}
      <output class="hidden" aria-live="polite" data-read={under ? "yes" : "no"}>
        {under ? inWords(under, props) : ""}
      </output>
      <figcaption>
        <span>{props.caption ?? `n = ${props.n}`}</span>
        <Export drawing={drawing} name={props.name} />
      </figcaption>
    </figure>
  )
}

/** uPlot needs some data for its axes; the marks are drawn by `paintMarks`. */
function frameData(limits: Limits | null): uPlot.AlignedData {
  return limits
    ? [limits.x, limits.y]
    : [
        [0, 1],
        [0, 1],
      ]
}

function options(
  now: { current: Now },
  width: number,
  height: number,
  told: (reading: Reading | null) => void,
): uPlot.Options {
  const { props, theme } = now.current
  const font = `12px ${FONT}`
  const layer: Layer = { canvas: document.createElement("canvas"), of: [] }
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
      draw: [(u) => paintMarks(u, now.current, layer)],
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

/** The faint lines as they were painted last: they are many, and stay the same while others are smoothed. */
interface Layer {
  canvas: HTMLCanvasElement
  of: unknown[]
}

function paintMarks(u: uPlot, { props, theme }: Now, layer: Layer): void {
  const { canvas } = u.ctx
  const scale = canvas.width / u.width
  const box = panel(u, props)
  const faint = props.series.filter((one) => one.quiet)
  const { x, y } = u.scales
  const of = [
    ...faint,
    theme,
    canvas.width,
    canvas.height,
    box.left,
    x.min,
    x.max,
    y.min,
    y.max,
    props.x.log,
    props.y.log,
  ]
  if (of.length !== layer.of.length || of.some((one, i) => one !== layer.of[i])) {
    layer.of = of
    layer.canvas.width = canvas.width
    layer.canvas.height = canvas.height
    const behind = layer.canvas.getContext("2d")!
    behind.setTransform(scale, 0, 0, scale, 0, 0)
    paintShapes(linesOf(faint, props, box, theme), behind)
  }
  u.ctx.save()
  u.ctx.setTransform(1, 0, 0, 1, 0, 0)
  u.ctx.drawImage(layer.canvas, 0, 0)
  u.ctx.setTransform(scale, 0, 0, scale, 0, 0)
  paintShapes(
    [
      label(props, box, theme),
      ...linesOf(
        props.series.filter((one) => !one.quiet),
        props,
        box,
        theme,
      ),
    ],
    u.ctx,
  )
  paintShapes(marksOf(props, box, theme), u.ctx)
  u.ctx.restore()
}

/** What the named series are worth at the cursor: the nearest point of each. */
function read(u: uPlot, props: LineChartProps): Reading | null {
  const { left } = u.cursor
  if (left === undefined || left < 0) return null
  const x = u.posToVal(left, "x")
  const values: Reading["values"] = []
  for (const one of props.series) {
    const i = one.quiet ? -1 : nearest(one.x, x)
    const y = i < 0 ? null : (one.raw ?? one.y)[i]
    if (y === null || Math.abs(u.valToPos(one.x[i], "x") - left) > 40) continue
    values.push({ name: one.name, colour: one.colour, y, low: one.low?.[i] ?? null, high: one.high?.[i] ?? null })
  }
  if (values.length === 0) return null
  values.sort((a, b) => b.y - a.y)
  const box = panel(u, props)
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

/** How places and values are told. */
function formats({ x, y }: LineChartProps): [(value: number) => string, (value: number) => string] {
  return [x.format ?? tick, y.format ?? ((value) => number(value, 4))]
}

function inWords({ x, values }: Reading, props: LineChartProps): string {
  const [sayX, sayY] = formats(props)
  const each = values.map((one) => `${one.name} ${sayY(one.y)}`)
  return `${sayX(Number(x.toPrecision(4)))} ${props.x.label}: ${each.join(", ")}`
}

function Readout({ reading, props }: { reading: Reading; props: LineChartProps }): JSX.Element {
  const [sayX, sayY] = formats(props)
  return (
    <div class={`readout ${reading.side}`} style={{ left: `${reading.left}px` }} aria-hidden="true">
      <b>
        {sayX(Number(reading.x.toPrecision(4)))} {props.x.label}
      </b>
      {reading.values.map((one) => (
        <span key={one.name}>
          <i style={{ background: one.colour }} />
          {one.name} <em>{sayY(one.y)}</em>
        </span>
      ))}
      {props.readNote && <small>{props.readNote}</small>}
    </div>
  )
}

/** The keys of a chart: arrows move the cursor, with Shift the window, + and - zoom about the cursor, 0 shows all. */
function steer(event: KeyboardEvent, u: uPlot | null, props: LineChartProps): void {
  if (!u || event.ctrlKey || event.metaKey || event.altKey) return
  const wide = u.over.clientWidth
  const at = u.cursor.left !== undefined && u.cursor.left >= 0 ? u.cursor.left : wide / 2
  const moves: Record<string, number> = { ArrowLeft: -wide / 50, ArrowRight: wide / 50, Home: -wide, End: wide }
  const zooms: Record<string, number> = { "+": 0.5, "=": 0.5, "-": 2 }
  const turn = event.shiftKey ? { ArrowLeft: -wide / 4, ArrowRight: wide / 4 }[event.key] : undefined
  if (turn !== undefined && props.onZoom) {
    if (props.x.range) props.onZoom([u.posToVal(turn, "x"), u.posToVal(turn + wide, "x")])
  } else if (event.key in moves) u.setCursor({ left: Math.min(Math.max(at + moves[event.key], 0), wide - 1), top: 1 })
  else if (event.key in zooms && props.onZoom) {
    const [from, to] = [at - at * zooms[event.key], at + (wide - at) * zooms[event.key]]
    props.onZoom([u.posToVal(from, "x"), u.posToVal(to, "x")])
  } else if (event.key === "0" && props.onZoom) props.onZoom(null)
  else return
  event.preventDefault()
}
