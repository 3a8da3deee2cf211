/** The picture of a plane as a display list: filled contours with labels, their bar, and the runs' paths. */
import { linearTicks } from "./axis"
import { type Grid, known, type Line, lines, type Point, refined, regions, sampler, type Values } from "./contours"
import type { Drawing, Shape } from "./drawing"
import { number, tick } from "./format"
import type { Levels } from "./levels"
import { look, sequential, type Theme } from "./palette"
import type { Path, PathPoint, Plane } from "./types"

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
const FAR = 0.1 // of the diagonal: a point farther than this from the plane is drawn hollow
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
    left, top, width: inner, height,
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
    const label = labelled(found, tick(level), box, labels, taken)
    if (label) labels.push(label)
    for (const { points } of found) {
      const cut = label ? points.map((p) => (apart(p, label) ? p : ([NaN, NaN] as Point))) : points
      inside.push({ kind: "line", points: cut, colour: ink, width: 0.8, opacity: 0.55, dash: level < 0 ? [4, 3] : undefined })
    }
    if (label) inside.push({ kind: "text", ...label, size: 10, colour: ink, anchor: "middle" })
  }
  if (plane.evaluated >= plane.values.length) inside.push(...dots(plane, values, box))
  if (style.paths) inside.push(...plane.paths.flatMap((path) => trail(path, plane, box, style)))
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
    const points: Point[] = [[box.left + from, box.top + box.height], [box.left + from + box.height, box.top]]
    shapes.push({ kind: "line", points, colour: theme.soft, width: 1, opacity: 0.6 })
  }
  return shapes
}

function dots(plane: Plane, values: Values, box: Box): Shape[] {
  const shapes: Shape[] = []
  plane.y.forEach((y, j) => {
    plane.x.forEach((x, i) => {
      if (!known(values[j * plane.x.length + i]) || plane.x.length > 30) return
      shapes.push({ kind: "rect", x: box.x(x) - 0.75, y: box.y(y) - 0.75, w: 1.5, h: 1.5, fill: "#ffffff", opacity: 0.6 })
    })
  })
  return shapes
}

interface Label {
  x: number
  y: number
  text: string
  turn: number
}

/** Places along a path, near enough to each other that no label fits between. */
function along(path: Path, box: Box): Point[] {
  const places = path.points.filter((point) => point.at.every(known)).map((point): Point => [box.x(point.at[0]), box.y(point.at[1])])
  return places.flatMap(([x, y], k) => {
    const [toX, toY] = places[k + 1] ?? [x, y]
    const cuts = path.run === "" ? 1 : Math.min(Math.max(Math.ceil(Math.hypot(toX - x, toY - y) / 12), 1), 200)
    return Array.from({ length: cuts }, (_, c): Point => [x + (c / cuts) * (toX - x), y + (c / cuts) * (toY - y)])
  })
}

/** Where the line runs most nearly level, away from the border and from other labels. */
function labelled(found: Line[], text: string, box: Box, others: readonly Label[], taken: readonly Point[]): Label | null {
  const half = textWidth(text, 10) / 2 + 4
  let best: (Label & { cost: number }) | null = null
  for (const { points } of found) {
    const reach = points.reduce((sum, p, i) => (i ? sum + Math.hypot(p[0] - points[i - 1][0], p[1] - points[i - 1][1]) : 0), 0)
    if (reach < 5 * half) continue
    for (let i = 2; i + 2 < points.length; i += 2) {
      const [x, y] = points[i]
      const border = Math.min(x - box.left, box.left + box.width - x, y - box.top, box.top + box.height - y)
      const apartBy = Math.min(Infinity, ...others.map((other) => Math.hypot(other.x - x, other.y - y)))
      if (border < half + 2 || apartBy < 2.2 * half || taken.some(([p, q]) => Math.hypot(p - x, q - y) < half + 6)) continue
      const [dx, dy] = [points[i + 2][0] - points[i - 2][0], points[i + 2][1] - points[i - 2][1]]
      const turn = (Math.atan2(dx < 0 ? -dy : dy, Math.abs(dx)) * 180) / Math.PI
      const cost = Math.abs(turn) / 45 + Math.max(0, 60 - apartBy) / 30 - Math.min(reach, 300) / 300
      if (!best || cost < best.cost) best = { x, y, text, turn: Math.round(turn), cost }
    }
  }
  if (!best) return null
  const tilt = (best.turn * Math.PI) / 180
  return { x: best.x - 3.5 * Math.sin(tilt), y: best.y + 3.5 * Math.cos(tilt), text, turn: best.turn }
}

