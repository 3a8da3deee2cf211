/** A figure that is read by pointer, finger and arrow keys: a ring marks the place, a line below says what is there. */
import type { JSX } from "preact"
import { useMemo } from "preact/hooks"
import { Export } from "./export"
import { type FigureProps, Painted, useWidth } from "./figure"
import { useTheme } from "./palette"
import "./surfaces.css"

export interface TouchProps extends FigureProps {
  keys: unknown[] // the drawing is made again when one of them changes
  ring: (width: number) => [number, number] | null
  said: string | null
  hint: string // what the pointer and the keys do, said while there is nothing else to say
  onPoint: (x: number, y: number, width: number) => void
  onLeave: () => void
  onKey: (event: KeyboardEvent) => boolean // whether the key was meant for it
}

export function Touched(props: TouchProps): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>()
  const theme = useTheme()
  const drawing = useMemo(() => (width > 0 ? props.draw(width, theme) : null), [width, theme, ...props.keys])
  const mirror = Object.fromEntries(
    Object.entries(props.data ?? {}).map(([key, value]) => [`data-${key}`, value ?? ""]),
  )
  const ring = width > 0 ? props.ring(width) : null
  const moved = (event: PointerEvent): void => {
    const place = box.current!.getBoundingClientRect()
    props.onPoint(event.clientX - place.left, event.clientY - place.top, width)
  }
  const pressed = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || !props.onKey(event)) return
    event.preventDefault()
    event.stopPropagation()
  }
  return (
    <figure class="chart" data-chart={props.name} data-drawn={drawing?.shapes.length ?? 0} {...mirror}>
      <div
        class="panel touched"
        ref={box}
        tabIndex={0}
        role="application"
        aria-label={`${props.label} ${props.hint}`}
        onPointerMove={moved}
        onPointerDown={moved}
        onPointerLeave={props.onLeave}
        onKeyDown={pressed}
      >
        {drawing && <Painted drawing={drawing} label={props.label} />}
        {ring && <span class="ring" aria-hidden="true" style={{ left: `${ring[0]}px`, top: `${ring[1]}px` }} />}
      </div>
      <output class="said" aria-live="polite" data-said={props.said ?? ""}>
        {props.said ?? <span class="soft">{props.hint}</span>}
      </output>
      <figcaption>
        <span>{props.caption}</span>
        <Export drawing={() => drawing} name={props.name} />
      </figcaption>
    </figure>
  )
}
