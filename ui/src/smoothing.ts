/** A line laid over the raw one. */
import type { Num } from "./types"

/**
 * The mean of the exponential means from the left and from the right, which does not lag. What lies one `gap` away weighs
 * `share` as much, wherever the points that are left stand: a point stands for the stretch of the axis around it.
 */
export function smooth(x: number[], y: Num[], share: number, gap: number | null): Num[] {
  const unit = gap || spacing(x)
  const wide = x.map((_, i) => stretch(x, i) / unit)
  const order = x.map((_, i) => i)
  const forth = running(order, x, y, wide, share, unit)
  const back = running(order.reverse(), x, y, wide, share, unit)
  return y.map((value, i) => (value === null ? null : (forth[i] + back[i]) / 2))
}

/** The mean distance of places. */
export function spacing(x: number[]): number {
  return x.length > 1 ? (x[x.length - 1] - x[0]) / (x.length - 1) || 1 : 1
}

/** Half the way to either neighbour; at an end, all the way to the only one. */
function stretch(x: number[], i: number): number {
  const [left, right] = [x[i] - x[i - 1], x[i + 1] - x[i]].map((way) => (Number.isNaN(way) ? null : way))
  return left === null || right === null ? (left ?? right ?? 1) : (left + right) / 2
}

/** The exponential mean in an order: s_i = sum over k up to i of share^(|x_i - x_k| / unit) w_k y_k, over those weights. */
function running(order: number[], x: number[], y: Num[], wide: number[], share: number, unit: number): number[] {
  const found: number[] = new Array(x.length)
  let [sum, weight, at] = [0, 0, x[order[0]]]
  for (const i of order) {
    const fading = share ** (Math.abs(x[i] - at) / unit)
    const value = y[i]
    sum = fading * sum + (value === null ? 0 : wide[i] * value)
    weight = fading * weight + (value === null ? 0 : wide[i])
    at = x[i]
    found[i] = weight > 0 ? sum / weight : (value ?? NaN)
  }
  return found
}
