/** The picture of a plane as a display list: filled contours with labels, their bar, and the runs' paths. */
import { linearTicks } from "./axis"
import { type Grid, known, lines, type Point, refined, regions, sampler, type Values } from "./contours"
import type { Drawing, Shape } from "./drawing"
import { number } from "./format"
import { apart, type Label, labelled, textWidth } from "./labels"
import { type Levels, named } from "./levels"
import { sequential, type Theme } from "./palette"
import { ticked } from "./ticks"
import { along, trail } from "./trails"
import type { Plane } from "./types"

/** Where the axes stand on the drawing, in pixels. */
export interface Box {
  left: number
  top: number
  width: number
  height: number
  x: (value: number) => number
  y: (value: number) => number
  backX: (pixel: number) => number
  backY: (pixel: number) => number
}

/** How a plane is drawn. */
export interface PlaneStyle {
  levels: Levels
  entrants: string[]
  theme: Theme
  bar: boolean // the bar of colours beside it
  paths: boolean
  tone?: (level: number) => string // the colour of what is at least as high as a level; -Infinity: of all else
  measured: string // what the values are: "loss", "change of the loss"
}

const FINE = 96 // intervals along an axis after refining
const SIZE = 11 // of text
const HATCH = 7

/** The box of a plane on a drawing of this width. */
export function boxOf(grid: Pick<Plane, "x" | "y" | "axes">, width: number, bar: boolean): Box {
  const [left, top] = [grid.axes[1].length > 40 ? 66 : 52, 10]
  const inner = Math.max(width - left - (bar ? 68 : 12), 80)
  const height = Math.round(Math.min(Math.max(inner * (width < 480 ? 0.95 : 0.76), 200), 480))
  const [low, high] = [grid.x[0], grid.x[grid.x.length - 1]]
  const [bottom, up] = [grid.y[0], grid.y[grid.y.length - 1]]
  const [across, tall] = [high - low || 1, up - bottom || 1]
  return {
    left,
    top,
    width: inner,
    height,
    x: (value) => left + ((value - low) / across) * inner,
    y: (value) => top + height - ((value - bottom) / tall) * height,
    backX: (pixel) => low + ((pixel - left) / inner) * across,
    backY: (pixel) => bottom + ((top + height - pixel) / height) * tall,
  }
}

/** The grid as it is drawn: smooth between the measured values, in their logarithm where the levels are. */
export function smooth(plane: Pick<Plane, "x" | "y">, values: Values, levels: Levels): Grid {
  const grid = { x: plane.x, y: plane.y, values }
  const times = Math.ceil(FINE / Math.max(Math.min(plane.x.length, plane.y.length) - 1, 1))
  return refined(grid, times, levels.spacing === "log")
}

/** The colour of what is at least as high as a level. */
export function tones(levels: Levels): (level: number) => string {
  const top = Math.max(levels.values.length, 1)
  return (level) => sequential((level === -Infinity ? 0 : levels.values.indexOf(level) + 1) / top)
}

export function planeDrawing(plane: Plane, values: Values, width: number, style: PlaneStyle): Drawing {
  const { theme, levels } = style
  const grid = smooth(plane, values, levels)
  const box = boxOf(plane, width, style.bar)
  const tone = style.tone ?? tones(levels)
  const at = (points: readonly Point[]): Point[] => points.map(([x, y]) => [box.x(x), box.y(y)])

  const inside: Shape[] = [...missing(box, grid, theme)]
  for (const level of [-Infinity, ...levels.values]) {
    const loops = regions(grid, level === -Infinity ? -Number.MAX_VALUE : level)
    const points = loops.flatMap((loop): Point[] => [...at(loop), [NaN, NaN]])
    if (points.length > 0) inside.push({ kind: "area", points, colour: tone(level), opacity: 1 })
  }
  const labels: Label[] = []
  const taken = style.paths ? plane.paths.flatMap((path) => along(path, box)) : []
  for (const level of levels.values) {
    const ink = light(tone(level)) ? "#000000" : "#ffffff"
    const found = lines(grid, level).map((line) => ({ ...line, points: at(line.points) }))
    const label = labelled(found, named(level, levels), box, labels, taken)
    if (label) labels.push(label)
    for (const { points } of found) {
      const cut = label ? points.map((p) => (apart(p, label) ? p : ([NaN, NaN] as Point))) : points
      inside.push({
        kind: "line",
        points: cut,
        colour: ink,
        width: 0.8,
        opacity: 0.55,
        dash: level < 0 ? [4, 3] : undefined,
      })
    }
    if (label) inside.push({ kind: "text", ...label, size: 10, colour: ink, anchor: "middle" })
  }
  if (plane.evaluated >= plane.values.length) inside.push(...dots(plane, values, box))
  if (style.paths) inside.push(...plane.paths.flatMap((path) => trail(path, plane, box, style.entrants)))
  return {
    width,
    height: box.top + box.height + 42,
    background: theme.paper,
    title: plane.title,
    shapes: [
      { kind: "clip", x: box.left, y: box.top, w: box.width, h: box.height, shapes: inside },
      ...axes(plane, box, theme),
      ...(style.bar ? bar(box, style, tone) : []),
    ],
    table: table(plane, values, style),
  }
}

