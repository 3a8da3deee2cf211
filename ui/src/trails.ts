/** The runs on the picture of a plane, and their points in words. */
import { known, type Point } from "./contours"
import type { Shape } from "./drawing"
import { number } from "./format"
import { textWidth } from "./labels"
import { look } from "./palette"
import type { Box } from "./planes"
import type { Path, PathPoint, Plane } from "./types"

const SIZE = 11 // of text
const FAR = 0.1 // of the diagonal: a point farther than this from the plane is drawn hollow

/** A run on the plane: where it starts, is seen and ends, and where it leaves the picture. */
export function trail(path: Path, plane: Plane, box: Box, entrants: string[]): Shape[] {
  const seen = path.points.filter((point) => point.at.every(known))
  const places = seen.map((point): Point => [box.x(point.at[0]), box.y(point.at[1])])
  if (places.length === 0) return []
  if (path.run === "") return seen.flatMap((point, i) => named(point, places[i], box))
  const { colour, dash } = look(path.run, entrants)
  const shapes: Shape[] = [
    { kind: "line", points: places, colour: "#000000", width: 6.6, opacity: 0.4 },
    { kind: "line", points: places, colour: "#ffffff", width: 5 },
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
  const arms = (r: number): Point[] => [
    [x - r, y - r],
    [x + r, y + r],
    [NaN, NaN],
    [x - r, y + r],
    [x + r, y - r],
  ]
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
      [x, y],
      [x - long * u - wide * v, y - long * v + wide * u],
      [x - long * u + wide * v, y - long * v - wide * u],
    ]
    return [
      { kind: "area", points: head(19, 10), colour: "#ffffff", opacity: 0.95 },
      { kind: "area", points: head(15, 7), colour, opacity: 1 },
    ]
  })
}

/** Places along a path, near enough to each other that no label fits between. */
export function along(path: Path, box: Box): Point[] {
  const places = path.points
    .filter((point) => point.at.every(known))
    .map((point): Point => [box.x(point.at[0]), box.y(point.at[1])])
  return places.flatMap(([x, y], k) => {
    const [toX, toY] = places[k + 1] ?? [x, y]
    const cuts = path.run === "" ? 1 : Math.min(Math.max(Math.ceil(Math.hypot(toX - x, toY - y) / 12), 1), 200)
    return Array.from({ length: cuts }, (_, c): Point => [x + (c / cuts) * (toX - x), y + (c / cuts) * (toY - y)])
  })
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
