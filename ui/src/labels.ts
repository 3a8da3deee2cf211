/** Where the labels of contour lines stand. */
import type { Line, Point } from "./contours"
import type { Box } from "./planes"

/** A text on a line: where its middle is, and its turn in degrees. */
export interface Label {
  x: number
  y: number
  text: string
  turn: number
}

/** Where the line runs most nearly level, away from the border and from other labels. */
export function labelled(
  found: Line[],
  text: string,
  box: Box,
  others: readonly Label[],
  taken: readonly Point[],
): Label | null {
  const half = textWidth(text, 10) / 2 + 4
  let best: (Label & { cost: number }) | null = null
  for (const { points } of found) {
    const reach = points.reduce(
      (sum, p, i) => (i ? sum + Math.hypot(p[0] - points[i - 1][0], p[1] - points[i - 1][1]) : 0),
      0,
    )
    if (reach < 5 * half) continue
    for (let i = 2; i + 2 < points.length; i += 2) {
      const [x, y] = points[i]
      const border = Math.min(x - box.left, box.left + box.width - x, y - box.top, box.top + box.height - y)
      const apartBy = Math.min(Infinity, ...others.map((other) => Math.hypot(other.x - x, other.y - y)))
      if (border < half + 2 || apartBy < 2.2 * half || taken.some(([p, q]) => Math.hypot(p - x, q - y) < half + 6))
        continue
      const [dx, dy] = [points[i + 2][0] - points[i - 2][0], points[i + 2][1] - points[i - 2][1]]
      const turn = (Math.atan2(dx < 0 ? -dy : dy, Math.abs(dx)) * 180) / Math.PI
      const cost = Math.abs(turn) / 45 + Math.max(0, 60 - apartBy) / 30 - Math.min(reach, 300) / 300
      if (!best || cost < best.cost) best = { x, y, text, turn: Math.round(turn), cost }
    }
  }
  if (!best) return null
  const tilt = (best.turn * Math.PI) / 180
  return { x: best.x - 3.5 * Math.sin(tilt), y: best.y + 3.5 * Math.cos(tilt), text, turn: best.turn }
}

/** Whether a point of the line is clear of its label. */
export function apart([x, y]: Point, label: Label): boolean {
  return Math.hypot(x - label.x, y - label.y) > textWidth(label.text, 10) / 2 + 4
}

/** About how wide a text is, in pixels. */
export function textWidth(text: string, size: number): number {
  return text.length * size * 0.56
}
