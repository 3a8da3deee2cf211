/** Where the documents come from: the server of this page, or the data inside a report. */
import { useEffect, useState } from "preact/hooks"
import type {
  Batch,
  Curve,
  Curves,
  Findings,
  Head,
  Home,
  Job,
  Landscape,
  Layers,
  Packed,
  PackedStudy,
  Playground,
  RaceRequest,
  RaceResult,
  Rates,
  ShiftView,
  Verdict,
} from "./types"

/** Why there is nothing to show, as the server says it. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string | null = null,
    readonly status = 0,
  ) {
    super(message)
  }
}

export interface CurvesQuery {
  x: string
  y?: string | null
  phases?: string | null
  columns?: number
  from?: number | null
  to?: number | null
  log?: 1 | null // whether the x axis is logarithmic
}

/** How far a study is, as the stream says it every few seconds. */
export type Said = Pick<Head, "status" | "progress">

export interface Watcher {
  batch?: (batch: Batch) => void
  documents?: () => void
  status?: (said: Said) => void
}

export interface Source {
  live: boolean
  home(): Promise<Home>
  head(id: string): Promise<Head>
  verdict(id: string): Promise<Verdict>
  curves(id: string, query: CurvesQuery): Promise<Curves>
  holds(id: string, curves: Pick<Curves, "x" | "y" | "phase">): boolean // whether they can be asked for
  rates(id: string): Promise<Rates>
  layers(id: string): Promise<Layers>
  landscape(id: string): Promise<Landscape>
  findings(id: string): Promise<Findings>
  shift(id: string): Promise<ShiftView>
  playground(): Promise<Playground>
  race(request: RaceRequest, signal?: AbortSignal): Promise<RaceResult>
  tryRemedy(id: string, finding: number, code: string | null): Promise<Job>
  resume(id: string, code: string | null): Promise<Job>
  watch(id: string, read: Read | null, on: Watcher): () => void // nothing was read: from now on
  job(id: string, on: (job: Job) => void): () => void
}

/** Whether the file that a study names may be run: whoever made the study wrote it. */
export function mayRun(code: string | null): boolean {
  return code === null || confirm(`This runs the file ${code} on this machine. Go on only if you trust it.`)
}

async function ask<T>(path: string, init?: RequestInit): Promise<T> {
  let answer: Response
  try {
    answer = await fetch(`api/${path}`, { credentials: "same-origin", ...init })
  } catch (error) {
    if (init?.signal?.aborted) throw error
    throw new Failure("offline", "The server does not answer.", "thalweg show")
  }
  const body: unknown = await answer.json().catch(() => null)
  const said = (body as { error?: { code: string; message: string; hint: string | null } } | null)?.error
  if (answer.ok && body !== null && !said) return body as T
  if (said) throw new Failure(said.code, said.message, said.hint, answer.status)
  throw new Failure("unreadable", `The server answered ${answer.status} without a reason.`, null, answer.status)
}

function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const headers = { "Content-Type": "application/json" }
  return ask<T>(path, { method: "POST", headers, body: JSON.stringify(body), signal })
}

const ABSENT = "absent=said" // a document that is not there is an answer, not a failed request that the console tells
type Read = Pick<Curves, "cursor" | "epoch"> // how far a trace was read
const of = (id: string): string => `study/${encodeURIComponent(id)}`

const CALM = 2000 // milliseconds before the stream is opened for its news alone
const AGAIN = 3000 // milliseconds before a refused stream is asked for again

/** The stream of a study, for all who watch it. */
class Stream {
  private readonly watchers = new Set<Watcher>()
  private events: EventSource | null = null
  private asking = false
  seen: Read | null = null // what was read last
  private at = Infinity // the cursor behind what has arrived

  constructor(readonly id: string) {}

  /** One more watches; batches behind what was read are wanted. Returns what ends that. */
  join(read: Read | null, on: Watcher): () => void {
    this.watchers.add(on)
    if (read !== null && read.cursor < this.at) this.open(read)
    else if (!this.events) void this.fromNow()
    return () => {
      this.watchers.delete(on)
      if (this.watchers.size === 0) this.close()
    }
  }

  close(): void {
    this.events?.close()
    this.events = null
    this.at = Infinity
  }

