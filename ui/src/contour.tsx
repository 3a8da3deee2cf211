/** A plane with the runs on it, read by pointer and keys. */
import type { ComponentChildren, JSX } from "preact"
import { useMemo, useState } from "preact/hooks"
import { known } from "./contours"
import { counted } from "./format"
import { boxOf, type PlaneStyle, planeDrawing, reading, smooth } from "./planes"
import { told } from "./trails"
import type { Levels } from "./levels"
import { type Theme, useTheme } from "./palette"
import { Touched } from "./touched"
import type { Num, Path, PathPoint, Plane } from "./types"

export interface ContourProps {
  plane: Plane
  values: Num[]
  levels: Levels
  entrants: string[]
  name: string
  of: string // what the values are of: "300 training rows"
  paths?: boolean
  bar?: boolean
  tone?: (level: number) => string
  measured?: string
  quiet?: boolean // how it is read is said elsewhere
  caption?: ComponentChildren
}

type Chosen = { path: number; point: number }

export function Contour(props: ContourProps): JSX.Element {
  const { plane, values, levels } = props
  const colours = useTheme()
  const paths = useMemo(
    () => (props.paths === false ? [] : plane.paths.map(seen).filter((path) => path.points.length > 0)),
    [plane, props.paths],
  )
  const [chosen, choose] = useState<Chosen | null>(null)
  const [under, setUnder] = useState<{ x: number; y: number; said: string } | null>(null)
  const grid = useMemo(() => smooth(plane, values, levels), [plane, values, levels])
  const measured = props.measured ?? "loss"
  const bar = props.bar ?? true
  const names = useMemo(() => withPaths(props.entrants, plane), [props.entrants, plane])
  const style = (theme: Theme): PlaneStyle => ({
    levels,
    entrants: names,
    theme,
    bar,
    paths: paths.length > 0,
    tone: props.tone,
    measured,
  })

  const point = (x: number, y: number, width: number): void => {
    const box = boxOf(plane, width, bar)
    let best: (Chosen & { far: number }) | null = null
    paths.forEach((path, p) =>
      path.points.forEach((one, k) => {
        const far = Math.hypot(box.x(one.at[0]) - x, box.y(one.at[1]) - y)
        if (far < 14 && (!best || far < best.far)) best = { path: p, point: k, far }
      }),
    )
    choose(best)
    const said = reading(grid, box, x, y, measured)
    setUnder(said === null ? null : { x, y, said })
  }
  const key = (event: KeyboardEvent): boolean => {
    if (event.key === "Escape") {
      choose(null)
      return chosen !== null
    }
    const next = paths.length > 0 ? stepped(paths, chosen, event.key) : null
    if (next) choose(next)
    return next !== null
  }
  const current = chosen ? paths[chosen.path]?.points[chosen.point] : undefined
  const ring = (width: number): [number, number] | null => {
    if (!current) return under && [under.x, under.y]
    const box = boxOf(plane, width, bar)
    const [x, y] = [box.x(current.at[0]), box.y(current.at[1])]
    const inside = x >= box.left && x <= box.left + box.width && y >= box.top && y <= box.top + box.height
    return inside ? [x, y] : null
  }
  const there = values.filter(known)
  const n = paths.reduce((sum, path) => sum + path.points.length, 0)
  return (
    <Touched
      draw={(width, theme) => planeDrawing({ ...plane, paths }, values, width, style(theme))}
      keys={[plane, values, levels, names, props.tone, paths, bar, colours]}
      name={props.name}
      label={
        `${plane.title}, ${measured} over ${props.of}: n = ${there.length} values in ` +
        `${levels.values.length + 1} bands, ${counted(paths.length, "path")}.`
      }
      hint={props.quiet ? "" : n > 0 ? "Point at the surface; arrow keys go along the paths." : "Point at the surface."}
      ring={ring}
      said={current ? told(paths[chosen!.path], current) : (under?.said ?? null)}
      onPoint={point}
      onKey={key}
      caption={props.caption}
      onLeave={() => {
        setUnder(null)
        choose(null)
      }}
      data={{
        n: there.length,
        levels: levels.values.length,
        paths: paths.length,
        points: n,
        kind: plane.kind,
        missing: values.length - there.length,
        min: there.length ? Math.min(...there) : null,
        max: there.length ? Math.max(...there) : null,
      }}
    />
  )
}

/** The entrants, then the paths that are none, so that each has a look of its own. */
export function withPaths(entrants: string[], plane: Plane): string[] {
  return [...entrants, ...plane.paths.map((path) => path.run).filter((run) => run !== "" && !entrants.includes(run))]
}

/** A path without what cannot be drawn at its start; what comes later is drawn as its end. */
function seen(path: Path): Path {
  const first = path.points.findIndex((point) => point.at.every(known))
  return { ...path, points: first < 0 ? [] : path.points.slice(first) }
}

/** Left and right go along a path, up and down to the next one. */
function stepped(paths: Path[], chosen: Chosen | null, key: string): Chosen | null {
  if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key)) return null
  if (!chosen) return { path: 0, point: key === "ArrowLeft" || key === "End" ? drawn(paths[0]).length - 1 : 0 }
  const { path, point } = chosen
  const last = drawn(paths[path]).length - 1
  if (key === "ArrowLeft") return { path, point: Math.max(point - 1, 0) }
  if (key === "ArrowRight") return { path, point: Math.min(point + 1, last) }
  if (key === "Home") return { path, point: 0 }
  if (key === "End") return { path, point: last }
  const other = (path + (key === "ArrowDown" ? 1 : -1) + paths.length) % paths.length
  return { path: other, point: Math.min(point, drawn(paths[other]).length - 1) }
}

function drawn(path: Path): PathPoint[] {
  return path.points.filter((point) => point.at.every(known))
}
