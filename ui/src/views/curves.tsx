/** Loss and metric of every run: a band over seeds for each optimizer, single runs faint, diverged runs marked. */
import type { JSX } from "preact"
import { useEffect, useMemo, useState } from "preact/hooks"
import { type ChartMark, type ChartSeries, LineChart } from "../chart"
import { count, counted, number, tick } from "../format"
import { grown } from "../growing"
import { Legend, useHidden } from "../legend"
import { look, type Theme, useTheme } from "../palette"
import { Choice, Toggle, Trouble } from "../parts"
import { smooth } from "../smoothing"
import { source, useDocument } from "../source"
import { go, useParam, usePlace } from "../state"
import type { Batch, Curve, Curves, Head } from "../types"

const AGAIN = 10_000 // milliseconds from one reading of everything to the next while runs grow
const LISTED = 12

export default function View({ head }: { head: Head | null }): JSX.Element {
  const { params } = usePlace()
  const [x, setX] = useParam("x", "samples")
  const [from, to] = [params.get("from"), params.get("to")].map((text) => (text === null ? null : Number(text)))
  const [y, phase] = [params.get("y"), params.get("phase")]
  const [again, setAgain] = useState(0)
  const columns = Math.max(Math.min(Math.round(innerWidth), 1600), 320)
  const { value, error, loading } = useDocument(
    () => source.curves(head!.id, { x, y, phases: phase, columns, from, to }),
    [head!.id, x, y, phase, from, to, again],
  )
  const live = useLive(head!, value, from === null, () => setAgain((k) => k + 1))
  if (error) return <Trouble failure={error} />
  if (!live) return <p class="loading" role="status">Loading …</p>
  const zoom = from !== null && to !== null ? ([from, to] as [number, number]) : null
  return <Drawn curves={live} head={head!} zoom={zoom} setX={setX} loading={loading} />
}

/** The curves, lengthened by what arrives; everything is read again at most every ten seconds. */
function useLive(head: Head, read: Curves | null, whole: boolean, again: () => void): Curves | null {
  const [live, set] = useState(read)
  useEffect(() => set(read), [read])
  const running = head.status === "running"
  useEffect(() => {
    if (!read || !running || !whole) return
    let timer = 0
    const batch = (arrived: Batch): void => {
      set((now) => (now && arrived.cursor > now.cursor ? grown(now, arrived) : now))
      timer ||= window.setTimeout(again, AGAIN)
    }
    const stop = source.watch(head.id, read.cursor, { batch })
    return () => (stop(), clearTimeout(timer))
  }, [head.id, read, running, whole])
  return live && read && live.y === read.y && live.x === read.x && live.phase === read.phase ? live : read
}

interface DrawnProps {
  curves: Curves
  head: Head
  zoom: [number, number] | null
  loading: boolean
  setX: (x: string) => void
}

