/** The curves as series of a chart: single runs faint, a band over seeds and its median for each optimizer. */
import { extent } from "./axis"
import { number } from "./format"
import { type ChartMark, type ChartSeries } from "./plot"
import { look, type Theme } from "./palette"
import { smooth } from "./smoothing"
import type { Curve, CurveGroup, Num } from "./types"

type Line = { x: number[]; y: Num[]; gap: Num }

/** What stands for a group: its band's median, or its only run. */
function middle({ band, n, runs }: CurveGroup): Line | null {
  return band ? { x: band.x, y: band.mid, gap: runs[0]?.gap ?? null } : n === 1 ? runs[0] : null
}

/** The single runs, faint, and under smoothed lines the raw ones. */
export function faint(groups: CurveGroup[], entrants: string[], smoothed: boolean, single: boolean): ChartSeries[] {
  return groups.flatMap((group): ChartSeries[] => {
    const { name, band, runs } = group
    const { colour, dash } = look(name, entrants)
    const main = middle(group)
    const opacity = faded(group.n - group.left_out, band !== null)
    const each = runs
      .filter((run) => run !== main && (single || !band))
      .map((run): ChartSeries => ({
        name: called(name, run),
        colour,
        dash: band || smoothed ? [] : dash,
        x: run.x,
        y: run.y,
        width: 1,
        opacity,
        quiet: true,
        loose: run.status === "diverged",
      }))
    return main && smoothed
      ? [...each, { name, colour, x: main.x, y: main.y, width: 1, opacity: 0.3, quiet: true }]
      : each
  })
}

/** The bands and their medians; smoothed ones lie over the raw ones. */
export function firm(groups: CurveGroup[], entrants: string[], share: number): ChartSeries[] {
  return groups.flatMap((group): ChartSeries[] => {
    const { name, band, runs } = group
    const { colour, dash } = look(name, entrants)
    const main = middle(group)
    if (main === null && share === 0) return []
    if (main === null) {
      return runs.map((run, i) => ({
        name: i === 0 ? name : called(name, run),
        colour,
        dash,
        x: run.x,
        ...laid(run, share),
        width: 1.6,
        quiet: i > 0,
        loose: run.status === "diverged",
      }))
    }
    const dots = main.x.length === 1 ? 3.5 : undefined
    return [
      {
        name,
        colour,
        dash,
        x: main.x,
        ...laid(main, share),
        low: band?.low,
        high: band?.high,
        width: 2,
        dots,
      },
    ]
  })
}

/** From where a logarithmic axis shows lines: a batch that happens to fit would stretch it by decades. */
export function least(lines: ChartSeries[]): number | undefined {
  const up = lines.map((line) => extent(line.y, true)?.[0] ?? Infinity)
  const low = Math.min(...up)
  return low < Infinity ? low / 10 : undefined
}

/** Whether something that is shown lies below. */
export function isCut(series: ChartSeries[], least: number | undefined, zoom: [number, number] | null = null): boolean {
  if (least === undefined) return false
  const [from, to] = zoom ?? [-Infinity, Infinity]
  const under = ({ x }: ChartSeries, values: Num[] = []): boolean =>
    values.some((value, i) => value !== null && value < least && x[i] >= from && x[i] <= to)
  return series.some((one) => !one.loose && (under(one, one.y) || under(one, one.low)))
}

/** A line, smoothed, with what it was: that is what is read off. */
function laid({ x, y, gap }: Line, share: number): { y: Num[]; raw?: Num[] } {
  return share > 0 ? { y: smooth(x, y, share, gap), raw: y } : { y }
}

function called(name: string, run: Curve): string {
  return `${name}${run.lr === null ? "" : `, lr ${number(run.lr)}`}, seed ${run.seed}`
}

/** The more runs, the fainter each. */
function faded(runs: number, band: boolean): number {
  return Math.max(Math.min(band ? 0.22 : 0.5, 2 / runs), 0.04)
}

/** A cross where a run diverged, at its last value; none where that is not seen. */
export function crossed(name: string, run: Curve, theme: Theme, zoom: [number, number] | null): ChartMark[] {
  const { end, x, y } = run
  if (end === null || (zoom && (end < zoom[0] || end > zoom[1]))) return []
  const last = y.findLastIndex((value, i) => value !== null && x[i] <= end)
  const label = `${called(name, run)}: diverged`
  return [{ kind: "cross", x: end, y: last < 0 ? null : y[last], colour: theme.bad, label }]
}
