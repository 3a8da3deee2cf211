/** A line laid over the raw one. */
import type { Num } from "./types"

/** The exponential mean with weight `share` on the past, unbiased at the start: s_t = (share s_{t-1} + (1 - share) y_t) / (1 - share^t). */
export function smooth(y: Num[], share: number): Num[] {
  let [sum, weight] = [0, 0]
  return y.map((value) => {
    if (value === null) return null
    sum = share * sum + (1 - share) * value
    weight = share * weight + (1 - share)
    return sum / weight
  })
}
