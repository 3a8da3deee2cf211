/** A table of numbers as colours: rows are named, columns stand for moments or choices. */
import type { ComponentChildren, JSX } from "preact"
import { linearTicks, logTicks } from "./axis"
import { known } from "./contours"
import type { Drawing, Shape } from "./drawing"
import { number, percent, tick } from "./format"
import { sequential, type Theme } from "./palette"
import { Touched } from "./touched"
import type { Num } from "./types"

export type Cell = [row: number, column: number]

export interface HeatProps {
  title: string
  name: string
  n: number // rows of data that each number is of
  rows: string[]
  columns: string[]
  across: string // what the columns are
  scale: "log" | "linear" | "share"
  good: [Num, Num] | null
  values: Num[][] // [row][column]
  cell: Cell | null
  onCell: (cell: Cell | null) => void
  numbers?: boolean // written into the cells
  percent?: boolean // whether they are shares, told as percentages
  quiet?: boolean // how it is read is said elsewhere
  note?: (cell: Cell) => string // added to what is said of a cell
  caption?: ComponentChildren
}

interface Layout {
  left: number
  top: number
  wide: number // of a column
  tall: number // of a row
}

const SIZE = 11
const TOP = 6
const MARGIN = 10 // at the right

export function Heat(props: HeatProps): JSX.Element {
  const { rows, columns, values, cell } = props
  const span = range(props)
  const flat = values.flat().filter(known)
  const outside = flat.filter((value) => beyond(value, props.good) !== 0).length
  const draw = (width: number, theme: Theme): Drawing => heatDrawing(props, width, theme)
  const inside = (r: number, c: number): Cell => [
    Math.min(Math.max(r, 0), rows.length - 1),
    Math.min(Math.max(c, 0), columns.length - 1),
  ]
  const point = (x: number, y: number, width: number): void => {
    const at = layout(props, width)
    const [row, column] = [Math.floor((y - at.top) / at.tall), Math.floor((x - at.left) / at.wide)]
    const there = row >= 0 && row < rows.length && column >= 0 && column < columns.length
    if (!there) return props.onCell(null)
    if (cell?.[0] !== row || cell[1] !== column) props.onCell([row, column])
  }
  const key = (event: KeyboardEvent): boolean => {
    if (event.key === "Escape") {
      if (cell) props.onCell(null)
      return cell !== null
    }
    const by = (
      { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] } as Record<string, Cell>
    )[event.key]
    if (event.key === "Home" || event.key === "End") {
      props.onCell(inside(cell?.[0] ?? 0, event.key === "Home" ? 0 : columns.length - 1))
    } else if (by) props.onCell(cell ? inside(cell[0] + by[0], cell[1] + by[1]) : [0, 0])
    else return false
    return true
  }
  const ring = (width: number): [number, number] | null => {
    if (!cell || cell[0] >= rows.length || cell[1] >= columns.length) return null
    const at = layout(props, width)
    return [at.left + (cell[1] + 0.5) * at.wide, at.top + (cell[0] + 0.5) * at.tall]
  }
  const said = cell && values[cell[0]] && cell[1] < columns.length ? saying(props, cell) : null
  return (
    <Touched
      draw={draw}
      keys={[values, rows, columns, props.good, props.scale, props.title, props.numbers]}
      name={props.name}
      label={`${props.title}: ${rows.length} rows by ${columns.length} columns (${props.across}), n = ${props.n}.`}
      hint={props.quiet ? "" : "Point at a cell, or move with the arrow keys."}
      ring={ring}
      said={said}
      onPoint={point}
      onLeave={() => props.onCell(null)}
      onKey={key}
      caption={props.caption}
      data={{
        n: props.n,
        rows: rows.length,
        columns: columns.length,
        points: flat.length,
        scale: props.scale,
        outside,
        min: flat.length ? Math.min(...flat) : null,
        max: flat.length ? Math.max(...flat) : null,
        from: span[0],
        to: span[1],
      }}
    />
  )
}

/** -1 below the good range, 1 above it, 0 in it or where there is none. */
export function beyond(value: number, good: [Num, Num] | null): -1 | 0 | 1 {
  if (good?.[0] != null && value < good[0]) return -1
  return good?.[1] != null && value > good[1] ? 1 : 0
}

