/** Final value against learning rate: where each optimizer is best, how far off it may be, and where it diverges. */
import type { JSX } from "preact"
import { useMemo } from "preact/hooks"
import { extent, roomy } from "../axis"
import { type ChartMark, type ChartSeries, LineChart } from "../chart"
import { counted, isShare, number, percent } from "../format"
import { Legend, NamedSwatch, useHidden } from "../legend"
import { look, useTheme } from "../palette"
import { Choice, Toggle, Absent } from "../parts"
import { source, useDocument } from "../source"
import { useParam } from "../state"
import type { Head, Rate, RateGroup, Rates } from "../types"

const FAR = 1e4 // times the largest rate that trained: a run that diverged there would squeeze all others

export default function View({ head }: { head: Head | null }): JSX.Element {
  const { value, error, loading } = useDocument(() => source.rates(head!.id), [head!.id, head!.progress.runs])
  if (!value) return <Absent error={error} loading={loading} />
  return <Drawn rates={value} head={head!} />
}

function Drawn({ rates, head }: { rates: Rates; head: Head }): JSX.Element {
  const [log, setLog] = useParam("logy", "no")
  const [which, setWhich] = useParam("length", "full")
  const [near, setNear] = useParam("near", crowded(rates) ? "yes" : "no")
  const theme = useTheme()
  const [hidden, hide] = useHidden(head.entrants)
  const share = isShare(rates.metric)
  const shown = rates.groups.filter((group) => !hidden.has(group.name))
  const key = shown.map((group) => group.name).join("\n")
  const lengths = new Set(rates.groups.flatMap((group) => group.points.map((point) => point.steps)))
  const { series, marks } = useMemo(() => drawn(shown, head.entrants, which === "all"), [rates, key, which, theme])
  const range = near === "yes" ? nearBest(shown, rates.direction) : null
  const points = shown.reduce((sum, group) => sum + chosen(group, which === "all").length, 0)
  const borders = rates.groups.flatMap((group) => group.border ?? [])
  const outside = range
    ? shown
        .flatMap((group) => chosen(group, which === "all"))
        .filter((point) => point.value !== null && !within(point.value, range)).length
    : 0
  const { across, beyond } = reach(shown, which === "all")
  const format = share ? (value: number): string => percent(value, 1).replace(".0 %", " %") : undefined
  return (
    <section class="rates" data-groups={rates.groups.length}>
      <h1 class="title">
        {rates.metric} <span class="soft">against learning rate</span>
      </h1>
      <div class="controls">
        {lengths.size > 1 && (
          <Choice
            label="runs"
            value={which}
            onChange={setWhich}
            options={[
              ["full", "the longest of each"],
              ["all", "short ones too"],
            ]}
          />
        )}
        <Toggle
          label="near the best"
          on={near === "yes"}
          onChange={(on) => setNear(on ? "yes" : "no")}
          hint="Leave out the worse half"
        />
        <Toggle label="log y" on={log === "yes"} onChange={(on) => setLog(on ? "yes" : "no")} />
      </div>
      <Legend
        names={rates.groups.map((group) => group.name)}
        entrants={head.entrants}
        hidden={hidden}
        onChange={hide}
      />
      <LineChart
        title={`${rates.metric} of ${head.name} against learning rate`}
        name="rates"
        n={points}
        series={series}
        marks={marks}
        x={{ label: "learning rate", log: true, range: across }}
        y={{ label: rates.metric, log: log === "yes", format, range }}
        caption={
          <>
            On the selection rows, n = {counted(points, "run")}. {legend(shown, marks)}
            {outside > 0 && ` ${lying(outside)} outside the panel; “near the best” off shows all.`}
            {beyond.length > 0 && ` ${lying(beyond.length)} farther right and diverged: ${rightmost(beyond)}.`}
          </>
        }
      />
      <Table rates={rates} entrants={head.entrants} share={share} />
      {borders.length > 0 && (
        <ul class="footnotes">
          {borders.map((border) => (
            <li key={border}>* {border}</li>
          ))}
        </ul>
      )}
    </section>
  )
}

function lying(runs: number): string {
  return `${counted(runs, "run")} ${runs === 1 ? "lies" : "lie"}`
}

/** Whether a run ended without a value, and did not diverge. */
function cut({ points }: RateGroup): boolean {
  return points.some((point) => point.value === null && point.status !== "diverged")
}

function rightmost(beyond: Rate[]): string {
  return [...new Set(beyond.map((point) => `lr ${number(point.lr)}`))].join(", ")
}

/** What the marks that are there mean. */
function legend(groups: RateGroup[], marks: ChartMark[]): string {
  const has = (kind: ChartMark["kind"]): boolean => marks.some((mark) => mark.kind === kind)
  const below = [
    has("span") ? "bar: rates within the smallest difference that counts" : null,
    has("cross") ? `cross: a run that ${groups.some(cut) ? "was stopped or diverged" : "diverged"}` : null,
  ].filter((one) => one !== null)
  return [
    has("ring") ? "Ring: the rate that was chosen." : null,
    below.length > 0 ? `Below${groups.length > 1 ? ", a row for each" : ""}: ${below.join("; ")}.` : null,
    has("vertical") ? "Dotted: divergence begins." : null,
  ]
    .filter((one) => one !== null)
    .join(" ")
}

/** The rates that are shown, and the runs that diverged too far from all others to be shown with them. */
function reach(groups: RateGroup[], all: boolean): { across: [number, number] | null; beyond: Rate[] } {
  const points = groups.flatMap((group) => chosen(group, all))
  const fine = extent(
    points.filter((point) => point.value !== null).map((point) => point.lr),
    true,
  )
  const beyond = fine ? points.filter((point) => point.lr > FAR * fine[1]) : []
  const seen =
    beyond.length > 0
      ? extent(
          points.flatMap((point) => (beyond.includes(point) ? [] : [point.lr])),
          true,
        )
      : null
  return { across: seen && roomy(seen, true, 0.02), beyond }
}

