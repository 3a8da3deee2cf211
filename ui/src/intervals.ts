/** The finalists as dots with their 95 % intervals: a row each in the table, all on one axis in the saved file. */
import { extent, linearTicks, roomy } from "./axis"
import type { Drawing, Shape } from "./drawing"
import { scored } from "./format"
import { look, type Theme } from "./palette"
import type { Finalist, Verdict } from "./types"

const ROW = 30
const TALL = 50 // of a row of the table
const HEAD = 26
const NAMES = 170
const EDGE = 8
const MORE = 10 // ticks more than wanted, until one of them stands where it can be read

interface Scale {
  low: number
  high: number
  to: (value: number) => number
}

/** The axis that all finalists share, from `left` to `right`; no finite score: null. */
export function scaleOf(verdict: Verdict, left: number, right: number): Scale | null {
  const wide = Math.max(...verdict.finalists.flatMap((one) => one.scores.filter((score) => score !== null)), -Infinity)
  const near = Math.min(...verdict.finalists.flatMap((one) => one.scores.filter((score) => score !== null)), Infinity)
  const room = 3 * (wide - near) || Math.abs(wide) * 0.05 || 0.05
  const limits = verdict.unit === "share" ? [0, 1] : [-Infinity, Infinity]
  const ends = verdict.finalists
    .flatMap((one) => [one.mean, ...one.interval, ...one.scores])
    .filter((value): value is number => value !== null && value >= near - room && value <= wide + room)
  const found = extent(ends.map((value) => Math.min(Math.max(value, limits[0]), limits[1])))
  if (!found) return null
  const [low, high] = roomy(found)
  return { low, high, to: (value) => left + EDGE + ((value - low) / (high - low)) * (right - left - 2 * EDGE) }
}

/** One finalist: its runs faint, its interval, its mean. An interval that leaves the axis ends in an arrow. */
function row(
  one: Finalist,
  verdict: Verdict,
  y: number,
  tall: number,
  scale: Scale,
  entrants: string[],
  theme: Theme,
): Shape[] {
  const shapes: Shape[] = []
  const { colour } = look(one.name, entrants)
  const reference = verdict.finalists.find((other) => other.baseline)?.mean
  if (reference != null) {
    const x = scale.to(reference)
    shapes.push({
      kind: "line",
      points: [
        [x, y - tall / 2],
        [x, y + tall / 2],
      ],
      colour: theme.line,
      width: 1,
      dash: [2, 3],
    })
  }
  if (one.mean === null) return [...shapes, cross(scale.to(scale.low) + 4, y, theme.bad)].flat()
  const [low, high] = one.interval
  if (low !== null && high !== null) {
    const [from, to] = [Math.max(low, scale.low), Math.min(high, scale.high)].map(scale.to)
    shapes.push({
      kind: "line",
      points: [
        [from, y],
        [to, y],
      ],
      colour,
      width: 2.5,
      label: `${one.name}: 95 %`,
    })
    for (const [x, cut, way] of [
      [from, low < scale.low, -1],
      [to, high > scale.high, 1],
    ] as const) {
      const points: [number, number][] = cut
        ? [
            [x - 5 * way, y - 4],
            [x, y],
            [x - 5 * way, y + 4],
          ]
        : [
            [x, y - 5],
            [x, y + 5],
          ]
      shapes.push({ kind: "line", points, colour, width: 2 })
    }
  }
  for (const score of one.scores) {
    if (score !== null)
      shapes.push({ kind: "rect", x: scale.to(score) - 0.75, y: y - 9, w: 1.5, h: 18, fill: colour, opacity: 0.55 })
  }
  shapes.push({ kind: "circle", x: scale.to(one.mean), y, r: 5, fill: colour, stroke: theme.paper })
  return shapes
}

function cross(x: number, y: number, colour: string): Shape[] {
  return [
    {
      kind: "line",
      points: [
        [x - 4, y - 4],
        [x + 4, y + 4],
      ],
      colour,
      width: 2,
      label: "diverged",
    },
    {
      kind: "line",
      points: [
        [x - 4, y + 4],
        [x + 4, y - 4],
      ],
      colour,
      width: 2,
    },
  ]
}

