/** A plane as a surface in space: three.js draws it, the pointer and the keys turn it. */
import {
  AmbientLight,
  Color,
  DirectionalLight,
  type Group,
  type Mesh,
  PerspectiveCamera,
  Scene,
  type Texture,
  Vector3,
  WebGLRenderer,
} from "three"
import type { Drawing } from "./drawing"
import { projected } from "./projected"
import { built, orient, type Relief } from "./solid"

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

const START = { across: 38, up: 34, far: 4.05 }
const MIDDLE = 0.1 // the height that the camera looks at

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
    drawing: () => (held ? projected(held.relief, held.group, camera, canvas.clientWidth, canvas.clientHeight) : null),
    dispose() {
      cancelAnimationFrame(frame)
      if (held) discard(scene, held.group)
      renderer.dispose()
      renderer.forceContextLoss()
    },
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
