/** What is raced: the reader's choice, kept in the address, and the request that it makes. */
import { colour, dash } from "../palette"
import type { Num, Playground, Preset, RaceRequest, RuleView, SurfaceView } from "../types"

export interface Entrant {
  rule: string
  options: Record<string, number>
  on: boolean
}

export interface Setup {
  preset: string | null
  changed: boolean // whether anything differs from the preset
  surface: string
  start: [number, number]
  steps: number
  noise: number
  clip: Num
  seed: number
  goal: Num
  racers: Entrant[]
}

export type Option = RuleView["options"][number]

const FIRST = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam"]
const STEPS = 300
export const MOST = 16

/** What the sliders of a rule say at first. */
export function settings(rule: RuleView): Record<string, number> {
  return Object.fromEntries(rule.options.map((option) => [option.name, option.value]))
}

function fresh(data: Playground, surface: SurfaceView): Setup {
  const racers = FIRST.flatMap((name) => data.rules.filter((rule) => rule.name === name))
  return {
    preset: null,
    changed: false,
    surface: surface.id,
    start: surface.start,
    steps: STEPS,
    noise: 0,
    clip: null,
    seed: 0,
    goal: null,
    racers: racers.map((rule) => ({ rule: rule.name, options: { lr: settings(rule).lr }, on: true })),
  }
}

export function ofPreset(preset: Preset): Setup {
  const { surface, start, steps, noise, clip, seed, goal, racers } = preset
  const entrants = racers.map(({ rule, options }) => ({ rule, options: { ...options }, on: true }))
  return { preset: preset.id, changed: false, surface, start, steps, noise, clip, seed, goal, racers: entrants }
}

const KEYS = ["p", "s", "at", "n", "noise", "clip", "seed", "goal", "r"]

/** The setup that an address names; what it leaves out is the preset's, or the surface's own. */
export function read(params: URLSearchParams, data: Playground, study: string | null): Setup {
  const preset = data.presets.find((one) => one.id === params.get("p"))
  const own = data.surfaces.find((one) => study !== null && one.id.startsWith(`${study}:`))
  const usual = own ?? data.surfaces.find((one) => one.id === "beale") ?? data.surfaces[0]
  const named = data.surfaces.find((one) => one.id === params.get("s"))
  const stored = data.presets.find((one) => one.surface === own?.id) ?? data.presets[0]
  const base = preset ? ofPreset(preset) : data.live ? fresh(data, named ?? usual) : ofPreset(stored)
  if (!data.live) return base
  const found = { ...base, surface: named?.id ?? base.surface }
  const numeric = (key: string, old: Num): Num => {
    const text = params.get(key)
    if (text === "none") return null
    return text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : old
  }
  const at = params.get("at")?.split(",").map(Number)
  if (at?.length === 2 && at.every(Number.isFinite)) found.start = [at[0], at[1]]
  found.steps = Math.round(numeric("n", base.steps) ?? base.steps)
  found.noise = numeric("noise", base.noise) ?? 0
  found.clip = numeric("clip", base.clip)
  found.seed = Math.round(numeric("seed", base.seed) ?? 0)
  found.goal = numeric("goal", base.goal)
  const racers = params
    .get("r")
    ?.split(";")
    .flatMap((text) => entrant(text, data))
    .slice(0, MOST)
  if (racers?.length) found.racers = racers
  found.changed = preset !== undefined && KEYS.some((key) => key !== "p" && params.has(key))
  return found
}

function entrant(text: string, data: Playground): Entrant[] {
  const [head, ...rest] = text.replace(/^-/, "").split(",")
  if (!data.rules.some((rule) => rule.name === head)) return []
  const pairs = rest.map((pair) => pair.split("=")).filter(([name, value]) => name && Number.isFinite(Number(value)))
  const options = Object.fromEntries(pairs.map(([name, value]) => [name, Number(value)]))
  return [{ rule: head, options, on: !text.startsWith("-") }]
}

