/** Who won, by how much, how sure that is, what it cost, what was not tried, and the code to paste. */
import type { ComponentChildren, JSX } from "preact"
import { useMemo, useState } from "preact/hooks"
import { extent, roomy } from "../axis"
import { type ChartSeries, LineChart } from "../chart"
import { Export } from "../export"
import { Painted, useWidth } from "../figure"
import { count, counted, duration, number, scored, signed } from "../format"
import { axisDrawing, forest, rowDrawing, words } from "../intervals"
import { NamedSwatch } from "../legend"
import { useTheme } from "../palette"
import { Choice, Code, Trouble, Unbroken } from "../parts"
import { source, useDocument } from "../source"
import { useParam } from "../state"
import type { BestSoFar, Finalist, Head, Verdict } from "../types"

export default function View({ head }: { head: Head | null }): JSX.Element {
  const { value, error } = useDocument(() => source.verdict(head!.id), [head!.id])
  if (error) return head!.status === "running" ? <Waiting head={head!} /> : <Trouble failure={error} />
  if (!value)
    return (
      <p class="loading" role="status">
        Loading …
      </p>
    )
  return <Told verdict={value} head={head!} />
}

function Waiting({ head }: { head: Head }): JSX.Element {
  return (
    <div class="trouble calm" role="status" data-error="running">
      <p>The study is running: {counted(head.progress.runs, "run")} so far. The verdict comes at its end.</p>
      <p class="soft">Until then, the curves grow and the learning rates fill in.</p>
    </div>
  )
}

function Told({ verdict, head }: { verdict: Verdict; head: Head }): JSX.Element {
  const [sentence, ...others] = verdict.sentences
  return (
    <article
      class="verdict"
      data-winner={verdict.winner ?? ""}
      data-best={verdict.best ?? ""}
      data-finalists={verdict.finalists.length}
    >
      <h1 class="sentence">
        <Unbroken text={sentence ?? ""} />
      </h1>
      {others.map((one) => (
        <p key={one} class="lead">
          <Unbroken text={one} />
        </p>
      ))}
      {verdict.equivalent.length > 1 && (
        <p class="lead">
          Equivalent within {signed(verdict.smallest_difference, verdict.unit).replace("+", "±")}:{" "}
          {verdict.equivalent.join(", ")}.
        </p>
      )}
      <Facts verdict={verdict} />
      {verdict.finalists.length > 0 && <Table verdict={verdict} entrants={head.entrants} />}
      <div class="columns">
        <Best verdict={verdict} />
        {verdict.code.length > 0 && <Paste verdict={verdict} />}
      </div>
      <List title="Footnotes" items={verdict.footnotes} />
      <List title="Not tried" items={verdict.not_tried} />
      <List title="Notes" items={verdict.notes} />
      <details class="methods">
        <summary>How it was measured</summary>
        <p>{verdict.methods}</p>
      </details>
    </article>
  )
}

function Facts({ verdict }: { verdict: Verdict }): JSX.Element {
  const { cost, test } = verdict
  const seeds = Math.max(0, ...verdict.finalists.map((one) => one.seeds.length))
  return (
    <dl class="facts">
      {test && (
        <Fact
          name={`test ${test.metric}`}
          small={`${interval(test.interval, verdict.unit)}, ${counted(test.models, "model")}`}
        >
          {scored(test.mean, verdict.unit)}
        </Fact>
      )}
      <Fact name="runs" small={seeds > 0 ? `${counted(seeds, "seed")} a finalist` : "no finals"}>
        {count(cost.runs)}
      </Fact>
      <Fact name="samples" small="in all">
        {count(cost.samples)}
      </Fact>
      <Fact name="time" small="in all">
        {duration(cost.seconds)}
      </Fact>
      <Fact name="counts as equal" small={verdict.metric}>
        {signed(verdict.smallest_difference, verdict.unit).replace("+", "±")}
      </Fact>
    </dl>
  )
}

function Fact({ name, small, children }: { name: string; small: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
      <dd class="soft">{small}</dd>
    </div>
  )
}

