/** The frame of the page: which study, its status, which view; the keys; the theme. */
import type { ComponentType, JSX } from "preact"
import { useEffect, useMemo, useRef, useState } from "preact/hooks"
import { Trouble } from "./parts"
import { Header } from "./header"
import { useTheme } from "./palette"
import { documentsChanged, Failure, type Said, source, useDocument } from "./source"
import { areShortcutsOn, setShortcuts } from "./shortcuts"
import { go, usePlace } from "./state"
import type { Head } from "./types"

export type ViewProps = { head: Head | null }
type Loader = () => Promise<{ default: ComponentType<ViewProps> }>

export interface ViewEntry {
  name: string
  title: string
  load: Loader
  alone?: boolean // has something to show without a study
  shown?: (head: Head) => boolean
}

/** The views in the order of their tabs and keys. */
export const VIEWS: ViewEntry[] = [
  { name: "verdict", title: "Verdict", load: () => import("./views/verdict") },
  { name: "curves", title: "Curves", load: () => import("./views/curves") },
  { name: "rates", title: "Learning rate", load: () => import("./views/rates") },
  { name: "layers", title: "Layers", load: () => import("./views/layers") },
  { name: "landscape", title: "Landscape", load: () => import("./views/landscape") },
  { name: "findings", title: "Findings", load: () => import("./views/findings") },
  { name: "shift", title: "Shift", load: () => import("./views/shift"), shown: (head) => head.has.shift },
  { name: "playground", title: "Playground", load: () => import("./views/playground"), alone: true },
]
const HOME: ViewEntry = { name: "home", title: "Studies", load: () => import("./views/home"), alone: true }

const loaded = new Map<string, ComponentType<ViewProps>>()

/** The view's component once its chunk is here. */
function useView(entry: ViewEntry): ComponentType<ViewProps> | Failure | null {
  const [state, set] = useState<{ name: string; failure: Failure | null }>({ name: "", failure: null })
  useEffect(() => {
    let current = true
    if (loaded.has(entry.name)) return
    entry.load().then(
      (module) => {
        loaded.set(entry.name, module.default)
        if (current) set({ name: entry.name, failure: null })
      },
      () =>
        current &&
        set({ name: entry.name, failure: new Failure("offline", "This view could not be loaded.", "thalweg show") }),
    )
    return () => {
      current = false
    }
  }, [entry])
  return loaded.get(entry.name) ?? (state.name === entry.name ? state.failure : null)
}

const RECENT = 900 // seconds in which documents may still be added to a complete study

const LISTED = 2000 // milliseconds after which the list of studies is asked for again

/** The study's head, kept up to date while something may change. */
function useHead(id: string | null): { head: Head | null; error: Failure | null } {
  const [said, say] = useState<Said | null>(null)
  const { value, error } = useDocument<Head | null>(() => (id === null ? Promise.resolve(null) : source.head(id)), [id])
  const open = value !== null && (value.status !== "complete" || Date.now() / 1000 - value.modified < RECENT)
  useEffect(() => {
    say(null)
    if (id === null || !open) return
    return source.watch(id, null, { documents: documentsChanged, status: say })
  }, [id, open])
  useEffect(() => {
    if (said && value && said.status !== value.status) documentsChanged()
  }, [said?.status])
  const known = value?.status === "complete" && said?.status === "complete" // the head is then of the verdict
  const now = value && said && !known && value.id === id ? { ...value, ...said } : value
  return { head: useMemo(() => now, [value, said]), error }
}

export function App(): JSX.Element {
  const { study, view } = usePlace()
  useTheme() // colours are read while drawing: all is drawn again when the theme changes
  const { head, error } = useHead(study)
  const tabs = VIEWS.filter((entry) => (head ? (entry.shown?.(head) ?? true) : entry.alone))
  const entry = [HOME, ...VIEWS].find((one) => one.name === view) ?? HOME
  const View = useView(entry)
  const [help, setHelp] = useState(false)
  useKeys(tabs, help, setHelp)
  useEffect(() => {
    document.title = [entry.title, head?.name, "thalweg"].filter(Boolean).join(" · ")
  }, [entry, head?.name])
  const listing = study === null && entry === HOME && source.live
  useEffect(() => {
    if (!listing) return
    const again = setInterval(() => document.hidden || documentsChanged(), LISTED)
    return () => clearInterval(again)
  }, [listing])
  const ready = study === null || head !== null
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}
      >
        Skip to the view
      </a>
      <Header head={head} study={study} view={entry.name} tabs={tabs} onHelp={() => setHelp(true)} />
      <main
        id="main"
        tabIndex={-1}
        data-view={entry.name}
        data-ready={ready && typeof View === "function" ? "yes" : "no"}
      >
        <div
          role={entry === HOME ? undefined : "tabpanel"}
          aria-labelledby={entry === HOME ? undefined : `tab-${entry.name}`}
        >
          {error ? (
            <Trouble failure={error} />
          ) : View instanceof Failure ? (
            <Trouble failure={View} />
          ) : ready && View ? (
            <View head={head} key={`${study}/${entry.name}`} />
          ) : (
            <p class="loading" role="status">
              Loading …
            </p>
          )}
        </div>
      </main>
      {help && <Keys tabs={tabs} close={() => setHelp(false)} />}
    </>
  )
}

/** 1 to 8 switch views, h goes home, ? shows the keys. */
function useKeys(tabs: ViewEntry[], help: boolean, setHelp: (open: boolean) => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const where = event.target as HTMLElement
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(where.tagName)) return
      if (!areShortcutsOn() && event.key !== "?") return
      const chosen = VIEWS[Number(event.key) - 1]
      if (chosen && tabs.includes(chosen)) go({ view: chosen.name })
      else if (event.key === "h") go({ study: null, view: "home" })
      else if (event.key === "?") setHelp(!help)
      else return
      event.preventDefault()
    }
    addEventListener("keydown", pressed)
    return () => removeEventListener("keydown", pressed)
  }, [tabs, help, setHelp])
}

function Keys({ tabs, close }: { tabs: ViewEntry[]; close: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => dialog.current?.showModal(), [])
  const rows: [string, string][] = [
    ...tabs.map((tab): [string, string] => [String(VIEWS.indexOf(tab) + 1), tab.title]),
    ["h", "All studies"],
    ["x  y", "Curves: log axes on and off"],
    ["← →", "On a chart: move the cursor"],
    ["+ − 0", "On a chart: zoom in, out, show all"],
    ["⇧ ← →", "On a chart: move what is zoomed"],
    ["?", "These keys"],
  ]
  return (
    <dialog class="keys" ref={dialog} onClose={close} aria-labelledby="keys-title">
      <h2 id="keys-title">Keys</h2>
      <dl>
        {rows.map(([key, what]) => [
          <dt key={key}>
            <kbd>{key}</kbd>
          </dt>,
          <dd key={what}>{what}</dd>,
        ])}
      </dl>
      <label>
        <input
          type="checkbox"
          defaultChecked={areShortcutsOn()}
          onChange={(event) => setShortcuts(event.currentTarget.checked)}
        />{" "}
        Single keys work anywhere on the page
      </label>
      <button type="button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  )
}
