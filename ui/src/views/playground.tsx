/** Playground: rules race on a surface of two numbers, as the sliders move. */
import type { JSX } from "preact"
import { useEffect, useMemo, useRef, useState } from "preact/hooks"
import { useTheme } from "../palette"
import { Absent, Copy, Trouble } from "../parts"
import { Everyone, Racers } from "../playground/controls"
import { Arena } from "../playground/map"
import { Player, still, usePlayback } from "../playground/playback"
import { Heights, Standings } from "../playground/results"
import { looks, ofPreset, read, request, type Setup, written } from "../playground/setup"
import { longest, tracks } from "../playground/tracks"
import { Failure, source, useDocument } from "../source"
import { address, go, usePlace } from "../state"
import type { Head, Playground, Preset, RaceRequest, RaceResult, SurfaceView } from "../types"
import "../playground/playground.css"

const WRITE = 250 // milliseconds of rest before the address is written: browsers count such writes

export default function View(props: { head: Head | null }): JSX.Element {
  const { value, error, loading } = useDocument(() => source.playground(), ["playground"])
  if (!value) return <Absent error={error} loading={loading} />
  return <Races data={value} study={props.head?.id ?? null} />
}

/** The setup, and with it the address: a link is a race. */
function useSetup(data: Playground, study: string | null): [Setup, (setup: Setup) => void] {
  const { params } = usePlace()
  const [setup, set] = useState(() => read(params, data, study))
  const wrote = useRef(params.toString())
  const timer = useRef(0)
  useEffect(() => {
    if (params.toString() === wrote.current) return
    wrote.current = params.toString()
    set(read(params, data, study))
  }, [params])
  useEffect(() => () => clearTimeout(timer.current), [])
  const change = (next: Setup): void => {
    set(next)
    clearTimeout(timer.current)
    timer.current = window.setTimeout(() => {
      const address = written(next)
      const kept = new URLSearchParams(location.hash.split("?")[1] ?? "")
      for (const [key, value] of Object.entries(address)) value === null ? kept.delete(key) : kept.set(key, value)
      wrote.current = kept.toString()
      go({ params: address })
    }, WRITE)
  }
  return [setup, change]
}

interface Race {
  asked: RaceRequest
  running: number[] // which entrants ran
  result: RaceResult
}

/** The race of a setup: one request at a time, and after it the newest that is waiting. */
function useRace(
  setup: Setup,
  stored: Preset | undefined,
): { race: Race | null; error: Failure | null; busy: boolean } {
  const [held, hold] = useState<{ race: Race | null; error: Failure | null; busy: boolean }>({
    race: null,
    error: null,
    busy: false,
  })
  const wanted = useRef<{ asked: RaceRequest; running: number[] } | null>(null)
  const flying = useRef<{ surface: string; abort: AbortController } | null>(null)
  const send = (): void => {
    const next = wanted.current
    if (!next || flying.current) return
    wanted.current = null
    const abort = new AbortController()
    flying.current = { surface: next.asked.surface, abort }
    hold((old) => ({ ...old, busy: true }))
    const done = (change: { race?: Race; error: Failure | null }): void => {
      if (abort.signal.aborted) return
      flying.current = null
      hold((old) => ({ race: change.race ?? old.race, error: change.error, busy: wanted.current !== null }))
      send()
    }
    source.race(next.asked, abort.signal).then(
      (result) => done({ race: { ...next, result }, error: null }),
      (error: unknown) => done({ error: error instanceof Failure ? error : new Failure("broken", String(error)) }),
    )
  }
  useEffect(() => {
    const asked = request(setup)
    const running = setup.racers.flatMap((one, i) => (one.on ? [i] : []))
    if (!source.live) {
      if (stored?.result && asked) hold({ race: { asked, running, result: stored.result }, error: null, busy: false })
      return
    }
    wanted.current = asked && { asked, running }
    if (!asked) return hold({ race: null, error: null, busy: false })
    if (flying.current && flying.current.surface !== asked.surface) {
      flying.current.abort.abort()
      flying.current = null
    }
    send()
  }, [JSON.stringify(request(setup)), stored])
  useEffect(() => () => flying.current?.abort.abort(), [])
  return held
}