  private async fromNow(): Promise<void> {
    if (this.asking) return
    this.asking = true
    await new Promise((done) => setTimeout(done, CALM)) // a view may come to read curves, which tell the cursor
    if (this.watchers.size > 0 && !this.events) {
      this.seen ??= await ask<Curves>(`${of(this.id)}/curves?columns=1`).catch(() => null)
      if (this.seen !== null && this.watchers.size > 0 && !this.events) this.open(this.seen)
    }
    this.asking = false
  }

  /** The stream was refused: the trace is another one, or the server has gone. */
  private refused(): void {
    this.close()
    this.seen = null
    setTimeout(() => {
      if (this.watchers.size === 0 || this.events) return
      this.watchers.forEach((on) => on.documents?.())
      void this.fromNow()
    }, AGAIN)
  }

  private open({ cursor, epoch }: Read): void {
    this.close()
    this.at = cursor
    const events = new EventSource(`api/${of(this.id)}/events?cursor=${epoch}.${cursor}`)
    const listen = (kind: "batch" | "documents" | "status", told: (data: unknown) => void): void =>
      events.addEventListener(kind, (event) => told(JSON.parse((event as MessageEvent<string>).data)))
    listen("batch", (data) => {
      this.at = (data as Batch).cursor
      this.watchers.forEach((on) => on.batch?.(data as Batch))
    })
    listen("documents", () => this.watchers.forEach((on) => on.documents?.()))
    listen("status", (data) => this.watchers.forEach((on) => on.status?.(data as Said)))
    events.onerror = () => events.readyState === EventSource.CLOSED && this.refused()
    this.events = events
  }
}

/** The server of this page. */
export class LiveSource implements Source {
  live = true
  private stream: Stream | null = null // one for all who watch: a browser has six connections to a server
  home = (): Promise<Home> => ask("home")
  head = (id: string): Promise<Head> => ask(`${of(id)}?${ABSENT}`)
  holds = (): boolean => true
  verdict = (id: string): Promise<Verdict> => ask(`${of(id)}/verdict?${ABSENT}`)
  rates = (id: string): Promise<Rates> => ask(`${of(id)}/rates?${ABSENT}`)
  layers = (id: string): Promise<Layers> => ask(`${of(id)}/layers?${ABSENT}`)
  landscape = (id: string): Promise<Landscape> => ask(`${of(id)}/landscape?${ABSENT}`)
  findings = (id: string): Promise<Findings> => ask(`${of(id)}/findings?${ABSENT}`)
  shift = (id: string): Promise<ShiftView> => ask(`${of(id)}/shift?${ABSENT}`)
  playground = (): Promise<Playground> => ask("playground")
  race = (request: RaceRequest, signal?: AbortSignal): Promise<RaceResult> => post("playground/race", request, signal)
  tryRemedy = (id: string, finding: number, code: string | null): Promise<Job> =>
    post(`${of(id)}/try`, { finding, code })
  resume = (id: string, code: string | null): Promise<Job> => post(`${of(id)}/resume`, { code })

  async curves(id: string, query: CurvesQuery): Promise<Curves> {
    const params = new URLSearchParams()
    for (const [key, value] of Object.entries(query)) if (value != null) params.set(key, String(value))
    const found = await ask<Curves>(`${of(id)}/curves?${params}`)
    if (this.stream?.id === id) this.stream.seen = found
    return found
  }

  watch(id: string, read: Read | null, on: Watcher): () => void {
    if (this.stream?.id !== id) {
      this.stream?.close()
      this.stream = new Stream(id)
    }
    return this.stream.join(read, on)
  }

  job(id: string, on: (job: Job) => void): () => void {
    const events = new EventSource(`api/jobs/${encodeURIComponent(id)}/events`)
    events.addEventListener("job", (event) => {
      const job = JSON.parse((event as MessageEvent<string>).data) as Job
      if (job.status !== "running") events.close()
      on(job)
    })
    return () => events.close()
  }
}

/** The data inside a report. */
export class FileSource implements Source {
  live = false
  constructor(private readonly packed: Packed) {}

  private study(id: string): PackedStudy {
    const study = this.packed.studies[id]
    if (study === undefined) throw new Failure("no-study", `This report holds no study ${id}.`)
    return study
  }

  private async part<K extends keyof PackedStudy>(id: string, key: K): Promise<NonNullable<PackedStudy[K]>> {
    const value = this.study(id)[key]
    if (value == null) throw new Failure("not-measured", `This report holds no ${key}.`)
    return value as NonNullable<PackedStudy[K]>
  }

