/** Lines, bands, points and marks as a display list: for the screen, and with axes and legend for a file. */
import type uPlot from "uplot"
import { type Drawing, type Shape } from "./drawing"
import { tick } from "./format"
import type { Theme } from "./palette"
import {
  type ChartMark,
  type ChartSeries,
  type LineChartProps,
  type Now,
  type Panel,
  panel,
  placesX,
  ROW,
  ticks,
} from "./plot"
import type { Num } from "./types"

export function label(props: LineChartProps, box: Panel, theme: Theme): Shape {
  return { kind: "text", x: 4, y: box.top - 12, text: props.y.label, size: 12, colour: theme.soft, anchor: "start" }
}

/** Bands, lines and points, clipped to the panel. */
export function linesOf(series: ChartSeries[], props: LineChartProps, box: Panel, theme: Theme): Shape[] {
  const shapes: Shape[] = []
  const places = (x: number[], y: Num[]): [number, number][] =>
    y.map((value, i) => (value === null || (props.y.log && value <= 0) ? [NaN, NaN] : [box.x(x[i]), box.y(value)]))
  for (const { x, low, high, colour } of series) {
    if (!low || !high) continue
    for (const points of strips(x, low, high, places, box)) shapes.push({ kind: "area", points, colour, opacity: 0.16 })
  }
  for (const one of series) {
    const points = places(one.x, one.y)
    const { colour, dash, opacity, name, width = 1.8 } = one
    if (!one.quiet && width > 0)
      shapes.push({ kind: "line", points, colour: theme.paper, width: width + 2.4, dash, opacity: 0.7 })
    if (width > 0) shapes.push({ kind: "line", points, colour, width, dash, opacity, label: name })
    if (one.dots === undefined) continue
    for (const [x, y] of points) {
      if (Number.isFinite(x)) shapes.push({ kind: "circle", x, y, r: one.dots, fill: colour, stroke: theme.paper })
    }
  }
  return clipped(shapes, { ...box, height: box.floor - box.top })
}

/** A ring marks its place, and is not moved to the border. */
function isOutside(mark: ChartMark, box: Panel): boolean {
  return mark.kind === "ring" && mark.y !== null && (box.y(mark.y) < box.top || box.y(mark.y) > box.floor)
}

/** The marks that stand within the panel. */
export function marksOf({ marks = [] }: LineChartProps, box: Panel, theme: Theme): Shape[] {
  const { left, width, floor } = box
  const rows = floor < box.top + box.height - 1
  const ruled: Shape[] = rows
    ? [
        {
          kind: "line",
          points: [
            [left, floor],
            [left + width, floor],
          ],
          colour: theme.line,
          width: 1,
        },
      ]
    : []
  const seen = marks.filter(
    (mark) =>
      mark.kind === "span" ||
      (box.x(mark.x) >= box.left - 1 && box.x(mark.x) <= box.left + box.width + 1 && !isOutside(mark, box)),
  )
  const behind = seen.filter((mark) => mark.kind === "vertical")
  const before = seen.filter((mark) => mark.kind !== "vertical")
  return [
    ...ruled,
    ...clipped(
      behind.flatMap((mark) => markOf(mark, box)),
      box,
    ),
    ...before.flatMap((mark) => markOf(mark, box)),
  ]
}

function clipped(shapes: Shape[], box: Panel): Shape[] {
  return [{ kind: "clip", x: box.left, y: box.top, w: box.width, h: box.height, shapes }]
}

/** A band as closed strips, up to the panel's border where one side is beyond any number; both missing end a strip. */
function strips(
  x: number[],
  low: Num[],
  high: Num[],
  places: (x: number[], y: Num[]) => [number, number][],
  box: Panel,
): [number, number][][] {
  const [lower, upper] = [places(x, low), places(x, high)]
  const open = (side: [number, number][], other: [number, number][], border: number): [number, number][] =>
    side.map((place, i) => (Number.isFinite(place[0]) ? place : [other[i][0], border]))
  const [under, over] = [open(lower, upper, box.top + box.height), open(upper, lower, box.top)]
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
    return [
      {
        kind: "line",
        points: [
          [x, box.top],
          [x, bottom],
        ],
        colour,
        width: 1.4,
        dash: mark.dash ?? [2, 4],
        opacity: 0.7,
        label: mark.label,
      },
    ]
  }
  if (mark.kind === "span") {
    const y = rowAt(mark.row, bottom)
    return [
      {
        kind: "line",
        points: [
          [across(mark.from), y],
          [across(mark.to), y],
        ],
        colour,
        width: 3.5,
        opacity: 0.8,
        label: mark.label,
      },
    ]
  }
  const x = across(mark.x)
  const free = mark.y === null ? box.top + 8 : Math.min(Math.max(box.y(mark.y), box.top + 8), box.floor - 8)
  const y = mark.row === undefined ? free : rowAt(mark.row, bottom)
  if (mark.kind === "ring") return [{ kind: "circle", x, y, r: 7, fill: "none", stroke: colour }]
  const arm = 4.5
  return [
    {
      kind: "line",
      points: [
        [x - arm, y - arm],
        [x + arm, y + arm],
      ],
      colour,
      width: 2.2,
      label: mark.label,
    },
    {
      kind: "line",
      points: [
        [x - arm, y + arm],
        [x + arm, y - arm],
      ],
      colour,
      width: 2.2,
    },
  ]
}

