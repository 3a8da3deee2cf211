/** The map: click, drag or steer with the arrow keys to set the start; the paths grow with the step. */
import type { JSX } from "preact"
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks"
import { paintShapes } from "../drawing"
import { Export } from "../export"
import { useWidth } from "../figure"
import { useTheme } from "../palette"
import type { SurfaceView } from "../types"
import { actors, drawing, frame, ground, said, ticks } from "./scene"
import type { Track } from "./tracks"

export interface MapProps {
  surface: SurfaceView
  tracks: Track[]
  at: number
  start: [number, number]
  bright: number | null
  fixed: boolean // whether the start cannot be moved
  onStart: (start: [number, number], moving: boolean) => void
  onPlay: () => void
}

const STRIDE = 0.02 // of the width, for an arrow key

export function Arena(props: MapProps): JSX.Element {
  const { surface, tracks: all, at, start } = props
  const [box, width] = useWidth<HTMLDivElement>()
  const theme = useTheme()
  const canvas = useRef<HTMLCanvasElement>(null)
  const [aim, setAim] = useState<[number, number] | null>(null)
  const held = useRef(false)
  const layout = useMemo(() => (width > 0 ? frame(surface, width) : null), [surface, width])
  const scale = devicePixelRatio || 1

  const under = useMemo(() => {
    if (!layout) return null
    const sheet = document.createElement("canvas")
    sheet.width = Math.round(layout.width * scale)
    sheet.height = Math.round(layout.height * scale)
    const context = sheet.getContext("2d")!
    context.setTransform(scale, 0, 0, scale, 0, 0)
    paintShapes(ground(surface, layout, theme), context)
    return sheet
  }, [surface, layout, theme, scale])

  const shown = { at, start, aim, bright: props.bright }
  useLayoutEffect(() => {
    const context = canvas.current?.getContext("2d")
    if (!context || !layout || !under || !canvas.current) return
    if (canvas.current.width !== under.width || canvas.current.height !== under.height) {
      canvas.current.width = under.width
      canvas.current.height = under.height
      canvas.current.style.width = `${layout.width}px`
      canvas.current.style.height = `${layout.height}px`
    }
    context.setTransform(1, 0, 0, 1, 0, 0)
    context.clearRect(0, 0, under.width, under.height)
    context.drawImage(under, 0, 0)
    context.setTransform(scale, 0, 0, scale, 0, 0)
    paintShapes(ticks(surface, layout, theme, at), context)
    paintShapes(actors(surface, layout, theme, all, shown), context)
    context.globalAlpha = 1
  }, [surface, layout, under, theme, all, at, start, aim, props.bright])

  const inside = (event: PointerEvent): [number, number] | null => {
    if (!layout || !canvas.current) return null
    const place = canvas.current.getBoundingClientRect()
    const [px, py] = [event.clientX - place.left, event.clientY - place.top]
    if (px < layout.left || px > layout.left + layout.w || py < layout.top || py > layout.top + layout.h) return null
    return [layout.backX(px), layout.backY(py)].map((value) => Number(value.toPrecision(3))) as [number, number]
  }
  const pressed = (event: PointerEvent): void => {
    const place = event.button === 0 ? inside(event) : null
    if (!place || props.fixed) return
    held.current = true
    setAim(null)
    canvas.current?.setPointerCapture(event.pointerId)
    props.onStart(place, true)
  }
  const moved = (event: PointerEvent): void => {
    const place = held.current ? inside(event) : null
    if (place) props.onStart(place, true)
  }
  const released = (event: PointerEvent): void => {
    if (!held.current) return
    held.current = false
    props.onStart(inside(event) ?? start, false)
  }
  const key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const by = (
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] } as Record<string, number[]>
    )[event.key]
    if (by && !props.fixed) {
      const [[low, high], [bottom, up]] = surface.bounds
      const stride = STRIDE * (event.shiftKey ? 0.25 : 1)
      const [x, y] = aim ?? start
      const next = [x + by[0] * stride * (high - low), y + by[1] * stride * (up - bottom)].map((value) =>
        Number(value.toPrecision(6)),
      )
      setAim([Math.min(Math.max(next[0], low), high), Math.min(Math.max(next[1], bottom), up)])
    } else if (event.key === "Enter" && aim) {
      setAim(null)
      props.onStart(aim.map((value) => Number(value.toPrecision(3))) as [number, number], false)
    } else if (event.key === "Escape" && aim) setAim(null)
    else if (event.key === " ") props.onPlay()
    else return
    event.preventDefault()
    event.stopPropagation()
  }
  const hint = props.fixed
    ? "A finished race."
    : surface.drift
      ? `Start at ${said(start)}. You travel with the target: it stands still here, and the ground moves.`
      : `Start at ${said(start)}: click or drag to move it, or the arrow keys and Enter.`
  const label = `${surface.name}, ${surface.formula}: contour map with the paths of n = ${all.length} racers from ${said(start)}`
  const arrived = all.filter((track) => track.status === "reached").length
  return (
    <figure
      class="chart arena"
      data-chart="playground-map"
      data-surface={surface.id}
      data-n={all.length}
      data-at={at}
      data-start={start.join(",")}
      data-points={all.reduce((sum, track) => sum + track.x.length, 0)}
      data-arrived={arrived}
      data-diverged={all.filter((track) => track.status === "diverged").length}
      data-aim={aim?.join(",") ?? ""}
    >
      <div
        class="arena-panel"
        ref={box}
        tabIndex={0}
        role="application"
        aria-label={`${label}. ${hint} Space plays.`}
        onPointerDown={pressed}
        onPointerMove={moved}
        onPointerUp={released}
        onPointerCancel={released}
        onKeyDown={key}
      >
        <canvas ref={canvas} role="img" aria-label={label} class={props.fixed ? "" : "settable"} />
      </div>
      <figcaption>
        <span aria-live="polite">
          {aim ? `Enter starts from ${said(aim)}.` : hint} n = {all.length} racers.
        </span>
        <Export
          drawing={() => (width > 0 ? drawing(surface, Math.max(width, 480), theme, all, shown) : null)}
          name={`playground-${surface.id.replace(/[^\w-]+/g, "-")}`}
        />
      </figcaption>
    </figure>
  )
}
