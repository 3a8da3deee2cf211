/** Small charts of numbers with what they are held against: display lists. */
import { extent, linearTicks, logTicks, roomy } from "./axis"
import type { Drawing, Shape } from "./drawing"
import { number, tick } from "./format"
import type { Theme } from "./palette"
import type { Finding, Num, Outcome, ShiftView } from "./types"

const SIZE = 12
const known = (value: Num | undefined): value is number => value != null && Number.isFinite(value)

type Evidence = Finding["evidence"][number]

/** Whether a number is held against a bound, or has an error. */
function isHeld({ threshold, error }: Evidence): boolean {
  return known(threshold) || (known(error) && error > 0)
}

/** The numbers of one quantity, as "loss" and "loss at 0.3" are: they share a scale. */
function kin({ evidence }: Finding): Evidence[] {
  const free = evidence.filter((one) => !isHeld(one) && known(one.value))
  return free.filter((one) =>
    free.some((other) => one.name.startsWith(`${other.name} `) || other.name.startsWith(`${one.name} `)),
  )
}

/** How the numbers of a finding are drawn, in words. */
export function drawnAs(finding: Finding): string {
  const parts = [
    finding.evidence.some(isHeld)
      ? "bars, each on its own scale, points where that is logarithmic: what is held against a bound, or has an error"
      : null,
    kin(finding).length > 0 ? "bars on one scale: the same quantity" : null,
  ]
  return parts.filter((part) => part !== null).join("; ")
}

/**
 * Numbers with a threshold or an error as bars, each on its own scale, the threshold a line across; those of one quantity
 * as bars on one scale; others as they are.
 */
export function evidenceDrawing(finding: Finding, width: number, theme: Theme): Drawing {
  const [left, long, row, beside, plain] = [1, Math.min(width - 2, 640), 56, 42, 24]
  const shapes: Shape[] = []
  const same = kin(finding)
  const together = reach(
    same.map((one) => one.value),
    0,
  )
  let top = 0
  finding.evidence.forEach((one) => {
    const { name, value, threshold, error } = one
    const [bar, tall] = [top + 20, 14]
    const [held, shared] = [isHeld(one), same.includes(one)]
    top += held ? row : shared ? beside : plain
    const said = `${number(value)}${known(error) ? ` ± ${number(error, 2)}` : ""}`
    const text = { kind: "text", size: SIZE } as const
    shapes.push({
      ...text,
      x: left,
      y: bar - 6,
      text: short(`${name}: ${said}`, width / 6),
      colour: theme.ink,
      anchor: "start",
    })
    if (!held && !shared) return
    const place = shared ? together : reach([value, threshold, 0], known(error) ? error : 0)
    const x = (at: number): number => left + place(at) * long
    shapes.push({ kind: "rect", x: left, y: bar, w: long, h: tall, fill: theme.faint })
    if (place.log)
      shapes.push({
        ...text,
        size: 11,
        x: left + long,
        y: bar - 6,
        text: "logarithmic",
        colour: theme.soft,
        anchor: "end",
      })
    if (known(value)) {
      const [from, to] = [x(0), x(value)].sort((a, b) => a - b)
      if (!place.log)
        shapes.push({ kind: "rect", x: from, y: bar, w: Math.max(to - from, 2), h: tall, fill: theme.accent })
      else if (value > 0)
        shapes.push({ kind: "circle", x: x(value), y: bar + tall / 2, r: 5, fill: theme.accent, stroke: theme.paper })
      if (known(error) && error > 0)
        shapes.push(...whisker(x(value - error), x(value + error), bar + tall / 2, theme.ink))
    }
    if (!known(threshold)) return
    const at = x(threshold)
    shapes.push({
      kind: "line",
      points: [
        [at, bar - 4],
        [at, bar + tall + 4],
      ],
      colour: theme.bad,
      width: 2.5,
    })
    const anchor = at > left + long - 60 ? "end" : at < left + 60 ? "start" : "middle"
    shapes.push({
      ...text,
      size: 11,
      x: at,
      y: bar + tall + 15,
      text: `against ${number(threshold)}`,
      colour: theme.bad,
      anchor,
    })
  })
  return {
    width,
    height: top + 8,
    background: theme.paper,
    title: `Evidence for ${finding.code}`,
    shapes,
    table: {
      columns: ["name", "value", "threshold", "error"],
      rows: finding.evidence.map((e) => [e.name, e.value, e.threshold, e.error]),
    },
  }
}

