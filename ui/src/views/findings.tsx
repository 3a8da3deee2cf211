/** What is wrong, what shows it, and what to change. */
import "../surfaces.css"
import type { ComponentChildren, JSX } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import { drawnAs, evidenceDrawing, outcomeDrawing } from "../evidence"
import { Figure } from "../figure"
import { count, counted, duration, number } from "../format"
import { Absent, Code, Trouble, Unbroken } from "../parts"
import { Failure, mayRun, source, useDocument } from "../source"
import type { Finding, Findings, Head, Job, Outcome } from "../types"

const SEVERITIES = ["error", "warning", "note"] as const
const SIGNS = { error: "✕", warning: "!", note: "i" }

export default function View({ head }: { head: Head | null }): JSX.Element {
  const id = head!.id
  const { value, error, loading } = useDocument(() => source.findings(id), [id])
  if (!value) return <Absent error={error} loading={loading} />
  return <Of findings={value} study={id} code={head!.code} />
}

function Of({ findings, study, code }: { findings: Findings; study: string; code: string | null }): JSX.Element {
  const ranked = findings.findings
    .map((finding, index) => ({ finding, index }))
    .sort((a, b) => SEVERITIES.indexOf(a.finding.severity) - SEVERITIES.indexOf(b.finding.severity))
  const tally = SEVERITIES.map(
    (severity) => [severity, ranked.filter((one) => one.finding.severity === severity).length] as const,
  ).filter(([, n]) => n > 0)
  return (
    <section
      class="findings"
      data-findings={ranked.length}
      data-errors={ranked.filter((one) => one.finding.severity === "error").length}
    >
      <h2 class="title">Findings</h2>
      <p class="lead">
        {findings.title.replace(` · ${findings.recipe}`, "")}, <b>{findings.recipe}</b>:{" "}
        {ranked.length === 0 ? "nothing found" : tally.map(([severity, n]) => counted(n, severity)).join(", ")}.{" "}
        <span class="soft">
          {count(findings.cost.gradient_evaluations)} gradients, {duration(findings.cost.seconds)}.
        </span>
      </p>
      {findings.notes.length > 0 && (
        <ul class="notes">
          {findings.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      {ranked.length === 0 && (
        <p class="quiet">Nothing was found among {counted(findings.measured.length, "thing")} that were measured.</p>
      )}
      <ol class="found">
        {ranked.map(({ finding, index }) => (
          <Card key={`${finding.code}-${finding.where}`} finding={finding} index={index} study={study} code={code} />
        ))}
      </ol>
      <details class="methods" open={ranked.length === 0}>
        <summary>
          What was measured ({findings.measured.length}) and what was not ({findings.not_measured.length})
        </summary>
        <div class="measured">
          <section>
            <h3>Measured</h3>
            <ul class="tags">
              {findings.measured.map((what) => (
                <li key={what}>{what}</li>
              ))}
            </ul>
          </section>
          {findings.not_measured.length > 0 && (
            <section>
              <h3>Not measured</h3>
              <dl>
                {findings.not_measured.map(({ what, why }) => [
                  <dt key={what}>{what}</dt>,
                  <dd key={`${what} why`}>{why}</dd>,
                ])}
              </dl>
            </section>
          )}
        </div>
      </details>
    </section>
  )
}

interface Place {
  finding: Finding
  index: number
  study: string
  code: string | null // the file that a trial runs
}

function Card({ finding, index, study, code }: Place): JSX.Element {
  const id = `finding-${index}`
  return (
    <li
      class={`finding ${finding.severity}`}
      data-code={finding.code}
      data-severity={finding.severity}
      aria-labelledby={id}
    >
      <header>
        <span class="badge">
          <span aria-hidden="true">{SIGNS[finding.severity]}</span> {finding.severity}
        </span>
        <h3 id={id}>
          <code>{finding.code}</code>
          {finding.where && <span class="where"> in {finding.where}</span>}
        </h3>
        <span class="soft" data-confidence={finding.confidence}>
          confidence {finding.confidence.toFixed(2)}
        </span>
      </header>
      <p class="what">
        <Unbroken text={finding.sentence} />
      </p>
      {finding.evidence.length > 0 && (
        <Figure
          draw={(width, theme) => evidenceDrawing(finding, width, theme)}
          name={`evidence-${finding.code}`}
          label={`Evidence for ${finding.code}: ${inWords(finding)}. n = ${finding.evidence.length}.`}
          caption={[`n = ${counted(finding.evidence.length, "number")}`, drawnAs(finding)].filter(Boolean).join("; ")}
          data={{ n: finding.evidence.length, drawn: finding.evidence.length }}
        />
      )}
      {finding.remedy && <RemedyOf finding={finding} index={index} study={study} code={code} />}
      {finding.page && (
        <details class="methods">
          <summary>What {finding.code} means</summary>
          {finding.page.split(/\n\s*\n/).map((text, k) => (
            <p key={k}>{/^[^.]{1,80}$/.test(text) ? <b>{text}</b> : marked(text)}</p>
          ))}
        </details>
      )}
    </li>
  )
}

function inWords({ evidence }: Finding): string {
  const said = evidence.map(({ name, value, threshold }) => {
    return `${name} ${number(value)}${threshold === null ? "" : `, against ${number(threshold)}`}`
  })
  return said.join("; ")
}

/** A text whose parts between backticks are code. */
function marked(text: string): ComponentChildren[] {
  return text.split("`").map((part, k) => (k % 2 === 1 ? <code key={k}>{part}</code> : part))
}

function RemedyOf({ finding, index, study, code }: Place): JSX.Element {
  const remedy = finding.remedy!
  return (
    <section class="remedy" aria-label="Remedy">
      <h4>What to change</h4>
      {remedy.kind === "code" ? (
        <Code text={remedy.text} label="Change of the code" />
      ) : (
        remedy.text && <p>{remedy.text}</p>
      )}
      {remedy.diff.length > 0 && (
        <div class="diff" role="group" aria-label="Change of the recipe" tabIndex={0}>
          {remedy.diff.map(({ field, before, after }) => (
            <div key={field}>
              <p class="gone">
                <span aria-hidden="true">− </span>
                <span class="hidden">before: </span>
                {field} = {before}
              </p>
              <p class="come">
                <span aria-hidden="true">+ </span>
                <span class="hidden">after: </span>
                {field} = {after}
              </p>
            </div>
          ))}
        </div>
      )}
      <Trial finding={finding} index={index} study={study} code={code} />
    </section>
  )
}

/** Tries the remedy on the server and shows what it did. */
function Trial({ finding, index, study, code }: Place): JSX.Element {
  const [job, hold] = useState<Job | null>(null)
  const [trouble, say] = useState<Failure | null>(null)
  const stop = useRef<(() => void) | null>(null)
  useEffect(() => () => stop.current?.(), [])
  const start = (): void => {
    if (!mayRun(code)) return
    say(null)
    hold({ id: "", kind: "try", study, status: "running", said: "Starting", outcome: null })
    source.tryRemedy(study, index, code).then(
      (started) => {
        hold(started)
        stop.current = source.job(started.id, hold)
      },
      (error: unknown) => {
        hold(null)
        say(error instanceof Failure ? error : new Failure("broken", String(error)))
      },
    )
  }
  const running = job?.status === "running"
  const outcome = job?.outcome ?? finding.outcome
  return (
    <div class="trial" data-job={job?.status ?? ""}>
      {source.live && finding.can_try && (
        <button type="button" class="primary" disabled={running} onClick={start}>
          {running ? "Trying …" : outcome ? "Try it again" : "Try it"}
        </button>
      )}
      {!source.live && finding.can_try && !outcome && (
        <p class="soft">It can be tried where the study is: thalweg show.</p>
      )}
      <p role="status" class="said">
        {running && <span class="working" aria-hidden="true" />}
        {job && job.status !== "done" ? job.said : ""}
      </p>
      {trouble && <Trouble failure={trouble} />}
      {outcome && <Tried outcome={outcome} code={finding.code} />}
    </div>
  )
}

function Tried({ outcome, code }: { outcome: Outcome; code: string }): JSX.Element {
  const { before, after, interval, seeds, steps } = outcome
  const runs = `${seeds} paired seeds${steps ? ` of ${[...new Set(steps)].join(" and ")} steps` : ""}`
  return (
    <div class="tried" data-helps={outcome.helps ? "yes" : "no"} data-before={before ?? ""} data-after={after ?? ""}>
      <p>
        <b aria-hidden="true">{outcome.helps ? "✓ " : "– "}</b>Tried: {outcome.sentence}
      </p>
      <Figure
        draw={(width, theme) => outcomeDrawing(outcome, Math.min(width, 620), theme)}
        name={`tried-${code}`}
        label={
          `Loss before ${number(before)}, after ${number(after)}, difference between ${number(interval[0])} ` +
          `and ${number(interval[1])}, n = ${runs}.`
        }
        caption={`n = ${runs}; the bar: 95 % interval of the difference, laid from the loss before`}
        data={{ n: seeds, drawn: 2 }}
      />
    </div>
  )
}
