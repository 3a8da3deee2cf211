/** Where the reader is: `#/STUDY/VIEW?key=value`, so that a link is a view. */
import { useEffect, useState } from "preact/hooks"

export interface Place {
  study: string | null
  view: string
  params: URLSearchParams
}

const NO_STUDY = "~" // stands for the study in the address of a view that has none
const REST = 200 // milliseconds without a change before the address is written: browsers count how often that is done
const listeners = new Set<() => void>()
let unwritten: string | null = null
let timer = 0

/** Writes the address if it is behind. */
function write(): void {
  clearTimeout(timer)
  if (unwritten !== null) history.replaceState(null, "", unwritten)
  unwritten = null
}

/** The place that the address names, or will name in a moment. */
export function place(): Place {
  const [path, query] = (unwritten ?? location.hash).replace(/^#\/?/, "").split("?", 2)
  const [study, view] = decoded(path)
  const named = study && study !== NO_STUDY ? study : null
  return { study: named, view: view || (named ? "verdict" : "home"), params: new URLSearchParams(query ?? "") }
}

/** The parts of a path; none of one that nobody wrote. */
function decoded(path: string): string[] {
  try {
    return path.split("/").map(decodeURIComponent)
  } catch {
    return []
  }
}

/** The address of a place, for a link. */
export function address(study: string | null, view: string, params?: URLSearchParams): string {
  const query = params?.toString()
  if (study === null && view === "home") return "#/"
  return `#/${encodeURIComponent(study ?? NO_STUDY)}/${view}${query ? `?${query}` : ""}`
}

/** Goes elsewhere: a new study or view is a new entry of the history, a changed parameter replaces the entry. */
export function go(change: { study?: string | null; view?: string; params?: Record<string, string | null> }): void {
  const now = place()
  const moved = change.study !== undefined || change.view !== undefined
  const params = moved ? new URLSearchParams() : now.params
  for (const [key, value] of Object.entries(change.params ?? {})) {
    if (value === null) params.delete(key)
    else params.set(key, value)
  }
  const study = change.study === undefined ? now.study : change.study
  const target = address(study, change.view ?? (change.study === undefined ? now.view : "verdict"), params)
  if (moved) {
    write()
    history.pushState(null, "", target)
  } else {
    clearTimeout(timer)
    unwritten = target
    timer = window.setTimeout(write, REST)
  }
  listeners.forEach((told) => told())
}

/** The place, followed. */
export function usePlace(): Place {
  const [current, set] = useState(place)
  useEffect(() => {
    const told = (): void => set(place())
    const moved = (): void => {
      unwritten = null
      told()
    }
    listeners.add(told)
    addEventListener("hashchange", moved)
    addEventListener("popstate", moved)
    told()
    return () => {
      listeners.delete(told)
      removeEventListener("hashchange", moved)
      removeEventListener("popstate", moved)
    }
  }, [])
  return current
}

/** A value kept in the address: the text, or `fallback` where the address has none. */
export function useParam(key: string, fallback: string): [string, (value: string) => void] {
  const { params } = usePlace()
  return [params.get(key) ?? fallback, (value) => go({ params: { [key]: value === fallback ? null : value } })]
}
