/** What passes through the layers while the network learns: a heat map for every quantity, all with one axis of time. */
import type { JSX } from "preact"
import { useState } from "preact/hooks"
import { count, number } from "../format"
import { beyond, type Cell, Heat } from "../heat"
import { Trouble } from "../parts"
import { source, useDocument } from "../source"
import type { Head, LayerQuantity, Layers } from "../types"
import { known } from "../contours"

export default function View({ head }: { head: Head | null }): JSX.Element {
  const id = head!.id
  const { value, error, loading } = useDocument(() => source.layers(id), [id])
  if (error) return <Trouble failure={error} />
  if (!value) return <p class="loading" role="status">{loading ? "Loading …" : "Nothing measured."}</p>
  return <LayersOf layers={value} />
}

function LayersOf({ layers }: { layers: Layers }): JSX.Element {
  const [cell, choose] = useState<Cell | null>(null)
  const rows = layers.layers.map((layer) => layer.name)
  const columns = layers.steps.map((step) => count(step))
  return (
    <section class="layers" data-quantities={layers.quantities.length} data-layers={rows.length} data-times={columns.length}>
      <h2>Layers</h2>
      <p class="lead">
        {rows.length} layers of <b>{layers.recipe}</b> (seed {layers.seed}), looked at {layers.steps.length} times on{" "}
        {count(layers.rows)} rows. {summary(layers)}
      </p>
      <p class="soft">
        One row is a layer, from the input at the top; one column a moment. A line at a cell's upper edge says: above the good
        range, at its lower edge: below.
      </p>
      <div class="heats">
        {layers.quantities.map((quantity) => (
          <section key={quantity.key} class="heat">
            <h3>{quantity.label}</h3>
            <Heat
              title={quantity.label} name={`layers-${quantity.key}`} n={layers.rows} rows={rows} columns={columns} across="step"
              scale={quantity.scale} good={quantity.good} values={quantity.values} cell={cell} onCell={choose}
              note={([row]) => kind(layers, row)}
              caption={`${layers.rows} rows of data${range(quantity)}`}
            />
          </section>
        ))}
      </div>
      {layers.experiments && <Experiments of={layers.experiments} />}
      {layers.notes.length > 0 && <ul class="notes">{layers.notes.map((note) => <li key={note}>{note}</li>)}</ul>}
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

/** Which layers are out of the good range at the end. */
function summary({ quantities, layers }: Layers): string {
  const out = quantities.flatMap((quantity) =>
    quantity.values.flatMap((row, layer) => {
      const last = row.filter(known).at(-1)
      const side = last === undefined ? 0 : beyond(last, quantity.good)
      return side === 0 ? [] : [`${quantity.label.toLowerCase()} of ${layers[layer].name} (${number(last)})`]
    }),
  )
  if (out.length === 0) return quantities.some((quantity) => quantity.good) ? "At the end all are in their good ranges." : ""
  const named = out.slice(0, 3).join("; ")
  return `At the end outside the good range: ${named}${out.length > 3 ? ` and ${out.length - 3} more` : ""}.`
}

function Experiments({ of }: { of: NonNullable<Layers["experiments"]> }): JSX.Element {
  const [cell, choose] = useState<Cell | null>(null)
  const least = Math.min(...of.n.flat())
  const most = Math.max(...of.n.flat())
  const seeds = least === most ? `${least}` : `${least} to ${most}`
  const positive = of.values.flat().filter(known)
  const wide = positive.length > 0 && Math.min(...positive) > 0 && Math.max(...positive) > 8 * Math.min(...positive)
  return (
    <section>
      <h3>{of.row} × {of.column}</h3>
      <p class="soft">What would have come of it: {of.metric} after training from each start with each kind of layer.</p>
      <Heat
        title={`${of.metric} by ${of.row} and ${of.column}`} name="layers-experiments" n={most} rows={of.rows} columns={of.columns}
        across={of.column} scale={wide ? "log" : "linear"} good={null} values={of.values} cell={cell} onCell={choose} numbers
        note={([row, column]) => ` · ${of.metric}, ${of.n[row][column]} seeds`} caption={`${of.metric}, mean of ${seeds} seeds a cell`}
      />
    </section>
  )
}
