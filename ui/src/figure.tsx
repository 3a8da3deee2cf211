/** A chart from a display list, as wide as its place. */
import type { ComponentChildren, JSX } from "preact"
import { useLayoutEffect, useRef, useState } from "preact/hooks"
import { type Drawing, paint } from "./drawing"
import { Export } from "./export"
import { type Theme, useTheme } from "./palette"

/** The width of an element in CSS pixels, followed. */
export function useWidth<T extends HTMLElement>(): [{ current: T | null }, number] {
  const box = useRef<T>(null)
  const [width, set] = useState(0)
  useLayoutEffect(() => {
    if (!box.current) return
    set(Math.floor(box.current.clientWidth))
    const watch = new ResizeObserver(([entry]) => set(Math.floor(entry.contentRect.width)))
    watch.observe(box.current)
    return () => watch.disconnect()
  }, [])
  return [box, width]
}

/** A canvas that shows a drawing, sharp on every screen. */
export function Painted(props: { drawing: Drawing; label?: string; class?: string }): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null)
  useLayoutEffect(() => {
    const element = canvas.current!
    const scale = devicePixelRatio || 1
    element.width = Math.round(props.drawing.width * scale)
    element.height = Math.round(props.drawing.height * scale)
    element.style.width = `${props.drawing.width}px`
    element.style.height = `${props.drawing.height}px`
    paint(props.drawing, element.getContext("2d")!, scale)
  }, [props.drawing])
  return <canvas ref={canvas} class={props.class} role="img" aria-label={props.label ?? props.drawing.title} />
}

export interface FigureProps {
  draw: (width: number, theme: Theme) => Drawing
  label: string // what is drawn and n, for who does not see it
  name: string // of the files that are saved
  caption?: ComponentChildren
  data?: Record<string, string | number | null> // the mirror from which tests read: {n: 3} becomes data-n="3"
}

/** A drawing with its caption and the menu that saves it. */
export function Figure(props: FigureProps): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>()
  const colours = useTheme()
  const drawing = width > 0 ? props.draw(width, colours) : null
  const mirror = Object.fromEntries(
    Object.entries(props.data ?? {}).map(([key, value]) => [`data-${key}`, value ?? ""]),
  )
  return (
    <figure class="chart" data-chart={props.name} {...mirror}>
      <div class="panel" ref={box}>
        {drawing && <Painted drawing={drawing} label={props.label} />}
      </div>
      <figcaption>
        <span>{props.caption}</span>
        <Export drawing={() => drawing} name={props.name} />
      </figcaption>
    </figure>
  )
}
