/** The signs on the map: where it starts, where the minimum is, who has left it, and who has no finite place. */
import type { Shape } from "../drawing"
import type { Theme } from "../palette"
import type { Frame } from "./scene"

type Point = [number, number]

export function cross(x: number, y: number, theme: Theme): Shape[] {
  return [4, 2].flatMap((width): Shape[] => [
    {
      kind: "line",
      points: [
        [x - 6, y],
        [x + 6, y],
      ],
      colour: width > 2 ? theme.paper : theme.ink,
      width,
    },
    {
      kind: "line",
      points: [
        [x, y - 6],
        [x, y + 6],
      ],
      colour: width > 2 ? theme.paper : theme.ink,
      width,
    },
  ])
}

export function aim(x: number, y: number, theme: Theme): Shape[] {
  const arms: Point[][] = [
    [
      [x - 18, y],
      [x - 6, y],
    ],
    [
      [x + 6, y],
      [x + 18, y],
    ],
    [
      [x, y - 18],
      [x, y - 6],
    ],
    [
      [x, y + 6],
      [x, y + 18],
    ],
  ]
  return arms.flatMap((points): Shape[] => [
    { kind: "line", points, colour: theme.paper, width: 4 },
    { kind: "line", points, colour: theme.ink, width: 2 },
  ])
}

export function within(x: number, y: number, box: Frame): boolean {
  return x >= box.left && x <= box.left + box.w && y >= box.top && y <= box.top + box.h
}

/** The place on the map nearest to one outside of it. */
export function border(x: number, y: number, box: Frame): Point {
  const rim = 8
  return [
    Math.max(Math.min(x, box.left + box.w - rim), box.left + rim),
    Math.max(Math.min(y, box.top + box.h - rim), box.top + rim),
  ]
}

/** An arrow to a racer outside of the map. */
export function gone(x: number, y: number, colour: string, theme: Theme, box: Frame): Shape[] {
  const [px, py] = border(x, y, box)
  const turn = Math.atan2(y - py, x - px)
  const corner = (by: number, length: number): Point => [
    px + length * Math.cos(turn + by),
    py + length * Math.sin(turn + by),
  ]
  const points: Point[] = [corner(0, 7), corner(2.4, 7), corner(-2.4, 7), corner(0, 7)]
  return [
    { kind: "line", points, colour: theme.paper, width: 4 },
    { kind: "area", points, colour, opacity: 1 },
  ]
}

/** Where a racer that diverged left the map. */
export function lost(x: number, y: number, colour: string, box: Frame): Shape[] {
  const [px, py] = border(x, y, box)
  return [
    {
      kind: "line",
      points: [
        [px - 5, py - 5],
        [px + 5, py + 5],
      ],
      colour,
      width: 3,
    },
    {
      kind: "line",
      points: [
        [px - 5, py + 5],
        [px + 5, py - 5],
      ],
      colour,
      width: 3,
    },
  ]
}
