/** What the picture of a plane holds and what it does not. */
import type { JSX } from "preact"
import { withPaths } from "./contour"
import { known } from "./contours"
import { number, percent } from "./format"
import type { Levels } from "./levels"
import { look } from "./palette"
import { Swatch } from "./swatch"
import { farOff } from "./trails"
import type { Plane } from "./types"

/** What levels are even in. */
export const SPACINGS = {
  log: "the loss's logarithm",
  rise: "the logarithm of the height above the lowest",
  linear: "the loss",
}

function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0)
}

/** What stands among the facts already. */
function told(word: string): boolean {
  return /^\d+ of \d+ points evaluated\.$/.test(word)
}

export function Facts({ plane, levels, entrants }: { plane: Plane; levels: Levels; entrants: string[] }): JSX.Element {
  const runs = plane.paths.filter((path) => path.run !== "")
  const total = plane.x.length * plane.y.length
  const off = plane.paths.flatMap((path) => path.points.map((point) => point.off))
  const far = farOff(plane)
  const hollow = runs.some((path) => path.points.slice(1, -1).some((point) => point.off > far))
  const ended = runs.filter(
    (path) => path.points.some((point) => !point.at.every(known)) || path.points.at(-1)?.loss === null,
  )
  return (
    <aside class="about">
      <h3>{plane.title}</h3>
      {runs.length > 0 && (
        <ul class="keys-of-paths">
          {runs.map((path) => (
            <li key={path.run}>
              <Swatch {...look(path.run, withPaths(entrants, plane))} />
              {path.run}
            </li>
          ))}
        </ul>
      )}
      {runs.length > 0 && (
        <p class="soft">
          ○ start, ● end{ended.length > 0 ? ", ✕ diverged there" : ""}; an arrow: it goes on outside.
          {hollow && ` White points are more than ${number(far)} off the plane, a tenth of its diagonal.`}
        </p>
      )}
      <dl>
        {plane.explained && (
          <>
            <dt>Variance of the paths explained</dt>
            <dd data-explained={sum(plane.explained)}>
              {plane.explained.map((part) => percent(part, 0)).join(" + ")} = {percent(sum(plane.explained), 0)}
            </dd>
          </>
        )}
        {off.length > 0 && Math.max(...off) > 1e-6 && (
          <>
            <dt>Distance of the points from the plane</dt>
            <dd data-off={Math.max(...off)}>
              {number(sum(off) / off.length)} on average, at most {number(Math.max(...off))}
            </dd>
          </>
        )}
        <dt>Measured</dt>
        <dd>
          {plane.evaluated} of {total} points
          {plane.evaluated < total && plane.complete ? `; the rest is interpolated within ${percent(plane.error)}` : ""}
          {plane.complete ? "" : "; not finished"}
        </dd>
        <dt>Levels</dt>
        <dd>
          evenly in {SPACINGS[levels.spacing]}, {number(levels.low)} to {number(levels.high)}
        </dd>
      </dl>
      {plane.words
        .filter((word) => !told(word))
        .map((word) => (
          <p key={word} class="soft">
            {word}
          </p>
        ))}
    </aside>
  )
}
