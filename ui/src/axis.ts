/** Where the ticks of an axis stand. */

/** About `wanted` round places between `low` and `high`: 1, 2 or 5 times a power of ten apart. */
export function linearTicks(low: number, high: number, wanted = 6): number[] {
  const span = high - low
  if (!(span > 0) || !Number.isFinite(span)) return [low]
  const rough = span / Math.max(wanted, 1)
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough * 0.75) ?? 10 * power
  const first = Math.ceil(low / step - 1e-9)
  const last = Math.floor(high / step + 1e-9)
  const ticks: number[] = []
  for (let at = first; at <= last; at += 1) ticks.push(Number((at * step).toPrecision(12)))
  return ticks
}

/** The powers of ten between, with 2 and 5 where there are few; round places where there is less than a decade. */
export function logTicks(low: number, high: number, wanted = 6): number[] {
  const decades = Math.log10(high / low)
  if (!(decades > 0) || !Number.isFinite(decades)) return [low]
  if (decades < 0.8) return linearTicks(low, high, wanted)
  const among = decades < 1.6 ? [1, 2, 3, 5] : decades < 3 ? [1, 3] : [1]
  const every = Math.max(Math.ceil(decades / Math.max(wanted, 2)), 1)
  const ticks: number[] = []
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    if (power % every !== 0) continue
    for (const times of among) {
      const tick = Number((times * 10 ** power).toPrecision(12))
      if (tick >= low * 0.9999 && tick <= high * 1.0001) ticks.push(tick)
    }
  }
  return ticks
}

/** The least and greatest finite numbers; only positive ones on a log axis. */
export function extent(values: Iterable<number | null | undefined>, log = false): [number, number] | null {
  let [low, high] = [Infinity, -Infinity]
  for (const value of values) {
    if (value == null || !Number.isFinite(value) || (log && value <= 0)) continue
    if (value < low) low = value
    if (value > high) high = value
  }
  return low <= high ? [low, high] : null
}

/** A range a little wider than the values, and of some width where they are all the same. */
export function roomy([low, high]: [number, number], log = false, share = 0.04): [number, number] {
  if (log) {
    const room = high > low ? (high / low) ** share : 1.5
    return [low / room, high * room]
  }
  const room = high > low ? (high - low) * share : Math.abs(high) * 0.1 || 1
  return [low - room, high + room]
}
