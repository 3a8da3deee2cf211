/** The place of a surface in space: loads three.js when it is wanted, and says so where the browser cannot draw it. */
import type { ComponentChildren, JSX } from "preact"
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks"
import { Export } from "./export"
import { useWidth } from "./figure"
import type { Relief } from "./solid"
import type { Mounted } from "./surface"

export interface SurfaceProps {
  relief: Relief
  label: string
  name: string
  caption?: ComponentChildren
  data?: Record<string, string | number>
}

const TURN = 6 // degrees a key press
const NEARER = 0.88

export function Surface(props: SurfaceProps): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>()
  const canvas = useRef<HTMLCanvasElement>(null)
  const [mounted, hold] = useState<Mounted | null>(null)
  const [trouble, say] = useState<string | null>(null)
  const [triangles, count] = useState(0)
  const height = Math.round(Math.min(Math.max(width * 0.66, 260), 560))

  useEffect(() => {
    let made: Mounted | null = null
    let wanted = true
    const lost = (): void => say("The browser took the 3-D drawing away; choose the contours, or this view again.")
    canvas.current?.addEventListener("webglcontextlost", lost)
    import("./surface").then(
      ({ mount }) => {
        if (!wanted || !canvas.current) return
        try {
          made = mount(canvas.current)
          hold(made)
        } catch {
          say("This browser has no WebGL, so the surface is not drawn in space. The contours show the same numbers.")
        }
      },
      () => say("The part of the page that draws in space could not be loaded. The contours show the same numbers."),
    )
    return () => {
      wanted = false
      canvas.current?.removeEventListener("webglcontextlost", lost)
      made?.dispose()
    }
  }, [])
  useLayoutEffect(() => {
    if (mounted && width > 0) mounted.resize(width, height)
  }, [mounted, width, height])
  useEffect(() => {
    if (mounted) count(mounted.show(props.relief))
  }, [mounted, props.relief])

  const dragged = useRef<[number, number] | null>(null)
  const moved = (event: PointerEvent): void => {
    if (!dragged.current) return
    const [x, y] = dragged.current
    mounted?.turn((x - event.clientX) * 0.4, (event.clientY - y) * 0.3)
    dragged.current = [event.clientX, event.clientY]
  }
  const pressed = (event: KeyboardEvent): void => {
    const turns = (
      { ArrowLeft: [-TURN, 0], ArrowRight: [TURN, 0], ArrowUp: [0, TURN], ArrowDown: [0, -TURN] } as Record<
        string,
        [number, number]
      >
    )[event.key]
    if (!mounted || event.ctrlKey || event.metaKey || event.altKey) return
    if (turns) mounted.turn(...turns)
    else if (event.key === "+" || event.key === "=") mounted.zoom(NEARER)
    else if (event.key === "-") mounted.zoom(1 / NEARER)
    else if (event.key === "0") mounted.home()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  const mirror = Object.fromEntries(Object.entries(props.data ?? {}).map(([key, value]) => [`data-${key}`, value]))
  return (
    <figure
      class="chart"
      data-chart={props.name}
      data-drawn={triangles}
      data-webgl={trouble ? "no" : mounted ? "yes" : ""}
      {...mirror}
    >
      <div class="panel" ref={box}>
        {trouble && (
          <p class="nothing" role="status">
            {trouble}
          </p>
        )}
        <canvas
          ref={canvas}
          class="relief"
          hidden={trouble !== null}
          tabIndex={0}
          role="application"
          aria-label={`${props.label} Arrow keys turn it, plus and minus zoom, 0 turns it back.`}
          style={{ width: "100%", height: `${height}px` }}
          onPointerDown={(event) => {
            dragged.current = [event.clientX, event.clientY]
            canvas.current?.setPointerCapture(event.pointerId)
          }}
          onPointerMove={moved}
          onPointerUp={() => (dragged.current = null)}
          onPointerCancel={() => (dragged.current = null)}
          onKeyDown={pressed}
        />
      </div>
      {!trouble && (
        <div class="relief-keys">
          <button type="button" aria-label="Turn left" onClick={() => mounted?.turn(-15, 0)}>
            ↶
          </button>
          <button type="button" aria-label="Turn right" onClick={() => mounted?.turn(15, 0)}>
            ↷
          </button>
          <button type="button" aria-label="Nearer" onClick={() => mounted?.zoom(NEARER)}>
            +
          </button>
          <button type="button" aria-label="Farther" onClick={() => mounted?.zoom(1 / NEARER)}>
            −
          </button>
          <button type="button" onClick={() => mounted?.home()}>
            Reset
          </button>
          <span class="soft">Drag to turn.</span>
        </div>
      )}
      <figcaption>
        <span>{props.caption}</span>
        <Export drawing={() => mounted?.drawing() ?? null} name={props.name} />
      </figcaption>
    </figure>
  )
}
