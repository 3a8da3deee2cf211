/** The menu that saves a chart as it is drawn. */
import type { JSX } from "preact"
import { useRef } from "preact/hooks"
import { csv, type Drawing, paint, svg } from "./drawing"

const FORMATS = ["SVG", "PNG", "CSV"] as const
const DENSITY = 2 // pixels of the PNG for one of the screen

/** Saves what `drawing` draws as a file called `name`. */
export function Export(props: { drawing: () => Drawing | null; name: string }): JSX.Element {
  const menu = useRef<HTMLDetailsElement>(null)
  const close = (): void => {
    if (menu.current) menu.current.open = false
  }
  const left = (event: FocusEvent): void => {
    if (!menu.current?.contains(event.relatedTarget as Node | null)) close()
  }
  const choose = (format: (typeof FORMATS)[number]): void => {
    const drawing = props.drawing()
    if (drawing) save(drawing, format, props.name)
    close()
    menu.current?.querySelector("summary")?.focus()
  }
  const key = (event: KeyboardEvent): void => {
    if (event.key !== "Escape" || !menu.current?.open) return
    event.stopPropagation()
    close()
    menu.current.querySelector("summary")?.focus()
  }
  return (
    <details class="export" ref={menu} onFocusOut={left} onKeyDown={key}>
      <summary aria-label={`Save the chart ${props.name}`}>Save</summary>
      <div class="menu">
        {FORMATS.map((format) => (
          <button key={format} type="button" onClick={() => choose(format)} data-format={format.toLowerCase()}>
            {format}
          </button>
        ))}
      </div>
    </details>
  )
}

function save(drawing: Drawing, format: (typeof FORMATS)[number], name: string): void {
  if (format === "SVG") return download(new Blob([svg(drawing)], { type: "image/svg+xml" }), `${name}.svg`)
  if (format === "CSV") return download(new Blob([csv(drawing)], { type: "text/csv" }), `${name}.csv`)
  const canvas = document.createElement("canvas")
  canvas.width = Math.round(drawing.width * DENSITY)
  canvas.height = Math.round(drawing.height * DENSITY)
  paint(drawing, canvas.getContext("2d")!, DENSITY)
  canvas.toBlob((blob) => blob && download(blob, `${name}.png`))
}

function download(blob: Blob, name: string): void {
  const link = document.createElement("a")
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
