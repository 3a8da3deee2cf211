/** A display list: the one description from which the canvas, the SVG, the PNG and the table are made. */

export type Shape =
  | {
      kind: "line"
      points: [number, number][]
      colour: string
      width: number
      dash?: number[]
      opacity?: number
      label?: string
    }
  | { kind: "area"; points: [number, number][]; colour: string; opacity: number }
  | { kind: "rect"; x: number; y: number; w: number; h: number; fill: string; opacity?: number }
  | { kind: "circle"; x: number; y: number; r: number; fill: string; stroke?: string }
  | {
      kind: "text"
      x: number
      y: number
      text: string
      size: number
      colour: string
      anchor: "start" | "middle" | "end"
      turn?: number
      bold?: boolean
    }
  | { kind: "clip"; x: number; y: number; w: number; h: number; shapes: Shape[] }

/** In CSS pixels; the table is what the CSV holds. A point of a line that is not finite breaks the line. */
export interface Drawing {
  width: number
  height: number
  background: string
  title: string
  shapes: Shape[]
  table: { columns: string[]; rows: (string | number | null)[][] }
}

export const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif'

/** Paints a drawing on a canvas whose units are CSS pixels times `scale`. */
export function paint(drawing: Drawing, context: CanvasRenderingContext2D, scale = 1): void {
  context.save()
  context.setTransform(scale, 0, 0, scale, 0, 0)
  context.fillStyle = drawing.background
  context.fillRect(0, 0, drawing.width, drawing.height)
  paintShapes(drawing.shapes, context)
  context.restore()
}

/** Paints shapes in the units that the context has. */
export function paintShapes(shapes: Shape[], context: CanvasRenderingContext2D): void {
  for (const shape of shapes) {
    context.globalAlpha = "opacity" in shape && shape.opacity !== undefined ? shape.opacity : 1
    switch (shape.kind) {
      case "line":
        context.strokeStyle = shape.colour
        context.lineWidth = shape.width
        context.lineJoin = "round"
        context.setLineDash(shape.dash ?? [])
        context.beginPath()
        trail(shape.points, context)
        context.stroke()
        break
      case "area":
        context.fillStyle = shape.colour
        context.beginPath()
        trail(shape.points, context)
        context.fill()
        break
      case "rect":
        context.fillStyle = shape.fill
        context.fillRect(shape.x, shape.y, shape.w, shape.h)
        break
      case "circle":
        context.beginPath()
        context.arc(shape.x, shape.y, shape.r, 0, 2 * Math.PI)
        context.fillStyle = shape.fill
        if (shape.fill !== "none") context.fill()
        if (shape.stroke) {
          context.strokeStyle = shape.stroke
          context.lineWidth = 1.5
          context.setLineDash([])
          context.stroke()
        }
        break
      case "text":
        context.save()
        context.translate(shape.x, shape.y)
        context.rotate(((shape.turn ?? 0) * Math.PI) / 180)
        context.fillStyle = shape.colour
        context.font = `${shape.bold ? "600 " : ""}${shape.size}px ${FONT}`
        context.textAlign = shape.anchor === "middle" ? "center" : shape.anchor
        context.textBaseline = "alphabetic"
        context.fillText(shape.text, 0, 0)
        context.restore()
        break
      case "clip":
        context.save()
        context.beginPath()
        context.rect(shape.x, shape.y, shape.w, shape.h)
        context.clip()
        paintShapes(shape.shapes, context)
        context.restore()
    }
  }
  context.globalAlpha = 1
}

function trail(points: [number, number][], context: CanvasRenderingContext2D): void {
  let down = false
  for (const [x, y] of points) {
    const there = Number.isFinite(x) && Number.isFinite(y)
    if (there && down) context.lineTo(x, y)
    else if (there) context.moveTo(x, y)
    down = there
  }
}

/** The drawing as one SVG document. */
export function svg(drawing: Drawing): string {
  const { width, height } = drawing
  const clips = { count: 0 }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`,
    ` font-family="${escape(FONT)}" role="img"><title>${escape(drawing.title)}</title>`,
    `<rect width="${width}" height="${height}" fill="${escape(drawing.background)}"/>`,
    ...drawing.shapes.map((shape) => element(shape, clips)),
    "</svg>\n",
  ].join("")
}

function element(shape: Shape, clips: { count: number }): string {
  const opacity = "opacity" in shape && shape.opacity !== undefined ? ` opacity="${shape.opacity}"` : ""
  switch (shape.kind) {
    case "line": {
      const dashes = shape.dash?.length ? ` stroke-dasharray="${shape.dash.join(" ")}"` : ""
      const label = shape.label ? `<title>${escape(shape.label)}</title>` : ""
      const pen = `stroke="${escape(shape.colour)}" stroke-width="${shape.width}" stroke-linejoin="round"${dashes}${opacity}`
      return `<path d="${steps(shape.points)}" fill="none" ${pen}>${label}</path>`
    }
    case "area":
      return `<path d="${steps(shape.points)}Z" fill="${escape(shape.colour)}"${opacity}/>`
    case "rect":
      return (
        `<rect x="${fixed(shape.x)}" y="${fixed(shape.y)}" width="${fixed(shape.w)}" height="${fixed(shape.h)}"` +
        ` fill="${escape(shape.fill)}"${opacity}/>`
      )
    case "circle": {
      const ring = shape.stroke ? ` stroke="${escape(shape.stroke)}" stroke-width="1.5"` : ""
      return `<circle cx="${fixed(shape.x)}" cy="${fixed(shape.y)}" r="${shape.r}" fill="${escape(shape.fill)}"${ring}/>`
    }
    case "text": {
      const turn = shape.turn ? ` transform="rotate(${shape.turn} ${fixed(shape.x)} ${fixed(shape.y)})"` : ""
      const bold = shape.bold ? ` font-weight="600"` : ""
      return (
        `<text x="${fixed(shape.x)}" y="${fixed(shape.y)}" font-size="${shape.size}" text-anchor="${shape.anchor}"` +
        `${bold} fill="${escape(shape.colour)}"${turn}>${escape(shape.text)}</text>`
      )
    }
    case "clip": {
      const name = `clip${(clips.count += 1)}`
      const box = `x="${fixed(shape.x)}" y="${fixed(shape.y)}" width="${fixed(shape.w)}" height="${fixed(shape.h)}"`
      const inner = shape.shapes.map((one) => element(one, clips)).join("")
      return `<clipPath id="${name}"><rect ${box}/></clipPath><g clip-path="url(#${name})">${inner}</g>`
    }
  }
}

function steps(points: [number, number][]): string {
  let text = ""
  let down = false
  for (const [x, y] of points) {
    const there = Number.isFinite(x) && Number.isFinite(y)
    if (there) text += `${down ? "L" : "M"}${fixed(x)} ${fixed(y)}`
    down = there
  }
  return text
}

function fixed(value: number): string {
  return String(Math.round(value * 100) / 100)
}

function escape(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;")
}

/** The drawing's table as CSV (RFC 4180). */
export function csv(drawing: Drawing): string {
  const cell = (value: string | number | null): string => {
    const plain = value === null ? "" : String(value)
    // What begins like a formula would be one in a spreadsheet.
    const text = typeof value === "string" && /^[=+\-@\t]/.test(value) ? `'${plain}` : plain
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
  return [drawing.table.columns, ...drawing.table.rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("")
}
