/** A plane as a surface in space: three.js draws it, the pointer and the keys turn it. */
import {
  AmbientLight, BackSide, BufferAttribute, BufferGeometry, CanvasTexture, CatmullRomCurve3, Color, CurvePath, DirectionalLight,
  DoubleSide, Group, LineBasicMaterial, LineCurve3, LineSegments, type Material, Mesh, MeshBasicMaterial, MeshLambertMaterial,
  type Object3D, PerspectiveCamera, Scene, SphereGeometry, Sprite, SpriteMaterial, SRGBColorSpace, type Texture, TubeGeometry, Vector3,
  WebGLRenderer,
} from "three"
import { type Grid, known, lines, sampler } from "./contours"
import type { Drawing, Shape } from "./drawing"
import { tick } from "./format"
import { type Levels, share } from "./levels"
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

/** A mounted surface: it draws when something changed, never by itself. */
export interface Mounted {
  show: (relief: Relief) => number // how many triangles
  resize: (width: number, height: number) => void
  turn: (across: number, up: number) => void // in degrees
  zoom: (times: number) => void
  home: () => void
  drawing: () => Drawing | null
  dispose: () => void
}

const DEPTH = 0.8 // of the second axis, of the first one's length
const HEIGHT = 0.7
const START = { across: 38, up: 34, far: 4.05 }
const MIDDLE = 0.1 // the height that the camera looks at
const LIFT = 0.012 // of a path above the surface
const TEXT = 18 // pixels from line to line
const COARSE = 48 // quads along an axis in the SVG

/**
 * Draws on a canvas until it is disposed of.
 *
 * @throws where the browser has no WebGL.
 */
export function mount(canvas: HTMLCanvasElement): Mounted {
  const context = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true })
  if (!context) throw new Error("no WebGL")
  const renderer = new WebGLRenderer({ canvas, context })
  renderer.setPixelRatio(Math.min(devicePixelRatio || 1, 2))
  const camera = new PerspectiveCamera(32, 1, 0.1, 50)
  const scene = new Scene()
  const sun = new DirectionalLight(0xffffff, 1.6)
  scene.add(new AmbientLight(0xffffff, 1.7), sun)
  let held: { relief: Relief; group: Group } | null = null
  let view = { ...START }
  let frame = 0

  const draw = (): void => {
    frame = 0
    const [across, up] = [(view.across * Math.PI) / 180, (view.up * Math.PI) / 180]
    const level = Math.cos(up) * view.far
    camera.position.set(level * Math.sin(across), Math.sin(up) * view.far + MIDDLE, level * Math.cos(across))
    camera.lookAt(0, MIDDLE, 0)
    sun.position.copy(camera.position).add(new Vector3(-1.5, 2, 0))
    if (held) orient(held.group, camera, across, canvas.clientHeight)
    renderer.render(scene, camera)
  }
  const soon = (): void => {
    if (frame === 0) frame = requestAnimationFrame(draw)
  }
  return {
    show(relief) {
      if (held) discard(scene, held.group)
      const group = built(relief)
      held = { relief, group }
      scene.add(group)
      scene.background = new Color(relief.theme.paper)
      soon()
      return 2 * (relief.grid.x.length - 1) * (relief.grid.y.length - 1)
    },
    resize(width, height) {
      renderer.setSize(width, height, false)
      camera.aspect = width / height
      camera.fov = camera.aspect < 1 ? 42 : 32
      camera.updateProjectionMatrix()
      soon()
    },
    turn(across, up) {
      view = { ...view, across: view.across + across, up: Math.min(Math.max(view.up + up, 4), 88) }
      soon()
    },
    zoom(times) {
      view = { ...view, far: Math.min(Math.max(view.far * times, 1.6), 9) }
      soon()
    },
    home() {
      view = { ...START }
      soon()
    },
    drawing: () => (held ? flat(held.relief, held.group, camera, canvas.clientWidth, canvas.clientHeight) : null),
    dispose() {
      cancelAnimationFrame(frame)
      if (held) discard(scene, held.group)
      renderer.dispose()
      renderer.forceContextLoss()
    },
  }
}

