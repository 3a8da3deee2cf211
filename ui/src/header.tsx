/** The head of the page: the study, how it is doing, the views. */
import type { JSX } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import type { ViewEntry } from "./app"
import { count, counted, duration } from "./format"
import { type Mode, mode, setMode } from "./palette"
import { Code } from "./parts"
import { Failure, mayRun, source, useDocument } from "./source"
import { address, go } from "./state"
import type { Head, Job } from "./types"

interface HeaderProps {
  head: Head | null
  study: string | null
  view: string
  tabs: ViewEntry[]
  onHelp: () => void
}

export function Header(props: HeaderProps): JSX.Element {
  const home = useDocument(source.home, ["home"]).value
  const strip = useRef<HTMLElement>(null)
  useEffect(() => {
    const chosen = strip.current?.querySelector<HTMLElement>("[aria-selected=true]")
    if (!strip.current || !chosen) return
    strip.current.scrollLeft = chosen.offsetLeft - (strip.current.clientWidth - chosen.offsetWidth) / 2
  }, [props.view, props.tabs.length])
  const studies = home?.studies ?? []
  return (
    <header class="top">
      <div class="bar">
        <a class="brand" href={address(null, "home")} aria-label="thalweg: all studies">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <path d="M3 5c5 0 6 20 13 20S24 5 29 5" />
            <circle cx="16" cy="25" r="3.6" />
          </svg>
          <span>thalweg</span>
        </a>
        {studies.length > 0 && (
          <select
            class="picker"
            aria-label="Study"
            value={props.study ?? ""}
            onChange={(event) =>
              go({ study: event.currentTarget.value || null, view: event.currentTarget.value ? "verdict" : "home" })
            }
          >
            <option value="">All studies</option>
            {studies.map((study) => (
              <option key={study.id} value={study.id}>
                {study.name}
              </option>
            ))}
          </select>
        )}
        <span class="gap" />
        <ThemeButton />
        <button type="button" class="quiet" onClick={props.onHelp} aria-label="Keys" title="Keys (?)">
          ?
        </button>
      </div>
      {props.head && <StatusLine head={props.head} />}
      {props.view !== "home" && (
        <nav class="tabs" role="tablist" aria-label="Views" ref={strip} onKeyDown={(event) => turn(event, props)}>
          {props.tabs.map((tab) => {
            const chosen = tab.name === props.view
            return (
              <a
                key={tab.name}
                id={`tab-${tab.name}`}
                role="tab"
                aria-selected={chosen}
                aria-controls="main"
                tabIndex={chosen ? 0 : -1}
                href={address(props.study, tab.name)}
                data-title={tab.title}
              >
                {tab.title}
              </a>
            )
          })}
        </nav>
      )}
    </header>
  )
}

/** Arrow keys walk along the tabs. */
function turn(event: KeyboardEvent, { tabs, view }: HeaderProps): void {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
  if (by === undefined) return
  event.preventDefault()
  const at = tabs.findIndex((tab) => tab.name === view)
  const next = tabs[(at + by + tabs.length) % tabs.length]
  go({ view: next.name })
  document.getElementById(`tab-${next.name}`)?.focus()
}

const STATUS = { running: "running", complete: "complete", interrupted: "interrupted" }

function StatusLine({ head }: { head: Head }): JSX.Element {
  const { progress } = head
  const facts = [
    counted(progress.runs, "run"),
    head.status === "running" && progress.running > 0 ? `${count(progress.running)} running now` : null,
    progress.diverged > 0 ? `${count(progress.diverged)} diverged` : null,
    `${count(progress.samples)} samples`,
    duration(progress.seconds),
    head.budget ? `budget ${head.budget}` : null,
  ].filter((fact) => fact !== null)
  return (
    <div class="status-line" data-status={head.status} data-runs={progress.runs}>
      <span class={`status ${head.status}`}>{STATUS[head.status]}</span>
      <span class="soft">{facts.map((fact) => fact.replaceAll(" ", "\u00a0")).join("\u00a0· ")}</span>
      {head.status === "interrupted" && <Resume head={head} />}
    </div>
  )
}

/** An interrupted study: offers to go on, here or in a terminal. */
function Resume({ head }: { head: Head }): JSX.Element {
  const [job, setJob] = useState<Job | null>(null)
  const [failure, fail] = useState<Failure | null>(null)
  const start = async (): Promise<void> => {
    if (!mayRun(head.code)) return
    try {
      const started = await source.resume(head.id, head.code)
      setJob(started)
      source.job(started.id, setJob)
    } catch (error) {
      fail(error instanceof Failure ? error : new Failure("broken", String(error)))
    }
  }
  return (
    <div class="resume" role="group" aria-label="Resume">
      <p>The study stopped before its end. What was trained is kept, and it goes on from there.</p>
      {head.resume && <Code text={head.resume} label="the command that resumes" />}
      {source.live && head.goes_on && (
        <button type="button" class="primary" disabled={job?.status === "running"} onClick={() => void start()}>
          Resume here
        </button>
      )}
      {(job || failure) && <p role="status">{failure?.message ?? job?.said}</p>}
    </div>
  )
}

const MODES: Record<Mode, { next: Mode; sign: string }> = {
  auto: { next: "light", sign: "◐" },
  light: { next: "dark", sign: "☀" },
  dark: { next: "auto", sign: "☾" },
}

function ThemeButton(): JSX.Element {
  const [now, set] = useState(mode)
  const { next, sign } = MODES[now]
  const turn = (): void => {
    setMode(next)
    set(next)
  }
  return (
    <button
      type="button"
      class="quiet"
      onClick={turn}
      aria-label={`Theme: ${now}`}
      title={`Theme: ${now}`}
      data-mode={now}
    >
      <span aria-hidden="true">{sign}</span>
    </button>
  )
}
