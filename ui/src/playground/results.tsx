/** How the race went: a table, and the loss against the steps. */
import type { JSX } from "preact"
import { useMemo } from "preact/hooks"
import { type ChartMark, type ChartSeries, LineChart } from "../chart"
import { count, number } from "../format"
import { useTheme } from "../palette"
import { Swatch } from "../swatch"
import type { SurfaceView } from "../types"
import type { Track } from "./tracks"

const ORDER = { reached: 0, finished: 1, diverged: 2 }

export function Standings(props: {
  tracks: Track[]
  goal: string | null
  bright: (row: number | null) => void
}): JSX.Element {
  const lastOf = (track: Track): number | null => track.loss[track.loss.length - 1] ?? null
  const sorted = [...props.tracks].sort(
    (a, b) =>
      ORDER[a.status] - ORDER[b.status] ||
      (a.status === "reached" ? a.end - b.end : (lastOf(a) ?? Infinity) - (lastOf(b) ?? Infinity)),
  )
  return (
    <section class="standings" aria-label="Standings">
      <h3>Standings</h3>
      <p class="soft">
        {props.goal
          ? `A racer has arrived when ${props.goal.startsWith("within") ? "it is " : ""}${props.goal}.`
          : "There is no goal: all run to the end."}
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of the standings">
        <table>
          <thead>
            <tr>
              <th scope="col">racer</th>
              <th scope="col">steps to the goal</th>
              <th scope="col">last loss</th>
              <th scope="col">end</th>
              <th scope="col">how it ended</th>
            </tr>
          </thead>
          <tbody>
            {sorted.map((track) => {
              const last = track.x.length - 1
              return (
                <tr
                  key={track.row}
                  data-standing={track.name}
                  data-status={track.status}
                  data-steps={track.end}
                  data-loss={lastOf(track) ?? ""}
                  onPointerEnter={() => props.bright(track.row)}
                  onPointerLeave={() => props.bright(null)}
                >
                  <th scope="row">
                    <Swatch colour={track.colour} dash={track.dash} /> {track.name}
                  </th>
                  <td class="number">{track.status === "reached" ? count(track.end) : "–"}</td>
                  <td class="number">{number(lastOf(track))}</td>
                  <td class="number">
                    {track.status === "diverged" ? "–" : `${number(track.x[last])}, ${number(track.y[last])}`}
                  </td>
                  <td class={track.status} title={track.message}>
                    {ended(track, props.goal)}
                  </td>
                </tr>
              )
            })}
          </tbody>
        </table>
      </div>
    </section>
  )
}

function ended(track: Track, goal: string | null): string {
  if (track.status === "diverged") return `diverged at step ${count(track.end)}`
  if (track.status === "reached") return "arrived"
  return track.message.includes("higher") ? "climbed" : goal ? "not there" : "ran to the end"
}

const MOST = 700 // points of a line: a pixel each

/** Every point, or the least and greatest of each pixel's. */
function thinned(track: Track): { x: number[]; y: (number | null)[] } {
  const n = track.steps.length
  if (n <= 2 * MOST) return { x: track.steps, y: track.loss }
  const kept = new Set([0, n - 1])
  const width = n / MOST
  for (let k = 0; k < MOST; k += 1) {
    let [low, high] = [-1, -1]
    for (let i = Math.floor(k * width); i < Math.floor((k + 1) * width); i += 1) {
      const value = track.loss[i]
      if (value === null) continue
      if (low < 0 || value < track.loss[low]!) low = i
      if (high < 0 || value > track.loss[high]!) high = i
    }
    if (low >= 0) kept.add(low).add(high)
  }
  const order = [...kept].sort((a, b) => a - b)
  return { x: order.map((i) => track.steps[i]), y: order.map((i) => track.loss[i]) }
}

/** The loss along every path; the axis ends where the map's highest point is, so that who is thrown out hides nobody. */
export function Heights({
  tracks,
  surface,
  at,
}: {
  tracks: Track[]
  surface: SurfaceView
  at: number | null
}): JSX.Element | null {
  const theme = useTheme()
  const series = useMemo(
    (): ChartSeries[] =>
      tracks.map((track) => {
        const { name, colour, dash } = track
        return { name, colour, dash, width: 2, ...thinned(track) }
      }),
    [tracks],
  )
  const range = useMemo((): { log: boolean; of: [number, number] | null } => {
    const values = series.flatMap((one) => one.y.filter((value): value is number => value !== null))
    const top = surface.values.reduce<number>((most, value) => Math.max(most, value ?? -Infinity), -Infinity)
    let [low, high, positive] = [Infinity, -Infinity, Infinity]
    for (const value of values) {
      low = Math.min(low, value)
      high = Math.max(high, value)
      if (value > 0) positive = Math.min(positive, value)
    }
    high = Math.min(high, Math.max(top, ...tracks.map((track) => track.loss[0] ?? -Infinity)))
    const log = low >= 0 && positive < Infinity && high > positive
    if (log) return { log, of: [Math.max(positive, 1e-16) * 0.8, high * 1.25] }
    return { log, of: high > low ? [low - 0.04 * (high - low), high + 0.06 * (high - low)] : null }
  }, [series, surface])
  const marks = useMemo(
    (): ChartMark[] =>
      at === null || at === 0 ? [] : [{ kind: "vertical", x: at, colour: theme.soft, label: `step ${at}` }],
    [at, theme],
  )
  const x = useMemo(() => ({ label: "step" }), [])
  const y = useMemo(() => ({ label: "loss", log: range.log, range: range.of }), [range])
  if (tracks.length === 0) return null
  return (
    <LineChart
      title={`Loss on ${surface.name}`}
      name="playground-loss"
      n={tracks.length}
      x={x}
      y={y}
      series={series}
      marks={marks}
      height={300}
      caption={`The loss along each path; n = ${tracks.length} racers, one run each.`}
    />
  )
}