  home = async (): Promise<Home> => this.packed.home
  head = (id: string): Promise<Head> => this.part(id, "head")
  holds = (id: string, { x, y, phase }: Pick<Curves, "x" | "y" | "phase">): boolean =>
    this.study(id).curves?.[`${x}|${y}|${phase}`] !== undefined
  verdict = (id: string): Promise<Verdict> => this.part(id, "verdict")
  rates = (id: string): Promise<Rates> => this.part(id, "rates")
  layers = (id: string): Promise<Layers> => this.part(id, "layers")
  landscape = (id: string): Promise<Landscape> => this.part(id, "landscape")
  findings = (id: string): Promise<Findings> => this.part(id, "findings")
  shift = (id: string): Promise<ShiftView> => this.part(id, "shift")

  async playground(): Promise<Playground> {
    if (this.packed.playground === null) throw new Failure("not-measured", "This report holds no playground.")
    return this.packed.playground
  }

  async curves(id: string, query: CurvesQuery): Promise<Curves> {
    const all = Object.values(await this.part(id, "curves"))
    const fits = (key: "x" | "y" | "phase", wanted: string | null | undefined, among: Curves[]): Curves[] => {
      const some = wanted == null ? among : among.filter((curves) => curves[key] === wanted)
      return some.length > 0 ? some : among
    }
    const [found] = fits("x", query.x, fits("phase", query.phases, fits("y", query.y, all)))
    if (found === undefined) throw new Failure("not-measured", "This report holds no curves.")
    const inside = (run: Curve): Curve => between(run, query.from ?? -Infinity, query.to ?? Infinity)
    const held = <K extends "y" | "phase">(key: K): string[] => [...new Set(all.map((curves) => curves[key]))]
    const groups = found.groups.map((group) => ({ ...group, runs: group.runs.map(inside) }))
    return { ...found, ys: held("y"), phases: held("phase"), groups }
  }

  race(): Promise<RaceResult> {
    return Promise.reject(new Failure("in-a-report", "A report holds finished races only.", "thalweg show"))
  }

  tryRemedy(): Promise<Job> {
    return Promise.reject(new Failure("in-a-report", "A report cannot train.", "thalweg show"))
  }

  resume(): Promise<Job> {
    return Promise.reject(new Failure("in-a-report", "A report cannot train.", "thalweg show"))
  }

  watch = (): (() => void) => () => undefined
  job = (): (() => void) => () => undefined
}

/** The part of a run between two places, with a point more on either side so that the line crosses the border. */
function between(run: Curve, from: number, to: number): Curve {
  const first = run.x.findIndex((x) => x >= from)
  if (first < 0) return { ...run, x: [], y: [] }
  const past = run.x.findIndex((x) => x > to)
  const [start, end] = [Math.max(first - 1, 0), past < 0 ? run.x.length : past + 1]
  return { ...run, x: run.x.slice(start, end), y: run.y.slice(start, end) }
}

const inside = document.getElementById("thalweg-data")
export const source: Source = inside ? new FileSource(JSON.parse(inside.textContent ?? "") as Packed) : new LiveSource()

/** How often the server said that documents changed; every `useDocument` loads again when it grows. */
let version = 0
const waiting = new Set<(version: number) => void>()

export function documentsChanged(): void {
  version += 1
  waiting.forEach((told) => told(version))
}

export interface Loaded<T> {
  value: T | null
  error: Failure | null
  loading: boolean
}

/** A document, loaded again when a key changes; the old one stays until then, unless the first key changed. */
export function useDocument<T>(load: () => Promise<T>, keys: unknown[]): Loaded<T> {
  const [seen, see] = useState(version)
  const [held, hold] = useState<Loaded<T> & { of: unknown }>({ value: null, error: null, loading: true, of: keys[0] })
  useEffect(() => {
    waiting.add(see)
    return () => void waiting.delete(see)
  }, [])
  useEffect(() => {
    let current = true
    hold((old) => ({ value: old.of === keys[0] ? old.value : null, error: null, loading: true, of: keys[0] }))
    load().then(
      (value) => current && hold({ value, error: null, loading: false, of: keys[0] }),
      (error: unknown) => {
        const failure = error instanceof Failure ? error : new Failure("broken", String(error))
        if (current) hold({ value: null, error: failure, loading: false, of: keys[0] })
      },
    )
    return () => {
      current = false
    }
  }, [...keys, seen])
  return held.of === keys[0] ? held : { value: null, error: null, loading: true }
}