function axis(verdict: Verdict, y: number, scale: Scale, theme: Theme, wanted: number): Shape[] {
  const [from, to] = [scale.to(scale.low) + 14, scale.to(scale.high) - 14] // so that no number is cut
  const fits = (at: number): boolean => scale.to(at) >= from && scale.to(at) <= to
  let fitting: number[] = []
  for (let some = wanted; fitting.length === 0 && some < wanted + MORE; some += 1) {
    fitting = linearTicks(scale.low, scale.high, some).filter(fits)
  }
  return fitting.flatMap((at): Shape[] => [
    {
      kind: "line",
      points: [
        [scale.to(at), y],
        [scale.to(at), y + 4],
      ],
      colour: theme.line,
      width: 1,
    },
    {
      kind: "text",
      x: scale.to(at),
      y: y - 4,
      text: short(at, verdict),
      size: 11,
      colour: theme.soft,
      anchor: "middle",
    },
  ])
}

function short(value: number, verdict: Verdict): string {
  return scored(value, verdict.unit)
    .replace(/(\.\d*?)0+( %)?$/, "$1$2")
    .replace(/\.( %)?$/, "$1")
}

/** The axis alone, for the head of the column. */
export function axisDrawing(verdict: Verdict, width: number, theme: Theme): Drawing | null {
  const scale = scaleOf(verdict, 0, width)
  if (!scale) return null
  const shapes = axis(verdict, 18, scale, theme, width / 55)
  return {
    width,
    height: 22,
    background: theme.paper,
    title: `Axis of ${verdict.metric}`,
    shapes,
    table: { columns: [], rows: [] },
  }
}

/** One finalist's interval, for its row of the table. */
export function rowDrawing(
  one: Finalist,
  verdict: Verdict,
  width: number,
  entrants: string[],
  theme: Theme,
): Drawing | null {
  const scale = scaleOf(verdict, 0, width)
  if (!scale) return null
  const shapes = row(one, verdict, TALL / 2, TALL, scale, entrants, theme)
  return {
    width,
    height: TALL,
    background: theme.paper,
    title: words(one, verdict),
    shapes,
    table: { columns: [], rows: [] },
  }
}

export function words(one: Finalist, verdict: Verdict): string {
  if (one.mean === null) return `${one.name}: diverged`
  const [low, high] = one.interval.map((value) => scored(value, verdict.unit))
  const mean = `${verdict.metric} ${scored(one.mean, verdict.unit)}`
  return `${one.name}: ${mean}, 95 % from ${low} to ${high}, n = ${one.scores.length} seeds`
}

/** All rows with names and axis: the file that is saved. */
export function forest(verdict: Verdict, entrants: string[], theme: Theme): Drawing | null {
  const width = 720
  const scale = scaleOf(verdict, NAMES, width)
  if (!scale) return null
  const text = (x: number, y: number, said: string, bold = false): Shape => ({
    kind: "text",
    x,
    y,
    text: said,
    size: bold ? 15 : 13,
    colour: theme.ink,
    anchor: "start",
    bold,
  })
  const seeds = Math.max(...verdict.finalists.map((one) => one.scores.length))
  const title = `${verdict.metric}: mean and 95 % interval, n = ${seeds} seeds each at most`
  const top = 34 + HEAD
  const shapes: Shape[] = [text(8, 20, title, true), ...axis(verdict, top - 6, scale, theme, 7)]
  verdict.finalists.forEach((one, i) => {
    const y = top + ROW * (i + 0.5)
    shapes.push(text(8, y + 4, one.name), ...row(one, verdict, y, ROW, scale, entrants, theme))
  })
  const columns = ["name", "n", "mean", "low", "high", "difference", "difference low", "difference high", "decision"]
  const rows = verdict.finalists.map((one) => [
    one.name,
    one.scores.length,
    one.mean,
    ...one.interval,
    one.difference.mean,
    ...one.difference.interval,
    one.difference.decision,
  ])
  return {
    width,
    height: top + ROW * verdict.finalists.length + 10,
    background: theme.paper,
    title,
    shapes,
    table: { columns, rows },
  }
}