/** Where a place of the plane and a height stand in space. */
function placing({ grid, levels }: Relief): (x: number, y: number, value: number) => Vector3 {
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

function built(relief: Relief): Group {
  const group = new Group()
  group.add(new Mesh(sheet(relief), new MeshLambertMaterial({ vertexColors: true, side: DoubleSide })))
  group.add(new LineSegments(contours(relief), new LineBasicMaterial({ color: 0x000000, transparent: true, opacity: 0.35 })))
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
function laid(relief: Relief, points: PathPoint[]): Vector3[] {
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
    const mesh = new Mesh(new SphereGeometry(radius, 20, 14), new MeshBasicMaterial({ color: "#ffffff", side: BackSide }))
    mesh.position.copy(at)
    return mesh
  }
  const [start, end] = [points[0], points[points.length - 1]]
  if (path.name === "" || points.length === 1) return points.flatMap((at) => [ball(at, 0.024, "#111111"), rim(at, 0.034)])
  const way = points.length > 3 ? new CatmullRomCurve3(points, false, "centripetal") : segments(points)
  const tube = (radius: number, material: Material): Mesh => new Mesh(new TubeGeometry(way, 6 * points.length, radius, 8), material)
  return [
    tube(0.0085, new MeshBasicMaterial({ color: path.colour })),
    tube(0.015, new MeshBasicMaterial({ color: "#ffffff", side: BackSide })),
    ball(start, 0.026, "#ffffff"), ball(end, 0.028, path.colour), rim(end, 0.038),
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
  const post = new LineSegments(new BufferGeometry().setFromPoints([corner(0, 0), corner(0, 0, HEIGHT)]), frame.material)
  post.name = "height"
  return [
    frame, post, sign(axes[0], "first", theme.ink), sign(axes[1], "second", theme.ink),
    ...some.map((level) => sign(tick(level), "height", theme.soft, HEIGHT * high(level))),
  ]
}

/** A text that faces the reader. */
function sign(text: string, name: string, colour: string, height = -0.16): Sprite {
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
function orient(group: Group, camera: PerspectiveCamera, across: number, height: number): void {
  const [toward, aside] = [Math.cos(across) < 0 ? -1 : 1, Math.sin(across) < 0 ? -1 : 1]
  for (const part of group.children) {
    const text = part instanceof Sprite
    if (part.name === "first") part.position.setZ(toward * (DEPTH + 0.3))
    else if (part.name === "second") part.position.setX(aside * 1.3)
    else if (part.name === "height") part.position.set(-toward * (text ? 1.05 : 1), part.position.y, aside * DEPTH * (text ? 1.05 : 1))
    if (!text) continue
    const whole = 2 * camera.position.distanceTo(part.position) * Math.tan((camera.fov * Math.PI) / 360)
    const tall = (TEXT / Math.max(height, 1)) * whole
    part.scale.set(tall * (part.userData as { ratio: number }).ratio, tall, 1)
  }
}

function discard(scene: Scene, group: Group): void {
  scene.remove(group)
  group.traverse((part) => {
    const { geometry, material } = part as Partial<Mesh>
    geometry?.dispose()
    for (const one of [material ?? []].flat()) {
      ;(one as { map?: Texture | null }).map?.dispose()
      one.dispose()
    }
  })
}

/** The surface as the camera sees it, as shapes from the far to the near, for files. */
function flat(relief: Relief, group: Group, camera: PerspectiveCamera, width: number, height: number): Drawing {
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
      const corners = [[i, j], [i + across, j], [i + across, j + down], [i, j + down]]
      const values = corners.map(([p, q]) => grid.values[q * n + p])
      if (!values.every(known)) continue
      const points = corners.map(([p, q], k) => place(grid.x[p], grid.y[q], values[k] as number))
      const middle = points.reduce((sum, point) => sum.add(point), new Vector3()).divideScalar(4)
      const mean = (values as number[]).reduce((sum, value) => sum + high(value) / 4, 0)
      const colour = sequential(mean)
      const shape: Shape = { kind: "area", points: points.map(seen), colour, opacity: 1 }
      parts.push({ far: camera.position.distanceTo(middle), shape })
    }
  }
  const shapes = parts.sort((a, b) => b.far - a.far).map((part) => part.shape)
  for (const path of relief.paths) {
    const points = laid(relief, path.points).map(seen)
    if (path.name !== "") shapes.push({ kind: "line", points, colour: path.colour, width: 2.5, label: path.name })
    const end = points[points.length - 1]
    if (end) shapes.push({ kind: "circle", x: end[0], y: end[1], r: 4.5, fill: path.colour, stroke: "#ffffff" })
  }
  for (const part of group.children) {
    if (!(part instanceof Sprite)) continue
    const [x, y] = seen(part.position)
    const { text, colour } = part.userData as { text: string; colour: string }
    shapes.push({ kind: "text", x, y: y + 4, text, size: 12, colour, anchor: "middle" })
  }
  return { width, height, background: theme.paper, title: relief.title, shapes, table: relief.table }
}
