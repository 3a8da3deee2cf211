/** What stands in the space of a surface: the sheet with its contours, the paths, the floor and the texts. */
import {
  BackSide,
  BufferAttribute,
  BufferGeometry,
  CanvasTexture,
  CatmullRomCurve3,
  Color,
  CurvePath,
  DoubleSide,
  Group,
  LineBasicMaterial,
  LineCurve3,
  LineSegments,
  type Material,
  Mesh,
  MeshBasicMaterial,
  MeshLambertMaterial,
  type Object3D,
  type PerspectiveCamera,
  SphereGeometry,
  Sprite,
  SpriteMaterial,
  SRGBColorSpace,
  TubeGeometry,
  Vector3,
} from "three"
import { type Grid, known, lines, sampler } from "./contours"
import type { Drawing } from "./drawing"
import { type Levels, named, share } from "./levels"
import { sequential, type Theme } from "./palette"
import type { PathPoint } from "./types"

export interface Relief {
  title: string
  grid: Grid // as it is drawn
  levels: Levels
  axes: [string, string]
  paths: { name: string; points: PathPoint[]; colour: string }[]
  theme: Theme
  table: Drawing["table"] // what was measured
}

const DEPTH = 0.8 // of the second axis, of the first one's length
const HEIGHT = 0.7
const LIFT = 0.012 // of a path above the surface
const TEXT = 18 // pixels from line to line
const BELOW = -0.16 // of the axes' names
const BESIDE = 0.1 // of the heights, from their post

/** Where a place of the plane and a height stand in space. */
export function placing({ grid, levels }: Relief): (x: number, y: number, value: number) => Vector3 {
  const high = share(levels)
  const [left, right] = [grid.x[0], grid.x[grid.x.length - 1]]
  const [bottom, top] = [grid.y[0], grid.y[grid.y.length - 1]]
  return (x, y, value) =>
    new Vector3(
      (2 * (x - left)) / (right - left || 1) - 1,
      HEIGHT * high(value),
      DEPTH * (1 - (2 * (y - bottom)) / (top - bottom || 1)),
    )
}

export function built(relief: Relief): Group {
  const group = new Group()
  group.add(new Mesh(sheet(relief), new MeshLambertMaterial({ vertexColors: true, side: DoubleSide })))
  const levels = new LineSegments(
    contours(relief),
    new LineBasicMaterial({ color: 0x000000, transparent: true, opacity: 0.35 }),
  )
  levels.name = "contours"
  group.add(levels)
  for (const path of relief.paths) group.add(...track(relief, path))
  group.add(...floor(relief))
  return group
}

function sheet(relief: Relief): BufferGeometry {
  const { grid, levels } = relief
  const place = placing(relief)
  const high = share(levels)
  const n = grid.x.length
  const positions = new Float32Array(3 * grid.values.length)
  const colours = new Float32Array(3 * grid.values.length)
  grid.values.forEach((value, k) => {
    const there = known(value) ? value : levels.low
    place(grid.x[k % n], grid.y[Math.floor(k / n)], there).toArray(positions, 3 * k)
    new Color(sequential(high(there))).toArray(colours, 3 * k)
  })
  const faces: number[] = []
  for (let j = 0; j + 1 < grid.y.length; j++) {
    for (let i = 0; i + 1 < n; i++) {
      const at = j * n + i
      if ([at, at + 1, at + n, at + n + 1].every((k) => known(grid.values[k]))) {
        faces.push(at, at + 1, at + n + 1, at, at + n + 1, at + n)
      }
    }
  }
  const geometry = new BufferGeometry()
  geometry.setAttribute("position", new BufferAttribute(positions, 3))
  geometry.setAttribute("color", new BufferAttribute(colours, 3))
  geometry.setIndex(faces)
  geometry.computeVertexNormals()
  return geometry
}

function contours(relief: Relief): BufferGeometry {
  const place = placing(relief)
  const ends: Vector3[] = []
  for (const level of relief.levels.values) {
    for (const { points } of lines(relief.grid, level)) {
      const risen = points.map(([x, y]) => place(x, y, level).add(new Vector3(0, 0.003, 0)))
      for (let i = 1; i < risen.length; i++) ends.push(risen[i - 1], risen[i])
    }
  }
  return new BufferGeometry().setFromPoints(ends)
}

/** The points of a path laid on the surface, between its points too. */
export function laid(relief: Relief, points: PathPoint[]): Vector3[] {
  const place = placing(relief)
  const height = sampler(relief.grid)
  const on = (x: number, y: number): Vector3[] => {
    const value = height(x, y)
    return known(value) ? [place(x, y, value).add(new Vector3(0, LIFT, 0))] : []
  }
  const seen = points.filter((point) => point.at.every(known))
  return seen.flatMap((point, k) => {
    const next = seen[k + 1]
    if (!next) return on(point.at[0], point.at[1])
    const cuts = 10
    return Array.from({ length: cuts }, (_, c) => {
      const [p, q] = [0, 1].map((axis) => point.at[axis] + (c / cuts) * (next.at[axis] - point.at[axis]))
      return on(p, q)
    }).flat()
  })
}