/** The address of a setup: a preset that was not touched is its name alone. */
export function written(setup: Setup): Record<string, string | null> {
  const none = Object.fromEntries(KEYS.map((key) => [key, null]))
  if (setup.preset && !setup.changed) return { ...none, p: setup.preset }
  const short = (value: Num): string => (value === null ? "none" : String(Number(value.toPrecision(6))))
  const racers = setup.racers.map(({ rule, options, on }) =>
    [`${on ? "" : "-"}${rule}`, ...Object.entries(options).map(([name, value]) => `${name}=${short(value)}`)].join(","),
  )
  return {
    p: setup.preset,
    s: setup.surface,
    at: setup.start.map(short).join(","),
    n: String(setup.steps),
    noise: short(setup.noise),
    clip: short(setup.clip),
    seed: String(setup.seed),
    goal: short(setup.goal),
    r: racers.join(";"),
  }
}

/** What the server is asked; null where nobody races. */
export function request(setup: Setup): RaceRequest | null {
  const { surface, start, steps, noise, clip, seed, goal } = setup
  const racers = setup.racers.filter((one) => one.on).map(({ rule, options }) => ({ rule, options }))
  return racers.length > 0 ? { surface, start, steps, noise, clip, seed, goal, racers } : null
}

export interface Look {
  name: string
  colour: string
  dash: number[]
}

/** How each entrant is named and drawn: its place in the list decides, so that switching others off changes nothing. */
export function looks(setup: Setup, rules: RuleView[]): Look[] {
  return setup.racers.map((one, i) => {
    const rule = rules.find((other) => other.name === one.rule)
    const twins = setup.racers.filter((other) => other.rule === one.rule)
    const all = (other: Entrant): Record<string, number> => ({ ...(rule ? settings(rule) : {}), ...other.options })
    const names = Object.keys(all(one)).concat(Object.keys(one.options))
    const apart = [...new Set(names)].filter((name) => twins.some((twin) => all(twin)[name] !== all(one)[name]))
    const told = apart.flatMap((name) => difference(name, all(one)[name] ?? 0, rule))
    const label = rule?.label ?? one.rule
    return { name: [label, ...told].join(", "), colour: colour(i), dash: dash(i) }
  })
}

/** What tells a racer from others of its rule. */
function difference(name: string, value: number, rule: RuleView | undefined): string[] {
  if (name === "fall")
    return value > 0
      ? [value === 1 ? "falling as 1/t" : value === 0.5 ? "falling as 1/√t" : `falling as t^−${plain(value)}`]
      : []
  if (name === "counted") return value > 0 ? ["uncorrected"] : []
  const label = rule?.options.find((option) => option.name === name)?.label ?? name
  return [`${label.split(" ").pop() ?? label} ${plain(value)}`]
}

/** A number as it is typed: three digits that matter, of 0.9999 four. */
export function plain(value: number): string {
  const close = value > 0.99 && value < 1
  return String(Number(value.toPrecision(close ? 5 : 4)))
}

/** Where a value stands between the ends of its slider, from 0 to 1. */
export function share({ low, high, scale }: Pick<Option, "low" | "high" | "scale">, value: number): number {
  const inside = Math.min(Math.max(value, low), high)
  if (scale === "log") return Math.log(inside / low) / Math.log(high / low)
  if (scale === "one-minus-log") return Math.log((1 - low) / (1 - inside)) / Math.log((1 - low) / (1 - high))
  return (inside - low) / (high - low)
}

/** The value at a share of the slider's length: of three digits, so that every step of a slider is another value. */
export function valueAt({ low, high, scale }: Pick<Option, "low" | "high" | "scale">, at: number): number {
  if (scale === "log") return Number((low * (high / low) ** at).toPrecision(3))
  if (scale === "one-minus-log")
    return Number((1 - Number(((1 - low) * ((1 - high) / (1 - low)) ** at).toPrecision(3))).toPrecision(6))
  return Number((low + at * (high - low)).toPrecision(3))
}