function Races({ data, study }: { data: Playground; study: string | null }): JSX.Element {
  const [setup, put] = useSetup(data, study)
  const preset = data.presets.find((one) => one.id === setup.preset)
  const { race, error, busy } = useRace(setup, preset)
  const surface = data.surfaces.find((one) => one.id === setup.surface) ?? data.surfaces[0]
  const theme = useTheme() // in the dark the colours are lighter
  const named = useMemo(() => looks(setup, data.rules), [setup, data, theme])
  const fits = race !== null && race.asked.surface === surface.id && race.running.every((row) => row < named.length)
  const all = useMemo(() => (fits ? tracks(race.result, race.running, named) : []), [race, fits, named])
  const last = longest(all)
  const playback = usePlayback(last)
  const [bright, setBright] = useState<number | null>(null)
  const replay = useRef(true) // whether the next result is played from its start

  const change = (part: Partial<Setup>): void => put({ ...setup, ...part, changed: setup.preset !== null })
  const choose = (one: Preset): void => {
    replay.current = true
    put(ofPreset(one))
  }
  const moveTo = (id: string): void => {
    const next = data.surfaces.find((one) => one.id === id)
    if (!next) return
    replay.current = true
    put({ ...setup, surface: id, start: next.start, goal: null, preset: null, changed: false })
  }
  useEffect(() => {
    if (!race) return
    if (replay.current && !still()) playback.play(0)
    else playback.show(Infinity)
    replay.current = false
  }, [race])

  return (
    <div
      class="playground"
      data-live={data.live ? "yes" : "no"}
      data-busy={busy ? "yes" : "no"}
      data-preset={setup.preset ?? ""}
      data-seconds={race?.result.seconds ?? ""}
    >
      <Presets presets={data.presets} chosen={setup.preset} changed={setup.changed} choose={choose} />
      {!data.live && (
        <p class="note" role="note">
          This is a report: it holds the finished races above. To move the sliders, open the playground with{" "}
          <code>thalweg show</code>.
        </p>
      )}
      <div class="playground-main">
        <div class="playground-left">
          <Title surface={surface} surfaces={data.surfaces} live={data.live} moveTo={moveTo} />
          <Arena
            surface={surface}
            tracks={all}
            at={playback.at}
            start={setup.start}
            bright={bright}
            fixed={!data.live}
            onStart={(start, moving) => {
              replay.current = !moving
              if (!moving && start[0] === setup.start[0] && start[1] === setup.start[1]) playback.play(0)
              else change({ start })
            }}
            onPlay={() => (playback.playing ? playback.pause() : playback.play(playback.at >= last ? 0 : playback.at))}
          />
          <Player playback={playback} last={last} />
          {error && <Trouble failure={error} />}
          {data.live && (
            <p class="link soft">
              A link to this race: <Copy text={link(setup, study)} />
            </p>
          )}
          <p class="shows">
            <b>It shows:</b> {surface.shows} <b>It does not show:</b> {surface.does_not_show}{" "}
            <span class="soft">Source: {surface.source}.</span>
          </p>
        </div>
        <fieldset class="playground-side" disabled={!data.live}>
          <legend class="unseen">What races</legend>
          <Racers setup={setup} rules={data.rules} looks={named} change={change} bright={setBright} />
          <Everyone setup={setup} change={change} />
        </fieldset>
      </div>
      <Standings
        tracks={all}
        goal={setup.goal === null ? surface.goal : setup.goal > 0 ? `within ${setup.goal} of a lowest minimum` : null}
        bright={setBright}
      />
      <Heights tracks={all} surface={surface} at={playback.playing ? null : playback.at} />
    </div>
  )
}

/** The address of a race, whole. */
function link(setup: Setup, study: string | null): string {
  const params = new URLSearchParams()
  for (const [key, value] of Object.entries(written(setup))) if (value !== null) params.set(key, value)
  return location.href.split("#")[0] + address(study, "playground", params)
}

function Presets(props: {
  presets: Preset[]
  chosen: string | null
  changed: boolean
  choose: (one: Preset) => void
}): JSX.Element {
  const list = useRef<HTMLUListElement>(null)
  useEffect(() => {
    const [strip, card] = [list.current, list.current?.querySelector<HTMLElement>("[aria-pressed=true]")]
    if (strip && card)
      strip.scrollTo({ left: card.offsetLeft - strip.offsetLeft - 40, behavior: still() ? "auto" : "smooth" })
  }, [props.chosen])
  return (
    <ul class="presets" aria-label="Demonstrations" ref={list}>
      {props.presets.map((one) => {
        const here = one.id === props.chosen
        return (
          <li key={one.id}>
            <button type="button" aria-pressed={here} data-preset={one.id} onClick={() => props.choose(one)}>
              <b>{one.title}</b>
              <span>
                <i>See:</i> {one.see}
              </span>
              <span class="soft">
                <i>Not:</i> {one.not}
              </span>
              {here && props.changed && <em>Changed: the numbers above are of the untouched race.</em>}
            </button>
          </li>
        )
      })}
    </ul>
  )
}

function Title(props: {
  surface: SurfaceView
  surfaces: SurfaceView[]
  live: boolean
  moveTo: (id: string) => void
}): JSX.Element {
  const planes = props.surfaces.filter((one) => one.kind === "plane")
  const options = (some: SurfaceView[]): JSX.Element[] =>
    some.map((one) => (
      <option key={one.id} value={one.id}>
        {one.name}
      </option>
    ))
  return (
    <div class="arena-title">
      <select
        aria-label="Surface"
        value={props.surface.id}
        disabled={!props.live}
        onChange={(event) => props.moveTo(event.currentTarget.value)}
      >
        {planes.length > 0 && <optgroup label="Planes of your models">{options(planes)}</optgroup>}
        <optgroup label="Formulas">{options(props.surfaces.filter((one) => one.kind === "classic"))}</optgroup>
      </select>
      <span class="formula">{props.surface.formula}</span>
    </div>
  )
}