function saying(props: HeatProps, cell: Cell): string {
  const value = props.values[cell[0]][cell[1]]
  const sides = { "-1": ", below the good range", "0": "", "1": ", above the good range" }
  const side = known(value) ? sides[`${beyond(value, props.good)}`] : ""
  const place = `${props.rows[cell[0]]}, ${props.across} ${props.columns[cell[1]]}`
  return `${place}: ${shown(value, props, 4)}${side}${props.note?.(cell) ?? ""}`
}

function shown(value: Num, props: HeatProps, digits = 3): string {
  if (!known(value)) return "no number"
  if (props.percent) return percent(value, 2)
  return props.scale === "share" ? percent(value) : number(value, digits)
}

/** Which values the colours reach over: the good range too, where it is near. */
function range({ values, scale, good }: HeatProps): [number, number] {
  const flat = values
    .flat()
    .filter((v): v is number => known(v) && (scale !== "log" || v > 0))
    .sort((a, b) => a - b)
  if (scale === "share") return [0, 1]
  if (flat.length === 0) return scale === "log" ? [0.1, 1] : [0, 1]
  let [low, high] = [flat[Math.floor(0.01 * (flat.length - 1))], flat[Math.ceil(0.99 * (flat.length - 1))]]
  for (const limit of good ?? []) {
    if (!known(limit)) continue
    if (scale === "log" ? limit > 0 && limit > low / 100 : limit > low - 2 * (high - low)) low = Math.min(low, limit)
    if (scale === "log" ? limit < high * 100 : limit < high + 2 * (high - low)) high = Math.max(high, limit)
  }
  if (low < high) return [low, high]
  return scale === "log" ? [low / 2, high * 2] : [low - 0.5, high + 0.5]
}

function placing(props: HeatProps): (value: number) => number {
  const [low, high] = range(props)
  const share =
    props.scale === "log"
      ? (v: number) => Math.log(v / low) / Math.log(high / low)
      : (v: number) => (v - low) / (high - low)
  return (value) => (props.scale === "log" && value <= 0 ? 0 : Math.min(Math.max(share(value), 0), 1))
}

function layout({ rows, columns, numbers }: HeatProps, width: number): Layout {
  const longest = Math.max(0, ...rows.map((row) => row.length))
  const left = Math.round(Math.min(Math.max(longest * SIZE * 0.56 + 14, 48), Math.max(width * 0.3, 84)))
  const tall = numbers ? 30 : rows.length > 40 ? 9 : rows.length > 20 ? 14 : rows.length > 5 ? 20 : 28
  return { left, top: TOP, wide: (width - left - MARGIN) / Math.max(columns.length, 1), tall }
}

function heatDrawing(props: HeatProps, width: number, theme: Theme): Drawing {
  const { rows, columns, values } = props
  const at = layout(props, width)
  const place = placing(props)
  const shapes: Shape[] = []
  const text = { kind: "text", size: SIZE, colour: theme.soft } as const
  rows.forEach((row, r) => {
    const every = Math.ceil(13 / at.tall)
    const room = Math.floor((at.left - 8) / (SIZE * 0.56))
    const name = row.length > room ? `…${row.slice(row.length - room + 1)}` : row
    const y = at.top + r * at.tall
    if (r % every === 0) shapes.push({ ...text, x: at.left - 7, y: y + at.tall / 2 + 4, text: name, anchor: "end" })
    columns.forEach((_, c) => shapes.push(...cellShapes(props, [r, c], at, values[r]?.[c] ?? null, place, theme)))
  })
  const bottom = at.top + rows.length * at.tall
  const widest = Math.max(1, ...columns.map((column) => column.length)) * SIZE * 0.56 + 10
  const every = Math.ceil(widest / at.wide)
  columns.forEach((column, c) => {
    if (c % every !== 0) return
    const x = at.left + (c + 0.5) * at.wide
    shapes.push({
      kind: "line",
      points: [
        [x, bottom],
        [x, bottom + 3],
      ],
      colour: theme.line,
      width: 1,
    })
    shapes.push({ ...text, x, y: bottom + 15, text: column, anchor: "middle" })
  })
  shapes.push({ ...text, x: at.left - 7, y: bottom + 15, text: props.across, anchor: "end" })
  const key = bottom + (props.good ? 42 : 26)
  shapes.push(...legend(props, at.left, key, width - at.left - MARGIN, theme))
  return {
    width,
    height: key + 30,
    background: theme.paper,
    title: props.title,
    shapes,
    table: {
      columns: ["row", ...columns.map((column) => `${props.across} ${column}`)],
      rows: rows.map((row, r) => [row, ...(values[r] ?? [])]),
    },
  }
}

