/** Colours: Okabe and Ito's for the entrants (for the colour-blind too), viridis for numbers, the theme's greys. */
import { useEffect, useState } from "preact/hooks"

const ENTRANTS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c7a00"]
// The same, lighter where they are dark.
const ON_DARK = ["#3f9fe0", "#e69f00", "#14b487", "#ee6c2b", "#dd92ba", "#84ccf4", "#bfae3a"]
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [16, 5], [5, 2, 2, 2, 2, 2], [4, 6], [12, 2, 4, 2]]

/** The colour of the entrant at `index` of `Head.entrants`, in the theme of now. */
export function colour(index: number): string {
  const shown = document.documentElement.dataset.theme === "dark" ? ON_DARK : ENTRANTS
  return shown[((index % shown.length) + shown.length) % shown.length]
}

/** Its dash pattern in pixels; the pattern tells entrants apart without colour. */
export function dash(index: number): number[] {
  return DASHES[((index % DASHES.length) + DASHES.length) % DASHES.length]
}

/** The colour and dash of a name among the entrants; a name that is not among them has the colours after theirs. */
export function look(name: string, entrants: string[]): { colour: string; dash: number[] } {
  const found = entrants.indexOf(name)
  const index = found < 0 ? entrants.length : found
  return { colour: colour(index), dash: dash(index) }
}

// Every sixteenth of viridis (van der Walt and Smith), which grows in lightness from end to end.
const VIRIDIS = [
  "440154",
  "481a6c",
  "472f7d",
  "414487",
  "39568c",
  "31688e",
  "2a788e",
  "23888e",
  "1f988b",
  "22a884",
  "35b779",
  "54c568",
  "7ad151",
  "a5db36",
  "d2e21b",
  "f4e61e",
  "fde725",
].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)))

/** The colour of a share `t` of the way from the least to the greatest. */
export function sequential(t: number): string {
  const place = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1)
  const at = Math.min(Math.floor(place), VIRIDIS.length - 2)
  const mixed = VIRIDIS[at].map((low, i) => Math.round(low + (place - at) * (VIRIDIS[at + 1][i] - low)))
  return `rgb(${mixed[0]},${mixed[1]},${mixed[2]})`
}

export interface Theme {
  ink: string
  soft: string // text of second rank
  line: string // axes
  faint: string // grid
  paper: string
  accent: string
  good: string
  bad: string
}

const themes = new Map<string, Theme>()

/** The theme's colours as the style sheet has them now; the same object as long as the theme is the same. */
export function theme(): Theme {
  const name = document.documentElement.dataset.theme ?? "light"
  const known = themes.get(name)
  if (known) return known
  const style = getComputedStyle(document.documentElement)
  const read = (name: string): string => style.getPropertyValue(`--${name}`).trim()
  const made = {
    ink: read("ink"),
    soft: read("soft"),
    line: read("line"),
    faint: read("faint"),
    paper: read("paper"),
    accent: read("accent"),
    good: read("good"),
    bad: read("bad"),
  }
  if (made.ink) themes.set(name, made)
  return made
}

export type Mode = "auto" | "light" | "dark"
const changed = new Set<() => void>()
const system = matchMedia("(prefers-color-scheme: dark)")

/** What the reader asked for; kept where the browser allows it. */
export function mode(): Mode {
  try {
    const kept = localStorage.getItem("thalweg-theme")
    return kept === "light" || kept === "dark" ? kept : "auto"
  } catch {
    return "auto" // a file opened from disk may have no storage
  }
}

export function setMode(wanted: Mode): void {
  try {
    localStorage.setItem("thalweg-theme", wanted)
  } catch {
    // kept for this page only
  }
  apply(wanted)
}

function apply(wanted: Mode): void {
  const dark = wanted === "dark" || (wanted === "auto" && system.matches)
  document.documentElement.dataset.theme = dark ? "dark" : "light"
  changed.forEach((told) => told())
}

apply(mode())
system.addEventListener("change", () => apply(mode()))

/** The theme's colours, followed; charts draw again when it changes. */
export function useTheme(): Theme {
  const [current, set] = useState(theme)
  useEffect(() => {
    const told = (): void => set(theme())
    changed.add(told)
    told()
    return () => void changed.delete(told)
  }, [])
  return current
}