/** Shares of the way on a scale that holds these numbers; in the logarithm where they are positive and far apart. */
function reach(values: (Num | undefined)[], error: number): ((value: number) => number) & { log: boolean } {
  const there = values.filter(known)
  const [low, high] = [
    Math.min(...there.map((v) => v - (v ? error : 0)), 0),
    Math.max(...there.map((v) => v + (v ? error : 0)), 0),
  ]
  const sizes = there.filter((v) => v !== 0)
  const log = low >= 0 && sizes.length > 1 && Math.max(...sizes) > 50 * Math.min(...sizes)
  if (log) {
    const [from, to] = [Math.min(...sizes) / 3, Math.max(...sizes) * 1.5]
    return Object.assign((v: number) => clamp(Math.log(Math.max(v, from) / from) / Math.log(to / from)), {
      log: true,
    })
  }
  const room = (high - low) * 0.08 || 1
  const [from, to] = [low < 0 ? low - room : 0, high > 0 ? high + room : 0]
  return Object.assign((v: number) => clamp((v - from) / (to - from)), { log: false })
}

function clamp(share: number): number {
  return Math.min(Math.max(share, 0), 1)
}

function short(text: string, room: number): string {
  return text.length > room ? `${text.slice(0, Math.max(Math.floor(room) - 1, 4))}…` : text
}

function whisker(from: number, to: number, y: number, colour: string): Shape[] {
  const line = (...points: [number, number][]): Shape => ({ kind: "line", points, colour, width: 1.5 })
  return [line([from, y], [to, y]), line([from, y - 4], [from, y + 4]), line([to, y - 4], [to, y + 4])]
}

interface Row {
  name: string
  value: Num
  interval: [Num, Num]
  marked?: boolean
}

const NOWHERE: [Num, Num] = [null, null]

/** The interval of a difference, laid from what it is a difference to. */
function laid(from: Num, [low, high]: [Num, Num]): [Num, Num] {
  return known(from) && known(low) && known(high) ? [from + low, from + high] : NOWHERE
}

/** Rows of values with intervals over one axis, and a line at one value. */
function intervals(rows: Row[], label: string, width: number, theme: Theme, line: Num, title: string): Drawing {
  const longest = Math.max(...rows.map((row) => row.name.length)) + 2
  const left = Math.min(longest * 6.6 + 12, width * 0.5)
  const [right, tall, top] = [16, 28, 8]
  const all = [...rows.flatMap((row) => [row.value, ...row.interval]), line].filter(known)
  const span = extent(all) ?? [0, 1]
  const log = span[0] > 0 && span[1] > 20 * span[0]
  const [low, high] = roomy(span, log, 0.06)
  const inner = width - left - right
  const x = (v: number): number =>
    left + inner * (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low))
  const bottom = top + rows.length * tall
  const shapes: Shape[] = []
  for (const value of log ? logTicks(low, high, inner / 70) : linearTicks(low, high, inner / 80)) {
    shapes.push({
      kind: "line",
      points: [
        [x(value), top],
        [x(value), bottom],
      ],
      colour: theme.faint,
      width: 1,
    })
    shapes.push({
      kind: "text",
      x: x(value),
      y: bottom + 15,
      text: tick(value),
      size: 11,
      colour: theme.soft,
      anchor: "middle",
    })
  }
  shapes.push({
    kind: "text",
    x: left + inner / 2,
    y: bottom + 31,
    text: label,
    size: 11,
    colour: theme.soft,
    anchor: "middle",
  })
  if (known(line)) {
    shapes.push({
      kind: "line",
      points: [
        [x(line), top],
        [x(line), bottom],
      ],
      colour: theme.soft,
      width: 1.5,
      dash: [4, 3],
    })
  }
  rows.forEach((row, k) => {
    const y = top + (k + 0.5) * tall
    const colour = row.marked ? theme.good : theme.accent
    if (row.marked)
      shapes.push({ kind: "rect", x: 0, y: y - tall / 2 + 1, w: width, h: tall - 2, fill: theme.good, opacity: 0.13 })
    const name = `${row.marked ? "★ " : ""}${row.name}`
    shapes.push({
      kind: "text",
      x: left - 10,
      y: y + 4,
      text: short(name, (left - 10) / (row.marked ? 6.9 : 6.2)),
      size: SIZE,
      colour: theme.ink,
      anchor: "end",
      bold: row.marked,
    })
    const [from, to] = row.interval
    if (known(from) && known(to)) shapes.push(...whisker(x(from), x(to), y, colour))
    if (known(row.value)) shapes.push({ kind: "circle", x: x(row.value), y, r: 5, fill: colour, stroke: theme.paper })
    else
      shapes.push({
        kind: "text",
        x: left + 6,
        y: y + 4,
        text: "no finite loss",
        size: SIZE,
        colour: theme.soft,
        anchor: "start",
      })
  })
  return {
    width,
    height: bottom + 38,
    background: theme.paper,
    title,
    shapes,
    table: {
      columns: ["name", label, "low", "high"],
      rows: rows.map((row) => [row.name, row.value, ...row.interval]),
    },
  }
}

