/** Loss and metric of every run: a band over seeds for each optimizer, single runs faint, diverged runs marked. */
import type { JSX } from "preact"
import { useEffect, useMemo, useState } from "preact/hooks"
import { LineChart } from "../chart"
import { count, counted, number, tick } from "../format"
import { grown } from "../growing"
import { crossed, faint, firm, isCut, least } from "../lines"
import { Legend, useHidden } from "../legend"
import { useTheme } from "../palette"
import { Choice, Toggle, Absent } from "../parts"
import { areShortcutsOn } from "../shortcuts"
import { source, useDocument } from "../source"
import { go, useParam, usePlace } from "../state"
import type { Band, Batch, Curve, CurveGroup, Curves, Head } from "../types"

const AGAIN = 10_000 // milliseconds from one reading of everything to the next while runs grow
const LISTED = 12
const XS = ["samples", "step", "seconds"]
const MANY = 80 // runs, from which on each is drawn with fewer points

export default function View({ head }: { head: Head | null }): JSX.Element {
  const { params } = usePlace()
  const [x, setX] = useParam("x", "samples")
  const [from, to] = [params.get("from"), params.get("to")].map((text) => (text === null ? null : Number(text)))
  const [y, phase] = [params.get("y"), params.get("phase")]
  const log = params.get("logx") === "yes" ? 1 : null // the columns of pixels are then those of a logarithmic axis
  const [again, setAgain] = useState(0)
  const columns = Math.round(Math.max(Math.min(innerWidth, 1600), 320) / (head!.runs > MANY ? 4 : 1))
  const { value, error, loading } = useDocument(
    () => source.curves(head!.id, { x, y, phases: phase, columns, from, to, log }),
    [head!.id, x, y, phase, from, to, log, again],
  )
  const live = useLive(head!, value, from === null, () => setAgain((k) => k + 1))
  if (error || !live) return <Absent error={error} loading />
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
    const stop = source.watch(head.id, read, { batch })
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
  const [share, setShare] = useParam("smooth", noisy(curves.y) ? "0.9" : "0")
  const [single, setSingle] = useParam("runs", "yes")
  const [hidden, hide] = useHidden(head.entrants)
  const theme = useTheme()
  const shown = curves.groups.filter((group) => !hidden.has(group.name))
  const [smoothing, key] = [Number(share), shown.map((group) => group.name).join("\n")]
  const runs = useMemo(
    () => faint(shown, head.entrants, smoothing > 0, single === "yes"),
    [curves, key, smoothing > 0, single, theme],
  )
  const lines = useMemo(() => firm(shown, head.entrants, smoothing), [curves, key, smoothing, theme])
  const series = useMemo(() => [...runs, ...lines], [runs, lines])
  const floor = useMemo(() => (logY === "yes" ? least(lines) : undefined), [lines, logY])
  const cut = useMemo(() => isCut(series, floor, zoom), [series, floor, zoom?.[0], zoom?.[1]])
  const marks = useMemo(
    () => shown.flatMap(({ name, runs }) => runs.filter(isLost).flatMap((run) => crossed(name, run, theme, zoom))),
    [curves, key, theme, zoom?.[0], zoom?.[1]],
  )
  const n = shown.reduce((sum, group) => sum + group.n, 0)
  const diverged = shown.reduce((sum, group) => sum + group.diverged, 0)
  const listed = shown.flatMap((group) => group.runs.filter(isLost).map((run) => ({ group, run })))
  useLogKeys(
    () => setLogX(logX === "yes" ? "no" : "yes"),
    () => setLogY(logY === "yes" ? "no" : "yes"),
  )
  const holds = (change: Partial<Curves>): boolean => source.holds(head.id, { ...curves, ...change })
  const zoomed = (range: [number, number] | null): void =>
    go({ params: { from: range ? short(range[0]) : null, to: range ? short(range[1]) : null } })
  return (
    <section class="curves" data-y={curves.y} data-x={curves.x} data-thinned={curves.thinned ? "yes" : "no"}>
      <h1 class="title">
        {curves.y} <span class="soft">against {curves.x}</span>
      </h1>
      <div class="controls">
        <label class="pick">
          show{" "}
          <select
            value={curves.y}
            data-pick="y"
            onChange={(event) => go({ params: { y: event.currentTarget.value, logy: null, smooth: null } })}
          >
            {curves.ys.map((name) => (
              <option key={name} disabled={!XS.some((axis) => holds({ y: name, x: axis }))}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <Choice
          label="against"
          value={curves.x}
          onChange={(name) => (zoomed(null), setX(name))}
          options={[
            ["samples", "samples"],
            ["step", "steps"],
            ["seconds", "seconds"],
          ]}
          absent={(name) => !holds({ x: name })}
        />
        {curves.phases.length > 1 && (
          <label class="pick">
            runs of{" "}
            <select
              value={curves.phase}
              data-pick="phase"
              onChange={(event) => go({ params: { phase: event.currentTarget.value } })}
            >
              {curves.phases.map((name) => (
                <option key={name} disabled={!holds({ phase: name })}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
        <span class="toggles" role="group" aria-label="Axes">
          <Toggle
            label={
              <>
                log <kbd>x</kbd>
              </>
            }
            on={logX === "yes"}
            onChange={(on) => setLogX(on ? "yes" : "no")}
            hint="Logarithmic x axis (key x)"
          />
          <Toggle
            label={
              <>
                log <kbd>y</kbd>
              </>
            }
            on={logY === "yes"}
            onChange={(on) => setLogY(on ? "yes" : "no")}
            hint="Logarithmic y axis (key y)"
          />
          <Toggle label="single runs" on={single === "yes"} onChange={(on) => setSingle(on ? "yes" : "no")} />
        </span>
        <label class="slide">
          smoothing
          <input
            type="range"
            min="0"
            max="0.995"
            step="0.005"
            value={share}
            aria-valuetext={share === "0" ? "off" : share}
            onInput={(event) => setShare(event.currentTarget.value)}
          />
          <output>{share === "0" ? "off" : share}</output>
        </label>
      </div>
      <Legend
        names={curves.groups.map((group) => group.name)}
        entrants={head.entrants}
        hidden={hidden}
        onChange={hide}
        note={(name) => lost(curves, name)}
      />
      <LineChart
        title={`${curves.y} of ${head.name}`}
        name="curves"
        n={n}
        series={series}
        marks={marks}
        onZoom={zoomed}
        x={{ label: curves.x === "step" ? "steps" : curves.x, log: logX === "yes", range: zoom }}
        y={{ label: curves.y, log: logY === "yes", least: floor }}
        data={{
          status: head.status,
          zoomed: zoom ? "yes" : "no",
          loading: loading ? "yes" : "no",
          diverged,
        }}
        readNote={smoothing > 0 ? `raw values; the lines are smoothed ${share}` : undefined}
        caption={
          <Caption
            curves={curves}
            shown={shown}
            cut={cut}
            single={single === "yes"}
            smoothing={smoothing}
            zoom={zoom}
            reset={() => zoomed(null)}
          />
        }
      />
      {diverged > 0 && (
        <section class="list">
          <h2>{counted(diverged, "run")} diverged</h2>
          <ul>
            {listed.slice(0, LISTED).map(({ group, run }) => (
              <li key={run.run}>{ended(group.name, run, curves.x)}</li>
            ))}
            {diverged > listed.length || listed.length > LISTED ? (
              <li>and {count(diverged - Math.min(listed.length, LISTED))} more</li>
            ) : null}
          </ul>
        </section>
      )}
    </section>
  )
}

/** Whether lines change from step to step, as a batch's loss does; it does not depend on how far the runs are. */
function noisy(y: string): boolean {
  return y === "loss" || y === "grad_norm"
}

function isLost(run: Curve): boolean {
  return run.status === "diverged"
}

function short(value: number): string {
  return String(Number(value.toPrecision(6)))
}

function lost(curves: Curves, name: string): string | null {
  const group = curves.groups.find((one) => one.name === name)
  return group && group.diverged > 0 ? `${group.diverged} of ${group.n} diverged` : null
}

function ended(name: string, run: Curve, x: string): string {
  const rate = run.lr === null ? "" : `, lr ${number(run.lr)}`
  const { end } = run
  const at =
    end === null
      ? ""
      : x === "step"
        ? ` at step ${count(end)}`
        : ` after ${x === "seconds" ? `${tick(end)} s` : `${count(end)} samples`}`
  return `${name}${rate}, seed ${run.seed}: diverged${at}${run.where ? `, first in ${/^\d+$/.test(run.where) ? "module " : ""}${run.where}` : ""}`
}

interface CaptionProps {
  curves: Curves
  shown: CurveGroup[]
  cut: boolean
  single: boolean
  smoothing: number
  zoom: [number, number] | null
  reset: () => void
}

function Caption({ curves, shown, cut, single, smoothing, zoom, reset }: CaptionProps): JSX.Element {
  const sum = (of: (group: CurveGroup) => number): number => shown.reduce((all, group) => all + of(group), 0)
  const [n, left] = [sum((group) => group.n), sum((group) => group.left_out)]
  const few =
    left > 0 && single ? `, ${count(n - left)} of them with a line of their own, evenly by when they began` : ""
  const [diverged, crosses] = [sum((group) => group.diverged), sum(({ runs }) => runs.filter(isLost).length)]
  const some = crosses < diverged ? `; ${count(crosses)} of the ${count(diverged)} that diverged have a cross` : ""
  const bands = curves.groups.flatMap(({ band }) => band ?? [])
  const lost = curves.groups.some((group) => group.diverged > 0)
  const worst = lost && curves.y !== "lr" ? "; a run that diverged counts as the worst from there on" : ""
  const seeds = bands.length > 0 ? ` Band: ${reaching(bands)}, line: median${worst}.` : ""
  const thin = curves.thinned
    ? ` Thinned by least and greatest per pixel column${source.live ? "; zoom in for every point" : ", as the report holds them"}.`
    : ""
  return (
    <>
      n = {counted(n, "run")} ({curves.phase}){few}
      {some}.{seeds}
      {smoothing > 0 && ` Lines smoothed ${smoothing}${width(curves, smoothing)}; under the cursor: raw values.`}
      {cut && " What lies far below the lines is cut off."}
      {thin} Drag to zoom.
      {zoom && (
        <>
          {" "}
          <button type="button" class="link" onClick={reset}>
            Show all
          </button>
        </>
      )}
    </>
  )
}

/** Over what a smoothed line is a mean, in the units of the axis. */
function width({ groups, x }: Curves, share: number): string {
  const gap = groups.flatMap(({ runs }) => runs.flatMap((run) => run.gap ?? []))[0]
  if (gap === undefined) return ""
  const over = gap / (1 - share)
  return ` (over about ${x === "seconds" ? `${number(over, 2)} s` : counted(Number(over.toPrecision(2)), x.replace(/s$/, ""))})`
}

/** From where to where bands reach, over how many seeds. */
function reaching(bands: Band[]): string {
  const [few, many] = [bands.filter((band) => band.levels[0] === 0), bands.filter((band) => band.levels[0] > 0)]
  const said = (of: Band[], words: string): string[] =>
    of.length > 0 ? [`${words} of ${spread(of.map((band) => band.n))} seeds`] : []
  return [...said(few, "least to greatest"), ...said(many, "10–90 %")].join(", ")
}

function spread(values: number[]): string {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  return low === high ? String(low) : `${low}–${high}`
}

/** x and y switch the logarithm of their axis. */
function useLogKeys(x: () => void, y: () => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if (
        !areShortcutsOn() ||
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        /^(INPUT|SELECT|TEXTAREA)$/.test((event.target as HTMLElement).tagName)
      )
        return
      if (event.key === "x") x()
      if (event.key === "y") y()
    }
    addEventListener("keydown", pressed)
    return () => removeEventListener("keydown", pressed)
  })
}
