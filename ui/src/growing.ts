/** Curves that grow while the study runs: what arrives is appended, and all is read anew from time to time. */
import type { Batch, BatchColumns, Curve, CurveGroup, Curves, Num, RunStatus } from "./types"

const STEPPED = ["loss", "lr", "grad_norm"]
const FINISHED: string[] = ["finished", "diverged", "stopped"]

/** Phases of the trace that the page calls otherwise. */
function called(phase: string): string {
  return phase === "final" ? "finals" : phase
}

/** The curves with a batch appended. */
export function grown(curves: Curves, batch: Batch): Curves {
  const groups = curves.groups.map((group): CurveGroup => ({
    ...group,
    runs: group.runs.map((run) => lengthened(run, batch, curves)),
  }))
  const known = new Set(groups.flatMap((group) => group.runs.map((run) => run.run)))
  for (const run of batch.runs) {
    if (known.has(run.run) || (curves.phase !== "all" && called(run.phase) !== curves.phase)) continue
    let group = groups.find((one) => one.name === run.entrant)
    if (!group) groups.push((group = { name: run.entrant, n: 0, left_out: 0, diverged: 0, band: null, runs: [] }))
    const { phase, seed, lr, where } = run
    const fresh: Curve = { run: run.run, seed, phase, lr, where, status: "running", end: null, gap: null, x: [], y: [] }
    group.runs = [...group.runs, lengthened(fresh, batch, curves)]
    group.n += 1
  }
  for (const group of groups) group.diverged = group.runs.filter((run) => run.status === "diverged").length
  return { ...curves, cursor: batch.cursor, n: groups.reduce((sum, group) => sum + group.n, 0), groups }
}

function lengthened(run: Curve, batch: Batch, curves: Curves): Curve {
  const said = batch.runs.find((one) => one.run === run.run)
  const [x, y] = arrived(run.run, batch, curves)
  if (!said && x.length === 0) return run
  const before = said?.begun ? { x: [], y: [] } : run
  const last = before.x.length > 0 ? before.x[before.x.length - 1] : -Infinity
  const first = x.findIndex((at) => at > last)
  const status =
    said && FINISHED.includes(said.status) ? (said.status as RunStatus) : said?.begun ? "running" : run.status
  return {
    ...run,
    status,
    where: said ? said.where : run.where,
    end: FINISHED.includes(status) ? (run.end ?? x[x.length - 1] ?? (last > -Infinity ? last : null)) : null,
    x: first < 0 ? before.x : [...before.x, ...x.slice(first)],
    y: first < 0 ? before.y : [...before.y, ...y.slice(first)],
  }
}

/** What a batch holds of the asked quantity: from the steps, or, as "SPLIT METRIC", from the evaluations. */
function arrived(run: string, batch: Batch, { x, y }: Curves): [number[], Num[]] {
  const along = x as "step" | "samples" | "seconds"
  const columns = batch.columns[run]
  if (STEPPED.includes(y)) return columns ? [columns[along], columns[y as keyof BatchColumns]] : [[], []]
  const [split, ...metric] = y.split(" ")
  const found = (batch.evaluations[run] ?? []).filter((one) => one.split === split && typeof one[along] === "number")
  const values = found.map((one) => one[metric.join(" ")])
  return [found.map((one) => one[along] as number), values.map((value) => (typeof value === "number" ? value : null))]
}