function Drawn({ curves, head, zoom, loading, setX }: DrawnProps): JSX.Element {
  const [logX, setLogX] = useParam("logx", "no")
  const [logY, setLogY] = useParam("logy", curves.direction === "min" && curves.y.includes("loss") ? "yes" : "no")
  const [share, setShare] = useParam("smooth", noisy(curves) ? "0.9" : "0")
  const [single, setSingle] = useParam("runs", "yes")
  const [hidden, hide] = useHidden(head.entrants)
  const theme = useTheme()
  const shown = curves.groups.filter((group) => !hidden.has(group.name))
  const { series, marks } = useMemo(
    () => drawn({ ...curves, groups: shown }, head.entrants, Number(share), single === "yes", theme),
    [curves, params(hidden), share, single, theme],
  )
  const n = shown.reduce((sum, group) => sum + group.runs.length, 0)
  const diverged = shown.flatMap((group) => group.runs.filter((run) => run.status === "diverged").map((run) => ({ group, run })))
  useLogKeys(() => setLogX(logX === "yes" ? "no" : "yes"), () => setLogY(logY === "yes" ? "no" : "yes"))
  const zoomed = (range: [number, number] | null): void =>
    go({ params: { from: range ? short(range[0]) : null, to: range ? short(range[1]) : null } })
  return (
    <section class="curves" data-y={curves.y} data-x={curves.x} data-thinned={curves.thinned ? "yes" : "no"}>
      <h1 class="title">{curves.y} <span class="soft">against {curves.x}</span></h1>
      <div class="controls">
        <Choice label="show" value={curves.y} onChange={(name) => go({ params: { y: name, logy: null } })} options={curves.ys.map((name) => [name, name])} />
        <Choice label="against" value={curves.x} onChange={(name) => (zoomed(null), setX(name))} options={[["samples", "samples"], ["step", "steps"], ["seconds", "seconds"]]} />
        {curves.phases.length > 1 && (
          <label class="pick">runs of <select value={curves.phase} onChange={(event) => go({ params: { phase: event.currentTarget.value } })}>
            {curves.phases.map((name) => <option key={name}>{name}</option>)}
          </select></label>
        )}
        <span class="toggles" role="group" aria-label="Axes">
          <Toggle label={<>log <kbd>x</kbd></>} on={logX === "yes"} onChange={(on) => setLogX(on ? "yes" : "no")} hint="Logarithmic x axis (key x)" />
          <Toggle label={<>log <kbd>y</kbd></>} on={logY === "yes"} onChange={(on) => setLogY(on ? "yes" : "no")} hint="Logarithmic y axis (key y)" />
          <Toggle label="single runs" on={single === "yes"} onChange={(on) => setSingle(on ? "yes" : "no")} />
        </span>
        <label class="slide">smoothing
          <input
            type="range" min="0" max="0.99" step="0.01" value={share} aria-valuetext={share === "0" ? "off" : share}
            onInput={(event) => setShare(event.currentTarget.value)}
          />
          <output>{share === "0" ? "off" : share}</output>
        </label>
      </div>
      <Legend names={curves.groups.map((group) => group.name)} entrants={head.entrants} hidden={hidden} onChange={hide} note={(name) => lost(curves, name)} />
      <LineChart
        title={`${curves.y} of ${head.name}`} name="curves" n={n} series={series} marks={marks} onZoom={zoomed}
        x={{ label: curves.x === "step" ? "steps" : curves.x, log: logX === "yes", range: zoom }} y={{ label: curves.y, log: logY === "yes" }}
        data={{ status: head.status, zoomed: zoom ? "yes" : "no", loading: loading ? "yes" : "no", diverged: diverged.length }}
        caption={<Caption curves={curves} n={n} zoom={zoom} reset={() => zoomed(null)} />}
      />
      {diverged.length > 0 && (
        <section class="list">
          <h2>{counted(diverged.length, "run")} diverged</h2>
          <ul>
            {diverged.slice(0, LISTED).map(({ group, run }) => <li key={run.run}>{ended(group.name, run, curves.x)}</li>)}
            {diverged.length > LISTED && <li>and {count(diverged.length - LISTED)} more</li>}
          </ul>
        </section>
      )}
    </section>
  )
}

/** Whether lines change from step to step, as a batch's loss does. */
function noisy({ y, groups }: Curves): boolean {
  return (y === "loss" || y === "grad_norm") && groups.some((group) => group.runs.some((run) => run.x.length > 150))
}

function params(hidden: Set<string>): string {
  return [...hidden].join("\n")
}

function short(value: number): string {
  return String(Number(value.toPrecision(6)))
}

function lost(curves: Curves, name: string): string | null {
  const runs = curves.groups.find((group) => group.name === name)?.runs ?? []
  const diverged = runs.filter((run) => run.status === "diverged").length
  return diverged > 0 ? `${diverged} of ${runs.length} diverged` : null
}

