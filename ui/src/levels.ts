// Which heights a surface is cut at: round numbers, evenly apart as the values ask for it.

import { known, type Values } from "./contours"
import { tick } from "./format"

export type Spacing = "linear" | "log" | "rise"

export interface Levels {
  values: number[]
  spacing: Spacing // log: evenly in the logarithm; rise: evenly in the logarithm of the height above the lowest value
  low: number // the least and the greatest value there are
  high: number
  top: number // up to where it was cut; higher values are not told apart
  n: number // how many values are known
}

const SERIES = [
  [1],
  [1, 3],
  [1, 2, 5],
  [1, 1.5, 2, 3, 5, 7],
  [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8],
  [1, 1.1, 1.2, 1.35, 1.5, 1.7, 2, 2.2, 2.5, 2.8, 3.2, 3.6, 4, 4.5, 5, 5.5, 6, 7, 8, 9],
]

function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1)
  const below = Math.floor(at)
  return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below])
}

function rounded(value: number): number {
  return Number(value.toPrecision(12))
}

function even(low: number, high: number, count: number): number[] {
  const rough = (high - low) / (count + 1)
  const unit = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((m) => m * unit).find((s) => s >= rough * (1 - 1e-9)) ?? 10 * unit
  const levels: number[] = []
  for (let k = Math.floor(low / step) + 1; k * step < high; k++) levels.push(rounded(k * step))
  return levels
}

function geometric(low: number, high: number, count: number): number[] {
  const decades: number[] = []
  for (let k = Math.floor(Math.log10(low)); 10 ** k < high; k++) decades.push(k)
  const made = (series: number[]): number[] =>
    decades.flatMap((k) => series.map((m) => rounded(m * 10 ** k))).filter((v) => v > low && v < high)
  const fitting = SERIES.map(made).filter((levels) => levels.length > 0 && levels.length <= count)
  if (fitting.length > 0) return fitting[fitting.length - 1]
  const skip = Math.ceil(decades.length / count)
  return made([1]).filter((_, k) => k % skip === 0)
}

/** A level with as few digits as tell it from its neighbours: it is off by a tenth of the way to the nearer one at most. */
export function named(level: number, { values }: Levels): string {
  const gap = Math.min(...values.filter((other) => other !== level).map((other) => Math.abs(other - level)), Infinity)
  for (let digits = 1; digits < 12; digits += 1) {
    const short = Number(level.toPrecision(digits))
    if (Math.abs(short - level) <= 0.1 * Math.min(gap, Math.abs(level))) return tick(short)
  }
  return tick(level)
}

/**
 * About `count` round levels between the values" lowest and highest.
 *
 * Positive values that span more than a factor of four are cut evenly in their logarithm; others whose lower half
 * lies in the lowest tenth are cut evenly in the logarithm of their height above the lowest. Both leave out what a few
 * values that blew up would ask for: the highest level is at most ten times that below which 95 of 100 values lie.
 */
export function levels(values: Values, count = 14, spacing?: Spacing): Levels {
  const sorted = values.filter(known).sort((a, b) => a - b)
  const n = sorted.length
  if (n === 0) return { values: [], spacing: "linear", low: NaN, high: NaN, top: NaN, n }
  const [low, high, middle] = [sorted[0], sorted[n - 1], quantile(sorted, 0.5)]
  const chosen = spacing ?? (low > 0 && high > 4 * low ? "log" : middle - low < (high - low) / 10 ? "rise" : "linear")
  const of = (cut: number[], used: Spacing, top = high): Levels => ({ values: cut, spacing: used, low, high, top, n })
  if (!(high > low)) return of([], chosen)
  if (chosen === "log" && low > 0) {
    const top = Math.min(high, 10 * quantile(sorted, 0.95))
    return of(geometric(low, top, count), chosen, top)
  }
  if (chosen === "rise") {
    const top = Math.min(high - low, 10 * (quantile(sorted, 0.95) - low))
    const bottom = Math.max(quantile(sorted, 0.02) - low, top * 1e-4, 1e-300)
    if (top > bottom)
      return of(
        geometric(bottom, top, count).map((rise) => rounded(low + rise)),
        chosen,
        low + top,
      )
  }
  return of(even(low, high, count), "linear")
}

/** The levels of several surfaces drawn side by side, so that a colour means the same on all of them. */
export function shared(surfaces: readonly Values[], count = 14): Levels {
  return levels(surfaces.flat(), count)
}

/** Which share of the way from the lowest to the highest a value is at, evenly as the levels are. */
export function share({ spacing, low, top, values }: Levels): (value: number) => number {
  if (!(top > low)) return () => 0
  const unit = spacing === "rise" && values.length > 0 ? values[0] - low : 1
  const place = (value: number): number =>
    spacing === "log" ? Math.log(value) : spacing === "rise" ? Math.log1p((value - low) / unit) : value
  const [from, to] = [place(low), place(top)]
  return (value) => Math.min(Math.max((place(value) - from) / (to - from), 0), 1)
}

/** Levels on both sides of zero, and colours that leave white there for blue below and orange above. */
export function diverging(values: Values, count = 10): { levels: Levels; tone: (level: number) => string } {
  const found = values.filter(known)
  const most = Math.max(1e-12, ...found.map(Math.abs))
  const cut = even(-most, most, count).filter((level) => level !== 0)
  const half = cut.length / 2
  const tone = (level: number): string => {
    const band = level === -Infinity ? 0 : cut.indexOf(level) + 1 // the band in the middle, band === half, holds zero
    const t = (band - half) / Math.max(half, 1)
    const [r, g, b] = t < 0 ? [33, 102, 172] : [179, 88, 6]
    const mixed = [r, g, b].map((end) => Math.round(247 + Math.abs(t) * (end - 247)))
    return `rgb(${mixed.join(",")})`
  }
  const [low, high] = [Math.min(...found, 0), Math.max(...found, 0)]
  return { levels: { values: cut, spacing: "linear", low, high, top: high, n: found.length }, tone }
}
