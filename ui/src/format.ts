/** Numbers, times and shares in words. */

const NONE = "–"

/** A number with `digits` significant ones: 0.003, 1.24, 12 400, 3.1e-7. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value == null || !Number.isFinite(value)) return NONE
  if (value === 0) return "0"
  const size = Math.abs(value)
  if (size < 1e-4 || size >= 1e7)
    return value
      .toExponential(Math.max(digits - 1, 0))
      .replace(/\.?0+e/, "e")
      .replace("e+", "e")
  if (size >= 10 ** (digits - 1)) return count(Math.round(value))
  return trim(value.toPrecision(digits))
}

/** A whole number with thin spaces between thousands. */
export function count(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return NONE
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, "\u202f")
    .replace(/^-/, "−")
}

/** A share as a percentage with `places` after the point. */
export function percent(value: number | null | undefined, places = 1): string {
  return value == null ? NONE : `${(100 * value).toFixed(places).replace("-", "−")} %`
}

/** Whether a metric is a share, which is told as a percentage. */
export function isShare(metric: string): boolean {
  return ["accuracy", "f1", "auc", "ece"].includes(metric)
}

/** A value of the metric: a percentage where the metric is a share. */
export function scored(value: number | null | undefined, unit: "share" | "number", digits = 4): string {
  return unit === "share" ? percent(value, 2) : number(value, digits)
}

/** A difference with its sign; of shares in percentage points. */
export function signed(value: number | null | undefined, unit: "share" | "number"): string {
  if (value == null) return NONE
  const size = unit === "share" ? Math.abs(100 * value).toFixed(2) : number(Math.abs(value))
  return `${value < 0 ? "−" : "+"}${size}${unit === "share" ? " points" : ""}`
}

/** Seconds as 340 ms, 12 s, 4 min 10 s, 2 h 5 min. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return NONE
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`
  if (seconds < 10) return `${trim(seconds.toFixed(1))} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole % 60 ? ` ${whole % 60} s` : ""}`
  const minutes = Math.round(seconds / 60)
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`
}

/** When it was: a clock time today, else a date. */
export function when(seconds: number, now = new Date()): string {
  const then = new Date(1000 * seconds)
  const clock = then.toTimeString().slice(0, 5)
  if (then.toDateString() === now.toDateString()) return `today ${clock}`
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())} ${clock}`
}

/** "1 run", "12 runs". */
export function counted(value: number, noun: string, many = `${noun}s`): string {
  return `${count(value)} ${value === 1 ? noun : many}`
}

/** A tick of an axis: as short as it can be told apart. */
export function tick(value: number): string {
  if (value === 0) return "0"
  const size = Math.abs(value)
  const sign = value < 0 ? "−" : ""
  if (size >= 1e6 || size < 1e-3)
    return (
      sign +
      size
        .toExponential()
        .replace("e+", "e")
        .replace(/(\.\d{3})\d+/, "$1")
    )
  if (size >= 1e4) return `${sign}${trim((size / 1000).toPrecision(6))}k`
  return sign + trim(size.toPrecision(6))
}

function trim(text: string): string {
  return (text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text).replace(/^-/, "−")
}

function two(value: number): string {
  return String(value).padStart(2, "0")
}