function apart([x, y]: Point, label: Label): boolean {
  return Math.hypot(x - label.x, y - label.y) > textWidth(label.text, 10) / 2 + 4
}

export function textWidth(text: string, size: number): number {
  return text.length * size * 0.56
}

function light(colour: string): boolean {
  const [r, g, b] = (colour.match(/[\d.]+/g) ?? ["0", "0", "0"]).map(Number)
  return 0.299 * r + 0.587 * g + 0.114 * b > 135
}

/** A run on the plane: where it starts, is seen and ends, and where it leaves the picture. */
function trail(path: Path, plane: Plane, box: Box, style: PlaneStyle): Shape[] {
  const seen = path.points.filter((point) => point.at.every(known))
  const places = seen.map((point): Point => [box.x(point.at[0]), box.y(point.at[1])])
  if (places.length === 0) return []
  if (path.run === "") return seen.flatMap((point, i) => named(point, places[i], box))
  const { colour, dash } = look(path.run, style.entrants)
  const shapes: Shape[] = [
    { kind: "line", points: places, colour: "#ffffff", width: 5, opacity: 0.85 },
    { kind: "line", points: places, colour, width: 2.6, dash, label: path.run },
  ]
  const far = farOff(plane)
  places.slice(1, -1).forEach(([x, y], i) => {
    if (seen[i + 1].off > far) shapes.push({ kind: "circle", x, y, r: 2.8, fill: "#ffffff", stroke: colour })
    else shapes.push({ kind: "circle", x, y, r: 3, fill: colour })
  })
  const [start, end] = [places[0], places[places.length - 1]]
  shapes.push({ kind: "circle", x: start[0], y: start[1], r: 7, fill: "#ffffff" })
  shapes.push({ kind: "circle", x: start[0], y: start[1], r: 5, fill: "#ffffff", stroke: colour })
  if (seen.length < path.points.length || seen[seen.length - 1].loss === null) shapes.push(...cross(end, colour))
  else if (places.length > 1) {
    shapes.push({ kind: "circle", x: end[0], y: end[1], r: 7, fill: "#ffffff" })
    shapes.push({ kind: "circle", x: end[0], y: end[1], r: 5, fill: colour, stroke: "#000000" })
  }
  return [...shapes, ...leaving(places, colour, box)]
}

/** How far off the plane a point is drawn hollow. */
export function farOff(plane: Plane): number {
  const [x, y] = [plane.x, plane.y]
  return FAR * Math.hypot(x[x.length - 1] - x[0], y[y.length - 1] - y[0])
}

function named(point: PathPoint, [x, y]: Point, box: Box): Shape[] {
  const wide = textWidth(point.name, SIZE) + 8
  const onLeft = x + 10 + wide > box.left + box.width
  const from = onLeft ? x - 10 - wide : x + 10
  return [
    { kind: "circle", x, y, r: 6.5, fill: "#ffffff" },
    { kind: "circle", x, y, r: 4, fill: "#111111", stroke: "#111111" },
    { kind: "rect", x: from, y: y - 9, w: wide, h: 17, fill: "#ffffff", opacity: 0.85 },
    { kind: "text", x: from + 4, y: y + 4, text: point.name, size: SIZE, colour: "#111111", anchor: "start" },
  ]
}

function cross([x, y]: Point, colour: string): Shape[] {
  const arms = (r: number): Point[] => [[x - r, y - r], [x + r, y + r], [NaN, NaN], [x - r, y + r], [x + r, y - r]]
  return [
    { kind: "line", points: arms(7), colour: "#ffffff", width: 6 },
    { kind: "line", points: arms(6), colour, width: 3 },
  ]
}