/** Every measured value, then the points of the paths. */
export function table(plane: Plane, values: Values, style: Pick<PlaneStyle, "measured" | "paths">): Drawing["table"] {
  const columns = ["what", plane.axes[0], plane.axes[1], style.measured, "step", "distance off the plane", "recorded"]
  const rows: (string | number | null)[][] = plane.y.flatMap((y, j) =>
    plane.x.map((x, i) => ["surface", x, y, values[j * plane.x.length + i], null, null, null]),
  )
  const shown = style.paths ? plane.paths : []
  for (const path of shown) {
    for (const point of path.points) {
      rows.push([path.run || point.name, point.at[0], point.at[1], point.loss, point.step, point.off, point.recorded])
    }
  }
  return { columns, rows }
}

/** Diagonal lines where there is no value. */
function missing(box: Box, grid: Grid, theme: Theme): Shape[] {
  if (grid.values.every(known)) return []
  const shapes: Shape[] = [{ kind: "rect", x: box.left, y: box.top, w: box.width, h: box.height, fill: theme.faint }]
  for (let from = -box.height; from < box.width; from += HATCH) {
    const points: Point[] = [
      [box.left + from, box.top + box.height],
      [box.left + from + box.height, box.top],
    ]
    shapes.push({ kind: "line", points, colour: theme.soft, width: 1, opacity: 0.6 })
  }
  return shapes
}

function dots(plane: Plane, values: Values, box: Box): Shape[] {
  const shapes: Shape[] = []
  plane.y.forEach((y, j) => {
    plane.x.forEach((x, i) => {
      if (!known(values[j * plane.x.length + i]) || plane.x.length > 30) return
      shapes.push({
        kind: "rect",
        x: box.x(x) - 0.75,
        y: box.y(y) - 0.75,
        w: 1.5,
        h: 1.5,
        fill: "#ffffff",
        opacity: 0.6,
      })
    })
  })
  return shapes
}

function light(colour: string): boolean {
  const [r, g, b] = (colour.match(/[\d.]+/g) ?? ["0", "0", "0"]).map(Number)
  return 0.299 * r + 0.587 * g + 0.114 * b > 135
}

function axes(plane: Plane, box: Box, theme: Theme): Shape[] {
  const shapes: Shape[] = []
  const bottom = box.top + box.height
  const corners: Point[] = [
    [box.left, box.top],
    [box.left + box.width, box.top],
    [box.left + box.width, bottom],
    [box.left, bottom],
    [box.left, box.top],
  ]
  shapes.push({ kind: "line", points: corners, colour: theme.line, width: 1 })
  const text = { kind: "text", size: SIZE, colour: theme.soft } as const
  const wanted = (places: number[], most: number): number[] => linearTicks(places[0], places[places.length - 1], most)
  const corner = { left: box.left, bottom, x: box.x, y: box.y }
  shapes.push(...ticked(wanted(plane.x, box.width / 80), wanted(plane.y, box.height / 55), corner, theme))
  const [across, up] = [box.left + box.width / 2, box.top + box.height / 2]
  const [below] = wrapped(plane.axes[0], box.width + 60, 1)
  shapes.push({
    ...text,
    x: Math.max(across, textWidth(below, SIZE) / 2),
    y: bottom + 34,
    text: below,
    anchor: "middle",
  })
  wrapped(plane.axes[1], box.height + 20, 2).forEach((line, k) => {
    shapes.push({ ...text, x: 12 + 13 * k, y: up, text: line, anchor: "middle", turn: -90 })
  })
  return shapes
}

/** A text in at most so many lines; what does not fit is left out. */
function wrapped(text: string, room: number, most: number): string[] {
  const fits = Math.floor(room / (SIZE * 0.52))
  const found = [""]
  for (const word of text.split(" ")) {
    const longer = [found[found.length - 1], word].filter(Boolean).join(" ")
    if (longer.length <= fits || found[found.length - 1] === "") found[found.length - 1] = longer
    else if (found.length < most) found.push(word)
    else {
      found[found.length - 1] += " …"
      break
    }
  }
  return found
}

/** The colours with the levels between them. */
function bar(box: Box, { levels, theme, measured }: PlaneStyle, tone: (level: number) => string): Shape[] {
  const [x, wide] = [box.left + box.width + 12, 13]
  const parts = [-Infinity, ...levels.values]
  const step = (box.height - 18) / parts.length
  const shapes: Shape[] = [
    { kind: "text", x, y: box.top + 9, text: measured, size: SIZE, colour: theme.soft, anchor: "start" },
  ]
  const every = Math.ceil(16 / step)
  parts.forEach((level, k) => {
    const y = box.top + box.height - (k + 1) * step
    shapes.push({ kind: "rect", x, y, w: wide, h: step + 0.5, fill: tone(level) })
    if (k % every !== 0 || k === 0) return
    shapes.push({
      kind: "line",
      points: [
        [x, y + step],
        [x + wide + 3, y + step],
      ],
      colour: theme.line,
      width: 1,
    })
    shapes.push({
      kind: "text",
      x: x + wide + 6,
      y: y + step + 4,
      text: named(level, levels),
      size: SIZE,
      colour: theme.soft,
      anchor: "start",
    })
  })
  return shapes
}

/** The height at a place of the picture, in words; null outside. */
export function reading(grid: Grid, box: Box, px: number, py: number, measured: string): string | null {
  const [x, y] = [box.backX(px), box.backY(py)]
  const value = sampler(grid)(x, y)
  const inside = px >= box.left && px <= box.left + box.width && py >= box.top && py <= box.top + box.height
  if (!inside) return null
  return `${measured} ${known(value) ? number(value, 4) : "not measured"} at ${number(x, 3)}, ${number(y, 3)}`
}
