/** All studies, the newest first. */
import type { JSX } from "preact"
import { counted, when } from "../format"
import { Code, Absent, Unbroken } from "../parts"
import { source, useDocument } from "../source"
import { address } from "../state"
import type { Entry } from "../types"

export default function View(): JSX.Element {
  const { value, error, loading } = useDocument(source.home, ["home"])
  if (!value) return <Absent error={error} loading={loading} />
  return (
    <section class="home" data-studies={value.studies.length}>
      <h1>{value.studies.length === 0 ? "No study yet" : "Studies"}</h1>
      {value.studies.length === 0 && <Empty />}
      <ul class="cards">
        {value.studies.map((study) => (
          <Card key={study.id} study={study} />
        ))}
      </ul>
      {value.older > 0 && (
        <p class="older" data-older={value.older}>
          {counted(value.older, "older study", "older studies")} not listed here: thalweg show FOLDER shows one.
        </p>
      )}
      <p class="soft">
        To see how optimizers walk, without a study: the <a href={address(null, "playground")}>playground</a>.
        <span class="version"> thalweg {value.version}</span>
      </p>
    </section>
  )
}

function Empty(): JSX.Element {
  return (
    <>
      <p>A study is what a comparison leaves behind. A first one, on built-in data, takes less than a minute:</p>
      <Code text="thalweg compare digits --show" />
    </>
  )
}

function Card({ study }: { study: Entry }): JSX.Element {
  const facts = [
    study.task === study.name ? null : study.task,
    counted(study.runs, "run"),
    study.metric,
    when(study.modified),
  ]
  return (
    <li class="card" data-study={study.id} data-status={study.status}>
      <h2>
        <a href={address(study.id, study.has.verdict ? "verdict" : "curves")}>{study.name}</a>
        <span class={`status ${study.status}`}>{study.status}</span>
      </h2>
      <p>
        <Unbroken
          text={
            study.sentence ??
            (study.status === "running" ? "It is running; the verdict comes at its end." : "It has no verdict yet.")
          }
        />
      </p>
      <p class="soft">{facts.filter(Boolean).join(" · ")}</p>
    </li>
  )
}
