/** A line laid over the raw one. */
import type { Num } from "./types"

/** The mean of the exponential means from the left and from the right, which does not lag; `share` weighs the past. */
export function smooth(y: Num[], share: number): Num[] {
  const [forth, back] = [running(y, share), running([...y].reverse(), share).reverse()]
  return y.map((value, i) => (value === null ? null : (forth[i] + back[i]) / 2))
}

/** The exponential mean: s_t = sum over k <= t of share^(t-k) y_k, over the sum of those weights. */
function running(y: Num[], share: number): number[] {
  let [sum, weight] = [0, 0]
  return y.map((value) => {
    if (value === null) return sum / weight
    sum = share * sum + value
    weight = share * weight + 1
    return sum / weight
  })
}