function ended(name: string, run: Curve, x: string): string {
  const rate = run.lr === null ? "" : `, lr ${number(run.lr)}`
  const last = run.x[run.x.length - 1]
  const at = last === undefined ? "" : x === "step" ? ` at step ${count(last)}` : ` after ${x === "seconds" ? `${tick(last)} s` : `${count(last)} samples`}`
  return `${name}${rate}, seed ${run.seed}: diverged${at}${run.where ? ` in ${run.where}` : ""}`
}

function Caption(props: { curves: Curves; n: number; zoom: [number, number] | null; reset: () => void }): JSX.Element {
  const { curves, n, zoom, reset } = props
  const bands = curves.groups.flatMap((group) => (group.band ? [group.band.n] : []))
  const seeds = bands.length > 0 ? ` Band: 10–90 % over ${spread(bands)} seeds, line: median.` : ""
  const thin = curves.thinned ? " Thinned by least and greatest per pixel column; zoom in for every point." : ""
  return (
    <>
      n = {counted(n, "run")} ({curves.phase}).{seeds}{thin} Drag to zoom.
      {zoom && <> <button type="button" class="link" onClick={reset}>Show all</button></>}
    </>
  )
}

function spread(values: number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  return low === high ? String(low) : `${low}–${high}`
}

/** The runs faint, the bands, the medians; smoothed lines lie over the raw ones, which stay. */
function drawn(
  curves: Curves, entrants: string[], share: number, single: boolean, theme: Theme,
): { series: ChartSeries[]; marks: ChartMark[] } {
  const [faint, main]: [ChartSeries[], ChartSeries[]] = [[], []]
  const marks: ChartMark[] = []
  for (const { name, band, runs } of curves.groups) {
    const { colour, dash } = look(name, entrants)
    const middle = band ? { x: band.x, y: band.mid } : runs.length === 1 ? runs[0] : null
    for (const run of runs) {
      const loose = run.status === "diverged"
      const alone = middle === run
      const label = `${name}, lr ${number(run.lr)}, seed ${run.seed}`
      if ((single || !band) && !alone) faint.push({ name: label, colour, dash: band || share > 0 ? [] : dash, x: run.x, y: run.y, width: 1, opacity: faded(runs.length, band !== null), quiet: true, loose })
      if (loose) marks.push(crossed(label, run, theme))
    }
    if (middle === null && share > 0) {
      const lines = runs.map((run, i) => ({ name, colour, dash, x: run.x, y: smooth(run.y, share), width: 1.6, quiet: i > 0, loose: run.status === "diverged" }))
      main.push(...lines)
    }
    if (middle === null) continue
    const raw = { name, colour, dash, x: middle.x, y: middle.y, low: band?.low, high: band?.high, dots: middle.x.length === 1 ? 3.5 : undefined }
    if (share > 0) {
      faint.push({ ...raw, width: 1, dash: [], opacity: 0.3, quiet: true })
      main.push({ name, colour, dash, x: middle.x, y: smooth(middle.y, share), width: 2.2 })
    } else main.push({ ...raw, width: 2 })
  }
  return { series: [...faint, ...main], marks }
}

/** The more runs, the fainter each. */
function faded(runs: number, band: boolean): number {
  return Math.max(Math.min(band ? 0.22 : 0.5, 2 / runs), 0.04)
}

function crossed(label: string, run: Curve, theme: Theme): ChartMark {
  const last = run.y.findLastIndex((value) => value !== null)
  const x = run.x[run.x.length - 1] ?? 0
  return { kind: "cross", x, y: last < 0 ? null : run.y[last], colour: theme.bad, label: `${label} diverged` }
}

/** x and y switch the logarithm of their axis. */
function useLogKeys(x: () => void, y: () => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test((event.target as HTMLElement).tagName)) return
      if (event.key === "x") x()
      if (event.key === "y") y()
    }
    addEventListener("keydown", pressed)
    return () => removeEventListener("keydown", pressed)
  })
}