/** The loss before and after a remedy; the interval is the difference's, laid around the loss after. */
export function outcomeDrawing(outcome: Outcome, width: number, theme: Theme): Drawing {
  const { before, after, interval } = outcome
  const rows = [
    { name: "before", value: before, interval: NOWHERE },
    { name: "after", value: after, interval: laid(before, interval), marked: outcome.helps },
  ]
  return intervals(rows, "loss", width, theme, before, "The remedy, before and after")
}

/** The loss on the new data after every remedy; the intervals are of its difference to doing nothing, the first. */
export function remediesDrawing(remedies: ShiftView["remedies"], width: number, theme: Theme): Drawing {
  const from = remedies[0]?.loss ?? null
  const rows = remedies.map(({ name, loss, interval, recommended }, k) => ({
    name,
    value: loss,
    interval: k === 0 ? NOWHERE : laid(from, interval),
    marked: recommended,
  }))
  return intervals(rows, "loss on the new data", width, theme, from, "Remedies")
}

/** How far every feature moved, the farthest first. */
export function featuresDrawing(features: ShiftView["features"], width: number, theme: Theme): Drawing {
  const left = Math.min(Math.max(...features.map((f) => f.name.length)) * 6.6 + 14, width * 0.4)
  const right = 132
  const tall = 24
  const most = Math.max(...features.map((f) => Math.abs(f.effect ?? 0)), 1e-9)
  const shapes: Shape[] = []
  const text = { kind: "text", size: SIZE } as const
  features.forEach((feature, k) => {
    const y = 4 + k * tall
    shapes.push({
      ...text,
      x: left - 10,
      y: y + 15,
      text: short(feature.name, left / 6),
      colour: theme.ink,
      anchor: "end",
      bold: feature.alarm,
    })
    const long = (Math.abs(feature.effect ?? 0) / most) * (width - left - right)
    shapes.push({
      kind: "rect",
      x: left,
      y: y + 4,
      w: Math.max(long, 1),
      h: 14,
      fill: feature.alarm ? theme.bad : theme.line,
    })
    const p = feature.p !== null && feature.p < 1e-4 ? "< 1e-4" : number(feature.p, 2)
    const said = `${number(feature.effect)} · p ${p}${feature.alarm ? " ▲" : ""}`
    shapes.push({ ...text, size: 11, x: left + long + 7, y: y + 15, text: said, colour: theme.soft, anchor: "start" })
  })
  return {
    width,
    height: features.length * tall + 10,
    background: theme.paper,
    title: "How far the features moved",
    shapes,
    table: {
      columns: ["feature", "effect", "p", "alarm"],
      rows: features.map((f) => [f.name, f.effect, f.p, f.alarm ? "yes" : "no"]),
    },
  }
}
