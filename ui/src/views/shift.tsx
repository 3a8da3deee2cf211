/** Did the data move, did the surface move with it, and what helps. */
import "../surfaces.css"
import type { JSX } from "preact"
import { useMemo, useState } from "preact/hooks"
import { LineChart } from "../chart"
import { Contour, withPaths } from "../contour"
import { known } from "../contours"
import { featuresDrawing, remediesDrawing } from "../evidence"
import { Figure } from "../figure"
import { count, number, signed } from "../format"
import { diverging, shared } from "../levels"
import { colour, dash, look } from "../palette"
import { Absent, Unbroken } from "../parts"
import { Lines } from "../swatch"
import { source, useDocument } from "../source"
import type { Head, Num, Plane, ShiftView } from "../types"

const FIRST = 12 // features that are shown at once
const LOWER = "dashed and blue: lower than it was"
const SAME = "the same colours left and right"
const KINDS: Record<string, string> = {
  covariate: "The inputs moved",
  label: "The labels' shares moved",
  concept: "What the inputs mean moved",
  pipeline: "The pipeline is broken",
  "new-class": "There is a new class",
  subgroup: "A subgroup fails",
  harmless: "It moved, and it does no harm",
  "not-enough-data": "Too few rows to tell",
}

export default function View({ head }: { head: Head | null }): JSX.Element {
  const id = head!.id
  const { value, error, loading } = useDocument(() => source.shift(id), [id])
  if (!value) return <Absent error={error} loading={loading} />
  return <Of shift={value} entrants={head!.entrants} />
}

