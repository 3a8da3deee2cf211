/** What passes through the layers while the network learns: a heat map a quantity, all with one axis of time. */
import type { JSX } from "preact"
import { useState } from "preact/hooks"
import { count, counted, isShare, number } from "../format"
import { type Cell, Heat } from "../heat"
import { Absent } from "../parts"
import { source, useDocument } from "../source"
import type { Head, LayerQuantity, Layers } from "../types"
import { known } from "../contours"
import { mostly } from "../mostly"

export default function View({ head }: { head: Head | null }): JSX.Element {
  const id = head!.id
  const { value, error, loading } = useDocument(() => source.layers(id), [id])
  if (!value) return <Absent error={error} loading={loading} />
  return <LayersOf layers={value} />
}

function LayersOf({ layers }: { layers: Layers }): JSX.Element {
  const [cell, choose] = useState<Cell | null>(null)
  const rows = layers.layers.map(({ name, kind, activation }) =>
    name.length > 7 ? name : `${name} ${activation ?? kind}`,
  )
  const columns = layers.steps.map((step) => count(step))
  return (
    <section
      class="layers"
      data-quantities={layers.quantities.length}
      data-layers={rows.length}
      data-times={columns.length}
    >
      <h2 class="title">Layers</h2>
      {rows.length > 0 && (
        <>
          <p class="lead">
            {rows.length} layers of <b>{layers.recipe}</b> (seed {layers.seed}), looked at {layers.steps.length} times
            on {count(layers.rows)} rows. {mostly(layers)}
          </p>
          <p class="soft">
            A row is a layer, from the input at the top; a column is a moment. A line at a cell's upper edge: above the
            good range; at its lower edge: below. Point at a cell or use the arrow keys: every map says what it has
            there.
          </p>
        </>
      )}
      <div class="heats">
        {layers.quantities.map((quantity) => (
          <section key={quantity.key} class="heat">
            <h3>{quantity.label[0].toUpperCase() + quantity.label.slice(1)}</h3>
            <Heat
              title={quantity.label}
              name={`layers-${quantity.key}`}
              n={layers.rows}
              rows={rows}
              columns={columns}
              across="step"
              quiet
              scale={quantity.scale}
              good={quantity.good}
              values={quantity.values}
              cell={cell}
              onCell={choose}
              note={([row]) => (rows[row] === layers.layers[row].name ? kind(layers, row) : "")}
              caption={`${layers.rows} rows of data${range(quantity)}`}
            />
          </section>
        ))}
      </div>
      {layers.experiments && <Experiments of={layers.experiments} />}
      {layers.notes.length > 0 && (
        <ul class="notes">
          {layers.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </section>
  )
}

function kind(layers: Layers, row: number): string {
  const { kind, activation } = layers.layers[row]
  return ` · ${kind}${activation ? `, ${activation}` : ""}`
}

function range({ good, scale }: LayerQuantity): string {
  if (!good || (good[0] === null && good[1] === null)) return ""
  const said = (value: number): string => (scale === "share" ? `${number(100 * value)} %` : number(value))
  if (good[0] === null) return `; good: at most ${said(good[1]!)}`
  return good[1] === null ? `; good: at least ${said(good[0])}` : `; good: ${said(good[0])} to ${said(good[1])}`
}

/** "5 seeds", or "1 of 5 seeds, the others diverged". */
function seedsOf({ n, of }: NonNullable<Layers["experiments"]>, row: number, column: number): string {
  const [some, all] = [n[row][column], of[row][column]]
  return some === all ? counted(all, "seed") : `${some} of ${counted(all, "seed")}, the others diverged`
}

/** Which cells are means of survivors. */
function lost(table: NonNullable<Layers["experiments"]>): string {
  const cells = table.rows.flatMap((row, r) =>
    table.columns.flatMap((column, c) =>
      table.n[r][c] < table.of[r][c] ? [`${row} × ${column}: ${table.n[r][c]} of ${table.of[r][c]}`] : [],
    ),
  )
  return cells.length > 0 ? `; of those that did not diverge: ${cells.join(", ")}` : ""
}

function Experiments({ of }: { of: NonNullable<Layers["experiments"]> }): JSX.Element {
  const [cell, choose] = useState<Cell | null>(null)
  const counts = of.n.flat().filter((n) => n > 0)
  const [least, most] = [Math.min(...counts), Math.max(0, ...counts)]
  const seeds = least === most ? `${least}` : `${least} to ${most}`
  const positive = of.values.flat().filter(known)
  const wide = positive.length > 0 && Math.min(...positive) > 0 && Math.max(...positive) > 100 * Math.min(...positive)
  return (
    <section>
      <h3>
        {of.row} × {of.column}
      </h3>
      <p class="soft">
        {of.metric[0].toUpperCase() + of.metric.slice(1)} at the end of training with each pair; a cell without a number
        was not trained, or diverged. A cell is the mean of the seeds that did not diverge; where several finalists
        share one, the better one is shown.
      </p>
      <Heat
        title={`${of.metric} by ${of.row} and ${of.column}`}
        name="layers-experiments"
        n={most}
        rows={of.rows}
        columns={of.columns}
        across={of.column}
        scale={wide ? "log" : "linear"}
        percent={isShare(of.metric)}
        good={null}
        values={of.values}
        cell={cell}
        onCell={choose}
        numbers
        note={([row, column]) => ` · ${of.metric}, ${seedsOf(of, row, column)}`}
        caption={`${of.metric}, mean of ${seeds} seeds a cell${lost(of)}`}
      />
    </section>
  )
}