/** The points of the longest runs, or all. */
function chosen(group: RateGroup, all: boolean): Rate[] {
  const longest = Math.max(...group.points.map((point) => point.steps))
  return all ? group.points : group.points.filter((point) => point.steps === longest)
}

function drawn(groups: RateGroup[], entrants: string[], all: boolean): { series: ChartSeries[]; marks: ChartMark[] } {
  const series: ChartSeries[] = []
  const marks: ChartMark[] = []
  groups.forEach((group, row) => {
    const { colour, dash } = look(group.name, entrants)
    const points = chosen(group, all)
    const fine = points.filter((point) => point.value !== null).sort((a, b) => a.lr - b.lr)
    const lengths = [...new Set(fine.map((point) => point.steps))].sort((a, b) => b - a)
    lengths.forEach((steps, at) => {
      const same = fine.filter((point) => point.steps === steps)
      const [x, y] = [same.map((point) => point.lr), same.map((point) => point.value)]
      const name = at === 0 ? group.name : `${group.name}, ${steps} steps`
      series.push({ name: `${name}, runs`, colour, x, y, width: 0, dots: at === 0 ? 3.5 : 2, quiet: true })
      series.push({
        name,
        colour,
        dash: at === 0 ? dash : [1, 3],
        ...means(choosing(same)),
        width: at === 0 ? 2 : 1.2,
        quiet: at > 0,
      })
    })
    for (const point of points) {
      if (point.value !== null) continue
      marks.push({
        kind: "cross",
        x: point.lr,
        y: null,
        row,
        colour,
        label: `${group.name}, lr ${number(point.lr)}: ${point.status}`,
      })
    }
    if (group.edge !== null)
      marks.push({
        kind: "vertical",
        x: group.edge,
        colour,
        label: `${group.name}: diverges from lr ${number(group.edge)}`,
      })
    if (group.best)
      marks.push({ kind: "ring", x: group.best.lr, y: group.best.value, colour, label: `${group.name}: chosen` })
    if (group.within) {
      const [from, to] = group.within
      marks.push({
        kind: "span",
        from,
        to,
        row,
        colour,
        label: `${group.name}: within, lr ${number(from)} to ${number(to)}`,
      })
    }
  })
  return { series, marks }
}

/** The runs that a rate was chosen by; the line leads through them, not through the finals' fresh seeds. */
function choosing(points: Rate[]): Rate[] {
  const before = points.filter((point) => point.phase !== "final")
  return before.length > 0 ? before : points
}

function within(value: number, [low, high]: [number, number]): boolean {
  return value >= low && value <= high
}

/** Whether the better half of the runs would share a fifth of the axis, so that no difference could be seen. */
function crowded({ groups, direction }: Rates): boolean {
  const whole = extent(groups.flatMap((group) => chosen(group, false).map((point) => point.value)))
  const near = nearBest(groups, direction)
  return whole !== null && near !== null && near[1] - near[0] < 0.25 * (whole[1] - whole[0])
}

/** From the median of all runs to the best. */
function nearBest(groups: RateGroup[], direction: Rates["direction"]): [number, number] | null {
  const values = groups
    .flatMap((group) => chosen(group, false).flatMap((point) => point.value ?? []))
    .sort((a, b) => a - b)
  if (values.length < 3) return null
  const middle = values[values.length >> 1]
  return roomy(direction === "max" ? [middle, values[values.length - 1]] : [values[0], middle])
}

/** The mean at each rate. */
function means(points: Rate[]): { x: number[]; y: number[] } {
  const x = [...new Set(points.map((point) => point.lr))]
  const at = (lr: number): number[] => points.flatMap((point) => (point.lr === lr ? [point.value!] : []))
  return { x, y: x.map((lr) => at(lr).reduce((sum, value) => sum + value, 0) / at(lr).length) }
}

function Table({ rates, entrants, share }: { rates: Rates; entrants: string[]; share: boolean }): JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Learning rates">
      <table>
        <thead>
          <tr>
            <th scope="col">optimizer</th>
            <th scope="col" class="num">
              chosen lr
            </th>
            <th scope="col" class="num">
              {rates.metric} there <small>selection rows</small>
            </th>
            <th scope="col" class="num">
              good rates span <small>decades</small>
            </th>
            <th scope="col" class="num">
              good from – to
            </th>
            <th scope="col" class="num">
              diverges from
            </th>
            <th scope="col" class="num">
              runs
            </th>
          </tr>
        </thead>
        <tbody>
          {rates.groups.map((group) => (
            <tr key={group.name} data-name={group.name} data-best={group.best?.lr ?? ""}>
              <th scope="row">
                <NamedSwatch name={group.name} entrants={entrants} /> {group.name}
                {group.border && <abbr title={group.border}>*</abbr>}
              </th>
              <td class="num">{number(group.best?.lr)}</td>
              <td class="num">{share ? percent(group.best?.value, 2) : number(group.best?.value, 4)}</td>
              <td class="num">{number(group.width_decades, 2)}</td>
              <td class="num">{group.within ? `${number(group.within[0])} – ${number(group.within[1])}` : "–"}</td>
              <td class="num">{number(group.edge)}</td>
              <td class="num">
                {group.points.length}
                {failed(group)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function failed(group: RateGroup): string {
  const lost = group.points.filter((point) => point.status === "diverged").length
  return lost > 0 ? ` (${lost} diverged)` : ""
}