function cellShapes(
  props: HeatProps,
  [r, c]: Cell,
  at: Layout,
  value: Num,
  place: (v: number) => number,
  theme: Theme,
): Shape[] {
  const gap = at.wide > 9 ? 1 : 0
  const [x, y] = [at.left + c * at.wide, at.top + r * at.tall]
  const [w, h] = [at.wide - gap + (gap ? 0 : 0.4), at.tall - (at.tall > 5 ? 1 : 0)]
  if (!known(value)) {
    return [
      { kind: "rect", x, y, w, h, fill: theme.faint },
      {
        kind: "line",
        points: [
          [x + 2, y + h - 2],
          [x + Math.min(w, h) - 2, y + 2],
        ],
        colour: theme.soft,
        width: 1,
        opacity: 0.7,
      },
    ]
  }
  const t = place(value)
  const ink = t > 0.55 ? "#000000" : "#ffffff"
  const shapes: Shape[] = [{ kind: "rect", x, y, w, h, fill: sequential(t) }]
  const side = beyond(value, props.good)
  if (side !== 0) {
    const edge = side > 0 ? y + 2 : y + h - 2
    shapes.push({
      kind: "line",
      points: [
        [x + gap, edge],
        [x + w - gap, edge],
      ],
      colour: ink,
      width: 2,
    })
  }
  if (props.numbers && w > 26) {
    const share = props.scale === "share" || props.percent
    const said = share ? percent(value, w > 52 ? 1 : 0) : number(value, w > 46 ? 3 : 2)
    shapes.push({
      kind: "text",
      x: x + w / 2,
      y: y + h / 2 + 4,
      text: said,
      size: SIZE + 1,
      colour: ink,
      anchor: "middle",
    })
  }
  return shapes
}

/** The colours with their numbers, and a bar over the good range. */
function legend(props: HeatProps, left: number, top: number, wide: number, theme: Theme): Shape[] {
  const [low, high] = range(props)
  const place = placing(props)
  const steps = 64
  const long = Math.min(wide, 360)
  const shapes: Shape[] = []
  for (let k = 0; k < steps; k++) {
    const x = left + (k / steps) * long
    shapes.push({ kind: "rect", x, y: top, w: long / steps + 0.5, h: 9, fill: sequential((k + 0.5) / steps) })
  }
  const ticks = props.scale === "log" ? logTicks(low, high, long / 60) : linearTicks(low, high, long / 70)
  let last = -Infinity
  for (const value of ticks) {
    const x = left + place(value) * long
    const said = props.scale === "share" ? percent(value, 0) : props.percent ? `${tick(100 * value)} %` : tick(value)
    const wordy = said.length * SIZE * 0.56
    if (x - last < wordy + 8) continue
    last = x
    const room = left + wide + MARGIN - x
    shapes.push({
      kind: "line",
      points: [
        [x, top + 9],
        [x, top + 12],
      ],
      colour: theme.line,
      width: 1,
    })
    const anchor = wordy / 2 > room ? "end" : "middle"
    const at = anchor === "end" ? x + room : x
    shapes.push({ kind: "text", x: at, y: top + 23, text: said, size: SIZE, colour: theme.soft, anchor })
  }
  if (!props.good) return shapes
  const [from, to] = [props.good[0] ?? low, props.good[1] ?? high].map((limit) => left + place(limit) * long)
  const y = top - 5
  const ends = [...(props.good[0] === null ? [] : [from]), ...(props.good[1] === null ? [] : [to])]
  shapes.push({
    kind: "line",
    points: [
      [from, y],
      [to, y],
    ],
    colour: theme.good,
    width: 3,
  })
  for (const x of ends)
    shapes.push({
      kind: "line",
      points: [
        [x, y - 1],
        [x, top + 12],
      ],
      colour: theme.good,
      width: 2,
    })
  const middle = Math.min(Math.max((from + to) / 2, left + 15), left + long - 15)
  shapes.push({
    kind: "text",
    x: middle,
    y: y - 5,
    text: "good",
    size: SIZE,
    colour: theme.good,
    anchor: "middle",
    bold: true,
  })
  return shapes
}
