/** A surface in space as a display list: what the camera sees, from the far to the near, for files. */
import { BufferGeometry, type Group, LineSegments, type PerspectiveCamera, Sprite, Vector3 } from "three"
import { known } from "./contours"
import type { Drawing, Shape } from "./drawing"
import { share } from "./levels"
import { sequential } from "./palette"
import { laid, placing, type Relief } from "./solid"

const COARSE = 48 // quads along an axis
const NEARER = 0.05 // than the surface: lines that lie on it

export function projected(
  relief: Relief,
  group: Group,
  camera: PerspectiveCamera,
  width: number,
  height: number,
): Drawing {
  const { grid, levels, theme } = relief
  const place = placing(relief)
  const high = share(levels)
  const seen = (at: Vector3): [number, number] => {
    const { x, y } = at.clone().project(camera)
    return [((x + 1) / 2) * width, ((1 - y) / 2) * height]
  }
  const n = grid.x.length
  const [down, across] = [grid.y.length, n].map((k) => Math.max(Math.ceil((k - 1) / COARSE), 1))
  const parts: { far: number; shape: Shape }[] = []
  for (let j = 0; j + down < grid.y.length; j += down) {
    for (let i = 0; i + across < n; i += across) {
      const corners = [
        [i, j],
        [i + across, j],
        [i + across, j + down],
        [i, j + down],
      ]
      const values = corners.map(([p, q]) => grid.values[q * n + p])
      if (!values.every(known)) continue
      const points = corners.map(([p, q], k) => place(grid.x[p], grid.y[q], values[k] as number))
      const middle = points.reduce((sum, point) => sum.add(point), new Vector3()).divideScalar(4)
      const mean = (values as number[]).reduce((sum, value) => sum + high(value) / 4, 0)
      const shape: Shape = {
        kind: "area",
        points: overlapping(points.map(seen)),
        colour: sequential(mean),
        opacity: 1,
      }
      parts.push({ far: camera.position.distanceTo(middle), shape })
    }
  }
  for (const part of group.children) {
    if (!(part instanceof LineSegments)) continue
    const risen = part.name === "contours"
    const ends = (part.geometry as BufferGeometry).getAttribute("position")
    for (let k = 0; k + 1 < ends.count; k += 2) {
      const [from, to] = [k, k + 1].map((at) => new Vector3().fromBufferAttribute(ends, at).add(part.position))
      const colour = risen ? "#000000" : theme.soft
      const shape: Shape = {
        kind: "line",
        points: [seen(from), seen(to)],
        colour,
        width: 1,
        opacity: risen ? 0.35 : 1,
      }
      parts.push({ far: risen ? camera.position.distanceTo(from) - NEARER : Infinity, shape })
    }
  }
  const shapes = parts.sort((a, b) => (a.far === b.far ? 0 : b.far - a.far)).map((part) => part.shape)
  for (const path of relief.paths) {
    const points = laid(relief, path.points).map(seen)
    if (points.length === 0) continue
    if (path.name !== "") {
      shapes.push({ kind: "line", points, colour: "#ffffff", width: 5 })
      shapes.push({ kind: "line", points, colour: path.colour, width: 2.8, label: path.name })
    }
    const [start, end] = [points[0], points[points.length - 1]]
    shapes.push({ kind: "circle", x: start[0], y: start[1], r: 5, fill: "#ffffff", stroke: path.colour })
    shapes.push({ kind: "circle", x: end[0], y: end[1], r: 5, fill: path.colour, stroke: "#ffffff" })
  }
  for (const part of group.children) {
    if (!(part instanceof Sprite)) continue
    const [x, y] = seen(part.position)
    const { text, colour } = part.userData as { text: string; colour: string }
    shapes.push({ kind: "text", x, y: y + 4, text, size: 12, colour, anchor: "middle" })
  }
  return { width, height, background: theme.paper, title: relief.title, shapes, table: relief.table }
}

/** A quad made half a pixel larger, so that no gap shows between neighbours. */
function overlapping(points: [number, number][]): [number, number][] {
  const [x, y] = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis] / points.length, 0))
  return points.map(([p, q]) => {
    const far = Math.hypot(p - x, q - y) || 1
    return [p + (0.6 * (p - x)) / far, q + (0.6 * (q - y)) / far]
  })
}
