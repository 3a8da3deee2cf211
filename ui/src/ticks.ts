/** The ticks of a map's two axes as a display list. */
import type { Shape } from "./drawing"
import { tick } from "./format"
import type { Theme } from "./palette"

const LONG = 4 // pixels of a tick
const SIZE = 11 // of text

/** Where the map's lower left corner is, and where values stand on the drawing. */
export interface Corner {
  left: number
  bottom: number
  x: (value: number) => number
  y: (value: number) => number
}

/** Ticks with their numbers, below the map and left of it. */
export function ticked(across: number[], up: number[], { left, bottom, x, y }: Corner, theme: Theme): Shape[] {
  const text = { kind: "text", size: SIZE, colour: theme.soft } as const
  const line = (points: [number, number][]): Shape => ({ kind: "line", points, colour: theme.line, width: 1 })
  const below = across.flatMap((value): Shape[] => [
    line([
      [x(value), bottom],
      [x(value), bottom + LONG],
    ]),
    { ...text, x: x(value), y: bottom + 16, text: tick(value), anchor: "middle" },
  ])
  const beside = up.flatMap((value): Shape[] => [
    line([
      [left - LONG, y(value)],
      [left, y(value)],
    ]),
    { ...text, x: left - 7, y: y(value) + 4, text: tick(value), anchor: "end" },
  ])
  return [...below, ...beside]
}