function Of({ shift, entrants }: { shift: ShiftView; entrants: string[] }): JSX.Element {
  const moved = shift.kind !== null && shift.kind !== "harmless"
  return (
    <section
      class="shift"
      data-kind={shift.kind ?? "none"}
      data-features={shift.features.length}
      data-remedies={shift.remedies.length}
    >
      <h2 class="title">{shift.title}</h2>
      <p class="kind" data-moved={moved ? "yes" : "no"}>
        <span aria-hidden="true">{moved ? "▲ " : "✓ "}</span>
        {shift.kind === null ? "Nothing moved" : (KINDS[shift.kind] ?? shift.kind)}
      </p>
      <p class="lead">
        <Unbroken text={shift.sentence} />{" "}
        <span class="soft">
          {shift.confidence === null ? "" : `confidence ${shift.confidence.toFixed(2)}; `}
          {count(shift.rows.reference)} rows of reference, {count(shift.rows.incoming)} new ones.
        </span>
      </p>
      {shift.features.length > 0 && <Features of={shift.features} rows={shift.rows} />}
      {(shift.surface.length > 0 || shift.planes) && (
        <section>
          <h3>The surface</h3>
          {shift.surface.map((sentence) => (
            <p key={sentence}>
              <Unbroken text={sentence} />
            </p>
          ))}
          {shift.planes && <Planes planes={shift.planes} entrants={entrants} />}
        </section>
      )}
      {shift.slices.length > 0 && <Slices of={shift.slices} />}
      {shift.remedies.length > 0 && <Remedies of={shift.remedies} />}
      {shift.notes.length > 0 && (
        <ul class="notes">
          {shift.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </section>
  )
}

function Features({ of, rows }: { of: ShiftView["features"]; rows: ShiftView["rows"] }): JSX.Element {
  const [all, showAll] = useState(false)
  const ranked = useMemo(
    () =>
      [...of].sort((a, b) => Number(b.alarm) - Number(a.alarm) || Math.abs(b.effect ?? 0) - Math.abs(a.effect ?? 0)),
    [of],
  )
  const shown = all ? ranked : ranked.slice(0, FIRST)
  const alarms = of.filter((feature) => feature.alarm).length
  const n = rows.reference + rows.incoming
  return (
    <section>
      <h3>
        Features that moved: {alarms} of {of.length}
      </h3>
      <Figure
        draw={(width, theme) => featuresDrawing(shown, width, theme)}
        name="features"
        label={`Effect on ${shown.length} of ${of.length} features, ${alarms} with an alarm, n = ${n} rows.`}
        caption={
          `Bars: effect, in standard deviations or as a share; ▲: an alarm after correction for ${of.length} tests; ` +
          `n = ${count(n)} rows`
        }
        data={{ n, drawn: shown.length, alarms }}
      />
      {of.length > FIRST && (
        <button type="button" onClick={() => showAll(!all)} aria-expanded={all}>
          {all ? `Only the first ${FIRST}` : `All ${of.length} features`}
        </button>
      )}
    </section>
  )
}

function Planes({ planes, entrants }: { planes: { old: Plane; new: Plane }; entrants: string[] }): JSX.Element {
  const levels = useMemo(() => shared([planes.old.values, planes.new.values]), [planes])
  const difference = useMemo(
    (): Num[] =>
      planes.old.values.map((before, k) => {
        const after = planes.new.values[k]
        return known(before) && known(after) ? after - before : null
      }),
    [planes],
  )
  const { levels: steps, tone } = useMemo(() => diverging(difference), [difference])
  const names = withPaths(entrants, planes.new)
  const runs = planes.new.paths.filter((path) => path.run !== "" && path.points.length > 1).map((path) => path.run)
  const three = [
    ["old", "On the old data", planes.old, planes.old.values, levels, undefined],
    ["new", "On the new data", planes.new, planes.new.values, levels, undefined],
    ["difference", "New less old", planes.new, difference, steps, tone],
  ] as const
  return (
    <>
      {runs.length > 0 && <Lines of={runs.map((run) => [run, look(run, names).colour, look(run, names).dash])} />}
      <p class="soft">
        ○ where the model is, ● where the paths end. Point at a surface; arrow keys go along the paths.
      </p>
      <div class="sides three">
        {three.map(([key, title, plane, values, cut, of]) => (
          <section key={key}>
            <h4>{title}</h4>
            <Contour
              plane={{ ...plane, title: `${plane.title}: ${title.toLowerCase()}` }}
              values={[...values]}
              levels={cut}
              tone={of}
              entrants={entrants}
              name={`shift-${key}`}
              quiet
              of={plane.data}
              measured={key === "difference" ? "change" : "loss"}
              caption={`n = ${plane.evaluated} points · ${key === "difference" ? LOWER : `${plane.data}; ${SAME}`}`}
            />
          </section>
        ))}
      </div>
    </>
  )
}

function Slices({ of }: { of: ShiftView["slices"] }): JSX.Element {
  return (
    <section>
      <h3>Slices</h3>
      <Lines
        of={[
          ["on the old data", colour(0), dash(0)],
          ["on the new data", colour(1), dash(1)],
        ]}
      />
      <div class="slices">
        {of.map((slice) => (
          <section key={slice.axis} class="slice">
            <LineChart
              title={slice.axis}
              name={`shift-slice-${slice.axis}`}
              n={slice.x.length}
              x={{ label: slice.axis }}
              y={{ label: "loss" }}
              height={230}
              series={[
                ["old", slice.old],
                ["new", slice.new],
              ].map(([name, y], k) => ({
                name: name as string,
                x: slice.x,
                y: y as Num[],
                colour: colour(k),
                dash: dash(k),
                width: 2,
              }))}
              caption={`n = ${slice.x.length} points a line`}
            />
          </section>
        ))}
      </div>
    </section>
  )
}

function Remedies({ of }: { of: ShiftView["remedies"] }): JSX.Element {
  const chosen = of.find((remedy) => remedy.recommended)
  const tried = of.filter((remedy) => remedy.loss !== null)
  const left = of.filter((remedy) => remedy.loss === null)
  return (
    <section data-recommended={chosen?.name ?? ""}>
      <h3>What helps</h3>
      {chosen && (
        <p>
          Recommended: <b>{chosen.name}</b>
          {chosen === tried[0] ? ", the model as it is." : "."}
        </p>
      )}
      <Figure
        draw={(width, theme) => remediesDrawing(tried, width, theme)}
        name="remedies"
        label={`Loss on the new data after n = ${tried.length} remedies${chosen ? `; recommended: ${chosen.name}` : ""}.`}
        caption={
          `n = ${tried.length} remedies, learned on one half of the new rows and measured on the other; bars: 95 % ` +
          `intervals of the difference to doing nothing (dashed)${chosen ? "; ★ recommended" : ""}`
        }
        data={{ n: tried.length, drawn: tried.length }}
      />
      <div class="scroll" tabIndex={0} role="group" aria-label="Table of remedies">
        <table>
          <thead>
            <tr>
              <th>Remedy</th>
              <th class="num">Loss on the new</th>
              <th class="num">Difference to nothing, 95 %</th>
              <th class="num">Loss on the old</th>
              <th>Cost</th>
            </tr>
          </thead>
          <tbody>
            {tried.map(({ name, loss, interval, cost, old_loss, recommended }) => (
              <tr key={name} class={recommended ? "chosen" : undefined}>
                <th scope="row">
                  {recommended && <span aria-label="recommended">★ </span>}
                  {name}
                </th>
                <td class="num">{number(loss, 4)}</td>
                <td class="num">
                  {name === tried[0].name
                    ? "–"
                    : `${signed(interval[0], "number")} to ${signed(interval[1], "number")}`}
                </td>
                <td class="num">{number(old_loss, 4)}</td>
                <td>{cost}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {left.length > 0 && <p class="soft">Without a loss: {left.map((remedy) => remedy.name).join(", ")}.</p>}
    </section>
  )
}