function rowAt(row: number, bottom: number): number {
  return bottom - ROW * (row + 0.75)
}

/** The chart as a display list: what is on the screen, with a title and a legend. */
export function draw(u: uPlot, { props, theme }: Now): Drawing {
  const named = props.series.filter((one) => !one.quiet)
  const shapes: Shape[] = [
    { kind: "text", x: 4, y: 20, text: props.title, size: 15, colour: theme.ink, anchor: "start", bold: true },
  ]
  let [x, y] = [4, 42]
  for (const one of named) {
    const wide = 28 + 7.6 * one.name.length + 20
    if (x + wide > u.width && x > 4) [x, y] = [4, y + 18]
    shapes.push({
      kind: "line",
      points: [
        [x, y - 4],
        [x + 22, y - 4],
      ],
      colour: one.colour,
      width: 2.5,
      dash: one.dash,
    })
    shapes.push({ kind: "text", x: x + 28, y, text: one.name, size: 12, colour: theme.ink, anchor: "start" })
    x += wide
  }
  const down = y + 4
  const box = panel(u, props, down)
  shapes.push(...axesOf(u, props, box, theme), label(props, box, theme))
  const faint = props.series.filter((one) => one.quiet)
  shapes.push(...linesOf(faint, props, box, theme), ...linesOf(named, props, box, theme), ...marksOf(props, box, theme))
  const counted = `n = ${props.n}`
  shapes.push({ kind: "text", x: u.width - 6, y: 20, text: counted, size: 12, colour: theme.soft, anchor: "end" })
  const columns = ["series", props.x.label, props.y.label, "low", "high"]
  const [from, to] = [u.scales.x.min!, u.scales.x.max!]
  const rows = props.series.flatMap((one) =>
    one.x.flatMap((at, i) =>
      at >= from && at <= to
        ? [[one.raw ? `${one.name}, smoothed` : one.name, at, one.y[i], one.low?.[i] ?? null, one.high?.[i] ?? null]]
        : [],
    ),
  )
  const marked = (props.marks ?? []).map((mark) => [
    `${mark.kind}: ${mark.label}`,
    placesX(mark)[0],
    "y" in mark ? mark.y : null,
    null,
    placesX(mark)[1] ?? null,
  ])
  const height = u.height + down
  return {
    width: u.width,
    height,
    background: theme.paper,
    title: props.title,
    shapes,
    table: { columns, rows: [...rows, ...marked] },
  }
}

function axesOf(u: uPlot, props: LineChartProps, box: Panel, theme: Theme): Shape[] {
  const [bottom, right] = [box.top + box.height, box.left + box.width]
  const shapes: Shape[] = []
  const line = (points: [number, number][], colour: string): void =>
    void shapes.push({ kind: "line", points, colour, width: 1 })
  const text = (x: number, y: number, words: string, anchor: "middle" | "end"): void =>
    void shapes.push({ kind: "text", x, y, text: words, size: 12, colour: theme.soft, anchor })
  for (const at of ticks(u, props, "x")) {
    line(
      [
        [box.x(at), box.top],
        [box.x(at), bottom],
      ],
      theme.faint,
    )
    line(
      [
        [box.x(at), bottom],
        [box.x(at), bottom + 5],
      ],
      theme.line,
    )
    text(box.x(at), bottom + 19, (props.x.format ?? tick)(at), "middle")
  }
  for (const at of ticks(u, props, "y")) {
    line(
      [
        [box.left, box.y(at)],
        [right, box.y(at)],
      ],
      theme.faint,
    )
    text(box.left - 10, box.y(at) + 4, (props.y.format ?? tick)(at), "end")
  }
  line(
    [
      [box.left, box.top],
      [box.left, bottom],
      [right, bottom],
    ],
    theme.line,
  )
  text((box.left + right) / 2, bottom + 40, props.x.label, "middle")
  return shapes
}