/** An arrow on the border where the path goes out. */
function leaving(places: readonly Point[], colour: string, box: Box): Shape[] {
  const [right, bottom] = [box.left + box.width, box.top + box.height]
  const within = ([x, y]: Point): boolean => x >= box.left && x <= right && y >= box.top && y <= bottom
  return places.slice(1).flatMap((to, i): Shape[] => {
    const from = places[i]
    if (!within(from) || within(to)) return []
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]]
    const ways = [
      dx > 0 ? (right - from[0]) / dx : dx < 0 ? (box.left - from[0]) / dx : Infinity,
      dy > 0 ? (bottom - from[1]) / dy : dy < 0 ? (box.top - from[1]) / dy : Infinity,
    ]
    const t = Math.min(...ways)
    const [x, y, size] = [from[0] + t * dx, from[1] + t * dy, Math.hypot(dx, dy)]
    const [u, v] = [dx / size, dy / size]
    const head = (long: number, wide: number): Point[] => [
      [x, y], [x - long * u - wide * v, y - long * v + wide * u], [x - long * u + wide * v, y - long * v - wide * u],
    ]
    return [
      { kind: "area", points: head(19, 10), colour: "#ffffff", opacity: 0.95 },
      { kind: "area", points: head(15, 7), colour, opacity: 1 },
    ]
  })
}

function axes(plane: Plane, box: Box, theme: Theme): Shape[] {
  const shapes: Shape[] = []
  const bottom = box.top + box.height
  const corners: Point[] = [
    [box.left, box.top], [box.left + box.width, box.top], [box.left + box.width, bottom], [box.left, bottom], [box.left, box.top],
  ]
  shapes.push({ kind: "line", points: corners, colour: theme.line, width: 1 })
  const text = { kind: "text", size: SIZE, colour: theme.soft } as const
  for (const value of linearTicks(plane.x[0], plane.x[plane.x.length - 1], box.width / 80)) {
    const x = box.x(value)
    shapes.push({ kind: "line", points: [[x, bottom], [x, bottom + 4]], colour: theme.line, width: 1 })
    shapes.push({ ...text, x, y: bottom + 16, text: tick(value), anchor: "middle" })
  }
  for (const value of linearTicks(plane.y[0], plane.y[plane.y.length - 1], box.height / 55)) {
    const y = box.y(value)
    shapes.push({ kind: "line", points: [[box.left - 4, y], [box.left, y]], colour: theme.line, width: 1 })
    shapes.push({ ...text, x: box.left - 7, y: y + 4, text: tick(value), anchor: "end" })
  }
  const [across, up] = [box.left + box.width / 2, box.top + box.height / 2]
  const [below] = wrapped(plane.axes[0], box.width + 60, 1)
  shapes.push({ ...text, x: Math.max(across, textWidth(below, SIZE) / 2), y: bottom + 34, text: below, anchor: "middle" })
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
  const shapes: Shape[] = [{ kind: "text", x, y: box.top + 9, text: measured, size: SIZE, colour: theme.soft, anchor: "start" }]
  const every = Math.ceil(16 / step)
  parts.forEach((level, k) => {
    const y = box.top + box.height - (k + 1) * step
    shapes.push({ kind: "rect", x, y, w: wide, h: step + 0.5, fill: tone(level) })
    if (k % every !== 0 || k === 0) return
    shapes.push({ kind: "line", points: [[x, y + step], [x + wide + 3, y + step]], colour: theme.line, width: 1 })
    shapes.push({ kind: "text", x: x + wide + 6, y: y + step + 4, text: tick(level), size: SIZE, colour: theme.soft, anchor: "start" })
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

/** A point of a path in words. */
export function told(path: Path, point: PathPoint): string {
  const parts = [point.step === null ? point.name : `${path.run || point.name}, step ${point.step}`]
  if (point.loss !== null) parts.push(`loss ${number(point.loss, 4)} on the plane`)
  if (!point.at.every(known)) parts.push("diverged")
  if (point.recorded !== null) parts.push(`${number(point.recorded, 4)} where it was`)
  if (point.off > 0 && Number(point.off.toPrecision(2)) > 1e-9) parts.push(`${number(point.off)} off the plane`)
  return parts.join(" · ")
}