function track(relief: Relief, path: Relief["paths"][number]): Object3D[] {
  const points = laid(relief, path.points)
  if (points.length === 0) return []
  const ball = (at: Vector3, radius: number, colour: string): Mesh => {
    const mesh = new Mesh(new SphereGeometry(radius, 20, 14), new MeshBasicMaterial({ color: colour }))
    mesh.position.copy(at)
    return mesh
  }
  const rim = (at: Vector3, radius: number): Mesh => {
    const mesh = new Mesh(
      new SphereGeometry(radius, 20, 14),
      new MeshBasicMaterial({ color: "#ffffff", side: BackSide }),
    )
    mesh.position.copy(at)
    return mesh
  }
  const [start, end] = [points[0], points[points.length - 1]]
  if (path.name === "" || points.length === 1)
    return points.flatMap((at) => [ball(at, 0.024, "#111111"), rim(at, 0.034)])
  const way = points.length > 3 ? new CatmullRomCurve3(points, false, "centripetal") : segments(points)
  const tube = (radius: number, material: Material): Mesh =>
    new Mesh(new TubeGeometry(way, 6 * points.length, radius, 8), material)
  return [
    tube(0.0085, new MeshBasicMaterial({ color: path.colour })),
    tube(0.015, new MeshBasicMaterial({ color: "#ffffff", side: BackSide })),
    ball(start, 0.026, "#ffffff"),
    ball(end, 0.028, path.colour),
    rim(end, 0.038),
  ]
}

function segments(points: Vector3[]): CurvePath<Vector3> {
  const way = new CurvePath<Vector3>()
  for (let i = 1; i < points.length; i++) way.add(new LineCurve3(points[i - 1], points[i]))
  return way
}

/** The frame of the floor, the names of the axes, and the heights, which stand where they are seen from now. */
function floor({ theme, axes, levels }: Relief): Object3D[] {
  const corner = (x: number, z: number, y = 0): Vector3 => new Vector3(x, y, z)
  const around = [corner(-1, DEPTH), corner(1, DEPTH), corner(1, -DEPTH), corner(-1, -DEPTH)]
  const ends = around.flatMap((from, k) => [from, around[(k + 1) % 4]])
  const frame = new LineSegments(new BufferGeometry().setFromPoints(ends), new LineBasicMaterial({ color: theme.soft }))
  const high = share(levels)
  const some = levels.values.filter((_, k) => k % Math.ceil(levels.values.length / 5) === 0)
  const post = new LineSegments(
    new BufferGeometry().setFromPoints([corner(0, 0), corner(0, 0, HEIGHT)]),
    frame.material,
  )
  post.name = "height"
  return [
    frame,
    post,
    sign(axes[0], "first", theme.ink),
    sign(axes[1], "second", theme.ink),
    ...some.map((level) => sign(named(level, levels), "height", theme.soft, HEIGHT * high(level))),
  ]
}

/** A text that faces the reader. */
function sign(text: string, name: string, colour: string, height = BELOW): Sprite {
  const canvas = document.createElement("canvas")
  const pen = canvas.getContext("2d")!
  const size = 44
  pen.font = `${size}px system-ui, sans-serif`
  canvas.width = Math.ceil(pen.measureText(text).width) + 8
  canvas.height = size * 1.4
  pen.font = `${size}px system-ui, sans-serif`
  pen.fillStyle = colour
  pen.fillText(text, 4, size)
  const map = new CanvasTexture(canvas)
  map.colorSpace = SRGBColorSpace
  const sprite = new Sprite(new SpriteMaterial({ map, transparent: true, depthTest: false }))
  sprite.name = name
  sprite.userData = { ratio: canvas.width / canvas.height, text, colour }
  sprite.position.setY(height)
  return sprite
}

/** Puts the names at the two near edges and the heights at the leftmost corner; texts keep their size on the screen. */
export function orient(group: Group, camera: PerspectiveCamera, across: number, height: number): void {
  camera.updateMatrixWorld()
  const right = new Vector3(Math.cos(across), 0, -Math.sin(across))
  const [toward, aside] = [Math.cos(across) < 0 ? -1 : 1, Math.sin(across) < 0 ? -1 : 1]
  for (const part of group.children) {
    const text = part instanceof Sprite
    if (part.name === "first") part.position.set(0, BELOW, toward * (DEPTH + 0.3))
    else if (part.name === "second") part.position.set(aside * 1.3, BELOW, 0)
    else if (part.name === "height") {
      part.position.set(-toward, part.position.y, aside * DEPTH)
      if (text) part.position.add(right.clone().multiplyScalar(-BESIDE))
    }
    if (!text) continue
    const whole = 2 * camera.position.distanceTo(part.position) * Math.tan((camera.fov * Math.PI) / 360)
    const tall = ((height < 300 ? 0.8 : 1) * TEXT * whole) / Math.max(height, 1)
    const wide = tall * (part.userData as { ratio: number }).ratio
    part.scale.set(wide, tall, 1)
    const half = (whole * camera.aspect) / 2
    const x = part.position.clone().project(camera).x
    const most = 1 - wide / 2 / half
    if (Math.abs(x) > most) part.position.add(right.clone().multiplyScalar((Math.sign(x) * most - x) * half))
  }
}
