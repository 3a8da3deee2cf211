/** Curves that grow while the study runs: what arrives is appended, and all is read anew from time to time. */
import type { Batch, BatchColumns, Curve, CurveGroup, Curves, Num, RunStatus } from "./types"

const CHOOSING = ["step", "samples", "seconds", "split"]

/** The curves with the batch appended; the same object where it brought nothing for them. */
export function grown(curves: Curves, batch: Batch): Curves {
  const runs = new Map(batch.runs.map((run) => [run.run, run]))
  const shown = batch.runs.filter((run) => run.phase === curves.phase || curves.phase === "all")
  if (shown.length === 0) return curves
  const known = new Set(curves.groups.flatMap((group) => group.runs.map((run) => run.run)))
  const groups = curves.groups.map((group): CurveGroup => ({
    ...group, runs: group.runs.map((run) => (runs.has(run.run) ? lengthened(run, batch, curves) : run)),
  }))
  for (const run of shown) {
    if (known.has(run.run)) continue
    let group = groups.find((one) => one.name === run.entrant)
    if (!group) groups.push((group = { name: run.entrant, band: null, runs: [] }))
    const { phase, seed, lr, where } = run
    const fresh: Curve = { run: run.run, seed, phase, lr, where, status: "running", end: null, x: [], y: [] }
    group.runs = [...group.runs, lengthened(fresh, batch, curves)]
  }
  return { ...curves, cursor: batch.cursor, n: groups.reduce((sum, group) => sum + group.runs.length, 0), groups }
}

function lengthened(run: Curve, batch: Batch, curves: Curves): Curve {
  const said = batch.runs.find((one) => one.run === run.run)
  const [x, y] = arrived(run.run, batch, curves)
  const last = run.x.length > 0 ? run.x[run.x.length - 1] : -Infinity
  const first = x.findIndex((at) => at > last)
  const status = said && ["finished", "diverged", "stopped"].includes(said.status) ? (said.status as RunStatus) : run.status
  const grownX = first < 0 ? run.x : [...run.x, ...x.slice(first)]
  const end = status === "diverged" ? (run.end ?? grownX[grownX.length - 1] ?? null) : run.end
  return {
    ...run, status, where: said?.where ?? run.where, end, x: grownX, y: first < 0 ? run.y : [...run.y, ...y.slice(first)],
  }
}

/** What a batch holds of the asked quantity: from the steps, else from the evaluations. */
function arrived(run: string, batch: Batch, { x, y }: Curves): [number[], Num[]] {
  const columns = batch.columns[run]
  const along = (x === "step" || x === "samples" || x === "seconds" ? x : "step") satisfies keyof BatchColumns
  if (columns && y in columns) return [columns[along], columns[y as keyof BatchColumns]]
  const seen = (batch.evaluations[run] ?? []).filter((one) => typeof one[along] === "number" && typeof one[y] !== "undefined")
  if (CHOOSING.includes(y)) return [[], []]
  return [seen.map((one) => one[along] as number), seen.map((one) => (typeof one[y] === "number" ? one[y] : null))]
}
