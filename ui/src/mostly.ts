/** What layers did for most of a run, in words. */
import { known } from "./contours"
import type { Layers, Num } from "./types"

/** Which layers are out of the good range for most of the steps; looks are dense at the beginning, so each has a weight. */
export function mostly({ quantities, layers, steps }: Layers): string {
  const weights = steps.map((_, i) => gap(steps, i))
  const out = quantities.flatMap((quantity) => {
    const often = quantity.values.flatMap((row, layer) => {
      let [outside, all] = [0, 0]
      row.forEach((value, i) => {
        if (!known(value)) return
        all += weights[i]
        if (isOut(value, quantity.good)) outside += weights[i]
      })
      return 2 * outside > all ? [layers[layer].name] : []
    })
    if (often.length === 0) return []
    return [`${quantity.label} (${often.length > 3 ? `${often.length} layers` : often.map(called).join(", ")})`]
  })
  if (!quantities.some((quantity) => quantity.good)) return ""
  return out.length === 0
    ? "No layer is outside a good range for most of the steps."
    : `Outside the good range for most of the steps: ${out.join("; ")}.`
}

/** A layer of a sequence is called by its number. */
function called(name: string): string {
  return /^\d/.test(name) ? `layer ${name}` : name
}

/** The steps for which a look stands: half the way to either neighbour. */
function gap(steps: number[], i: number): number {
  if (steps.length < 2) return 1
  return (steps[Math.min(i + 1, steps.length - 1)] - steps[Math.max(i - 1, 0)]) / 2
}

function isOut(value: number, good: [Num, Num] | null): boolean {
  return good !== null && ((good[0] !== null && value < good[0]) || (good[1] !== null && value > good[1]))
}