function interval([low, high]: [number | null, number | null], unit: Verdict["unit"], sign = false): string {
  if (low === null || high === null) return ""
  const say = (value: number): string => (sign ? signed(value, unit) : scored(value, unit)).replace(/ (%|points)$/, "")
  return `[${say(low)}, ${say(high)}]`
}

const DECISIONS: Record<string, string> = {
  better: "better",
  worse: "worse",
  equivalent: "equivalent",
  undecided: "not decided",
  reference: "reference",
  diverged: "diverged",
}

function Table({ verdict, entrants }: { verdict: Verdict; entrants: string[] }): JSX.Element {
  const theme = useTheme()
  const [box, wide] = useWidth<HTMLDivElement>()
  const base = verdict.finalists.find((one) => one.baseline)
  const span = wide > 900 ? 220 : wide > 500 ? 180 : 96
  const axis = useMemo(() => axisDrawing(verdict, span, theme), [verdict, span, theme])
  const drawn = useMemo(
    () => verdict.finalists.map((one) => rowDrawing(one, verdict, span, entrants, theme)),
    [verdict, span, entrants, theme],
  )
  const calibrated = verdict.finalists.some((one) => one.calibration?.ece != null)
  return (
    <figure class="chart" data-chart="finalists" data-n={verdict.finalists.length}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Finalists" ref={box}>
        <table class="finalists">
          <thead>
            <tr>
              <th scope="col">finalist</th>
              <th scope="col" class="drawn">
                {axis && <Painted drawing={axis} />}
              </th>
              <th scope="col" class="num">
                {verdict.metric} <small>95 %</small>
              </th>
              <th scope="col" class="num">
                against {base?.name ?? "the baseline"} <small>95 %</small>
              </th>
              <th scope="col">decision</th>
              <th scope="col" class="num">
                samples to target
              </th>
              <th scope="col" class="num">
                good rates span <small>decades</small>
              </th>
              <th scope="col" class="num">
                diverges from lr
              </th>
              {calibrated && (
                <th scope="col" class="num">
                  calibration <small>ECE</small>
                </th>
              )}
              <th scope="col" class="num">
                time a run <small>memory</small>
              </th>
            </tr>
          </thead>
          <tbody>
            {verdict.finalists.map((one, i) => (
              <tr
                key={one.name}
                class={one.name === verdict.best ? "best" : ""}
                data-name={one.name}
                data-mean={one.mean ?? ""}
              >
                <th scope="row">
                  <NamedSwatch name={one.name} entrants={entrants} /> {one.name}
                  <small>{recipe(one)}</small>
                </th>
                <td class="drawn">{drawn[i] && <Painted drawing={drawn[i]} label={words(one, verdict)} />}</td>
                <td class="num">
                  {scored(one.mean, verdict.unit)} <small>{interval(one.interval, verdict.unit)}</small>
                </td>
                <td class="num">
                  {one.baseline ? (
                    "–"
                  ) : (
                    <>
                      {signed(one.difference.mean, verdict.unit)}{" "}
                      <small>{interval(one.difference.interval, verdict.unit, true)}</small>
                    </>
                  )}
                </td>
                <td>
                  <Decision one={one} />
                </td>
                <td class="num">{count(one.samples_to_target)}</td>
                <td class="num">{number(one.lr_robustness_decades, 2)}</td>
                <td class="num">{number(one.lr_edge)}</td>
                {calibrated && <td class="num">{number(one.calibration?.ece, 2)}</td>}
                <td class="num">
                  {duration(one.seconds)} <small>{count(one.bytes_per_parameter)} B a weight</small>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <figcaption>
        <span>
          Dots: mean of n = {Math.max(0, ...verdict.finalists.map((one) => one.scores.length))} seeds; bars: 95 %;
          ticks: single runs; dotted: <Unbroken text={base?.name ?? "baseline"} />.
        </span>
        <Export drawing={() => forest(verdict, entrants, theme)} name="finalists" />
      </figcaption>
    </figure>
  )
}

function recipe(one: Finalist): string {
  const { optimizer, lr, ...rest } = one.recipe
  const first = typeof lr === "number" ? `lr ${number(lr)}` : ""
  const others = Object.entries(rest).map(
    ([key, value]) => `${key} ${typeof value === "number" ? number(value) : JSON.stringify(value)}`,
  )
  return [optimizer === one.name ? null : String(optimizer), first, ...others].filter(Boolean).join(", ")
}

function Decision({ one }: { one: Finalist }): JSX.Element {
  const decision = one.baseline ? "reference" : one.mean === null ? "diverged" : one.difference.decision
  const chance = one.difference.p_better
  return (
    <>
      <span class={`decision ${decision}`}>{DECISIONS[decision] ?? decision}</span>
      {decision === "undecided" && chance !== null && <small>better with {chanceOf(chance)}</small>}
      {one.diverged > 0 && <small class="bad">{one.diverged} diverged</small>}
    </>
  )
}

/** No chance is told as certain. */
function chanceOf(chance: number): string {
  return chance > 0.99 ? "> 99 %" : chance < 0.01 ? "< 1 %" : `${Math.round(100 * chance)} %`
}

function Best({ verdict }: { verdict: Verdict }): JSX.Element | null {
  const [by, setBy] = useParam("by", "samples")
  const theme = useTheme()
  const best = verdict.best_so_far
  const against = by as "samples" | "runs"
  const series = useMemo(() => (best ? stairs(best, against, theme.accent, theme.soft) : []), [best, against, theme])
  if (!best || best.runs.length === 0) return null
  const percent = verdict.unit === "share"
  const needed = extent([...best.came.value, ...best.high.slice(1), ...best.low.slice(1)]) // one run in random order may be anything
  return (
    <section>
      <h2>What the budget bought</h2>
      <Choice
        label="against"
        value={by}
        onChange={setBy}
        options={[
          ["samples", "samples"],
          ["runs", "full runs"],
        ]}
      />
      <LineChart
        title={`Best ${verdict.metric} so far`}
        name="best-so-far"
        n={best.runs.length}
        height={260}
        series={series}
        x={{ label: by === "runs" ? "full runs" : by }}
        y={{
          label: `best ${verdict.metric} so far`,
          format: percent ? (value) => scored(value, "share").replace(/\.?0+ %/, " %") : undefined,
          range: needed && roomy(needed),
        }}
        caption={`On the selection rows. Line: as it came${by === "runs" ? "" : ", after all samples spent until then, probes too"}; band: 10–90 % of random orders of the same n = ${best.runs.length} full runs${by === "runs" ? "" : ", whose samples alone it counts"}.`}
      />
    </section>
  )
}

/** The band of random orders, and the gains as they came as stairs. */
function stairs(best: BestSoFar, by: "samples" | "runs", colour: string, soft: string): ChartSeries[] {
  const after = <T,>(list: T[]): T[] => list.flatMap((one, i) => (i === 0 ? [one] : [list[i - 1], one]))
  const at = (list: number[]): number[] => list.flatMap((one, i) => (i === 0 ? [one] : [one, one]))
  const [x, { came }] = [best[by], best]
  const last = Math.max(x[x.length - 1], came[by][came[by].length - 1])
  const ends = [...came[by], last]
  const band = { low: after(best.low), high: after(best.high), quiet: true, width: 0 }
  return [
    { name: "random order", colour: soft, x: at(x), y: at(x).map(() => null), ...band },
    {
      name: "best so far",
      colour,
      x: at(ends),
      y: after([...came.value, came.value[came.value.length - 1]]),
      dots: best.runs.length === 1 ? 4 : undefined,
    },
  ]
}

function Paste({ verdict }: { verdict: Verdict }): JSX.Element {
  const [label, choose] = useState(verdict.code[0].label)
  const shown = verdict.code.find((one) => one.label === label) ?? verdict.code[0]
  return (
    <section class="paste">
      <h2>Take {verdict.best}</h2>
      <Choice
        label="code for"
        value={shown.label}
        onChange={choose}
        options={verdict.code.map((one) => [one.label, one.label])}
      />
      <Code text={shown.text} label={`code for ${shown.label}`} />
    </section>
  )
}

function List({ title, items }: { title: string; items: string[] }): JSX.Element | null {
  if (items.length === 0) return null
  return (
    <section class="list">
      <h2>{title}</h2>
      <ul>
        {items.map((item) => (
          <li key={item}>{item}</li>
        ))}
      </ul>
    </section>
  )
}
