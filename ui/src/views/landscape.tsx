/** The loss surface around the trained network, with the runs on it: planes, slices, connections. */
import type { ComponentChildren, JSX } from "preact"
import { useMemo } from "preact/hooks"
import { LineChart } from "../chart"
import { Contour, withPaths } from "../contour"
import { known } from "../contours"
import { Facts, SPACINGS } from "../facts"
import { number } from "../format"
import { shared } from "../levels"
import { colour, dash, look, useTheme } from "../palette"
import { Choice, Absent, Unbroken } from "../parts"
import { smooth, table } from "../planes"
import { Surface } from "../relief"
import { Lines } from "../swatch"
import { source, useDocument } from "../source"
import { useParam } from "../state"
import type { Relief } from "../solid"
import type { Head, Landscape, Num, Plane, SliceView } from "../types"

const KINDS: Record<string, string> = {
  pca: "Principal directions",
  random: "Random directions",
  eigen: "Eigenvectors",
  three: "Through three points",
}

export default function View({ head }: { head: Head | null }): JSX.Element {
  const id = head!.id
  const { value, error, loading } = useDocument(() => source.landscape(id), [id])
  if (!value) return <Absent error={error} loading={loading} />
  return <Of landscape={value} entrants={head!.entrants} />
}

function Of({ landscape, entrants }: { landscape: Landscape; entrants: string[] }): JSX.Element {
  const { planes } = landscape
  const keys = planes.map((plane, k) =>
    planes.findIndex((other) => other.kind === plane.kind) === k ? plane.kind : `${plane.kind}-${k}`,
  )
  const [kind, setKind] = useParam("plane", keys[0] ?? "")
  const plane = planes[Math.max(keys.indexOf(kind), 0)]
  return (
    <section
      class="landscape"
      data-planes={planes.length}
      data-slices={landscape.slices.length}
      data-complete={landscape.complete ? "yes" : "no"}
    >
      <h2 class="title">Landscape</h2>
      <div class="lead">
        <p>
          The loss around {landscape.where}
          {landscape.loss === null ? "" : `: ${number(landscape.loss, 4)} there`}, on {landscape.data}.
        </p>
        {landscape.sentences.map((sentence) => (
          <p key={sentence}>
            <Unbroken text={sentence} />
          </p>
        ))}
        {!landscape.complete && <p class="warn">Not all of it is measured yet; what is missing is hatched.</p>}
      </div>
      {plane && (
        <PlaneOf plane={plane} entrants={entrants}>
          {planes.length > 1 && (
            <Choice
              label="Plane"
              value={keys[planes.indexOf(plane)]}
              onChange={setKind}
              options={planes.map((one, k): [string, string] => [keys[k], KINDS[one.kind] ?? one.title])}
            />
          )}
        </PlaneOf>
      )}
      {landscape.slices.length > 0 && <Slices slices={landscape.slices} own={landscape.data} />}
      {landscape.connections.length > 0 && <Connections of={landscape.connections} />}
      {landscape.notes.length > 0 && (
        <details class="methods">
          <summary>How it was measured</summary>
          <ul class="notes">
            {landscape.notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </details>
      )}
    </section>
  )
}

function PlaneOf({
  plane,
  entrants,
  children,
}: {
  plane: Plane
  entrants: string[]
  children: ComponentChildren
}): JSX.Element {
  const theme = useTheme()
  const others = Object.keys(plane.others)
  const [data, setData] = useParam("data", others.length > 0 ? "both" : "own")
  const [as, setAs] = useParam("as", "contours")
  const all = useMemo(
    (): [string, string, Num[]][] => [
      ["own", plane.data, plane.values],
      ...others.map((name): [string, string, Num[]] => [name, name, plane.others[name]]),
    ],
    [plane],
  )
  const levels = useMemo(() => shared(all.map(([, , values]) => values)), [all])
  const shown = data === "both" && as === "contours" ? all : [all.find(([key]) => key === data) ?? all[0]]
  const relief = useMemo((): Relief => {
    const [, , values] = shown[0]
    const paths = plane.paths.map((path) => ({
      name: path.run,
      points: path.points,
      colour: look(path.run, withPaths(entrants, plane)).colour,
    }))
    const title = `${plane.title}, ${plane.data}`
    return {
      title,
      grid: smooth(plane, values, levels),
      levels,
      axes: plane.axes,
      paths,
      theme,
      table: table(plane, values, { measured: "loss", paths: true }),
    }
  }, [plane, shown[0][2], levels, theme, entrants])
  return (
    <>
      <div class="controls">
        {children}
        <Choice
          label="Drawn"
          value={as === "surface" ? "surface" : "contours"}
          onChange={setAs}
          options={[
            ["contours", "Contours"],
            ["surface", "Surface"],
          ]}
        />
        {others.length > 0 && (
          <Choice
            label="Data"
            value={as === "surface" && data === "both" ? "own" : data}
            onChange={setData}
            options={[
              ...(as === "contours" ? [["both", "Side by side"] as [string, string]] : []),
              ...all.map(([key, name]): [string, string] => [key, name]),
            ]}
          />
        )}
      </div>
      <div class="plane">
        <div class={shown.length > 1 ? "sides" : "alone"}>
          {as === "surface" ? (
            <Surface
              relief={relief}
              name={`surface-${plane.kind}`}
              label={`${plane.title} as a surface over ${shown[0][1]}.`}
              caption={`${evaluated(plane)} · height: ${SPACINGS[levels.spacing]}`}
              data={{ levels: levels.values.length, paths: plane.paths.length, kind: plane.kind, n: plane.evaluated }}
            />
          ) : (
            shown.map(([key, name, values], k) => (
              <section key={key}>
                {shown.length > 1 && <h3>{name}</h3>}
                <Contour
                  plane={plane}
                  values={values}
                  levels={levels}
                  entrants={entrants}
                  of={name}
                  name={`landscape-${plane.kind}${k ? `-${key}` : ""}`}
                  caption={`${name} · ${evaluated(plane)}`}
                />
              </section>
            ))
          )}
        </div>
        <Facts plane={plane} levels={levels} entrants={entrants} />
      </div>
    </>
  )
}

function evaluated(plane: Plane): string {
  const total = plane.x.length * plane.y.length
  return plane.evaluated >= total
    ? `n = ${total} points, all measured, smooth in between`
    : `n = ${plane.evaluated} of ${total} points measured`
}

function Slices({ slices, own }: { slices: SliceView[]; own: string }): JSX.Element {
  const measured = slices.filter((slice) => slice.values.some(known))
  const left = slices.filter((slice) => !measured.includes(slice))
  const names = [own, ...new Set(measured.flatMap((slice) => Object.keys(slice.others)))]
  return (
    <section>
      <h3>Slices</h3>
      {names.length > 1 && <Lines of={names.map((name, k) => [name, colour(k), dash(k)])} />}
      {left.length > 0 && <p class="soft">Without values: {left.map((slice) => slice.title).join(", ")}.</p>}
      <div class="slices">
        {measured.map((slice, k) => {
          const all = [...slice.values, ...Object.values(slice.others).flat()].filter(known)
          const log = all.length > 0 && Math.min(...all) > 0 && Math.max(...all) > 20 * Math.min(...all)
          const series = [[own, slice.values] as [string, Num[]], ...Object.entries(slice.others)].map(([name, y]) => ({
            name,
            y,
            x: slice.x,
            colour: colour(names.indexOf(name)),
            dash: dash(names.indexOf(name)),
            width: 2,
            dots: slice.x.length > 30 ? undefined : 2.5,
          }))
          const marks = slice.marks
            .filter((mark) => mark.at.every(known))
            .map((mark) => ({
              kind: "vertical" as const,
              x: mark.at[0],
              colour: "#888888",
              dash: [3, 3],
              label: mark.name,
            }))
          return (
            <section key={`${slice.kind}-${k}`} class="slice">
              <h4>{slice.title}</h4>
              <LineChart
                title={slice.title}
                name={`slice-${slice.kind}-${k}`}
                n={slice.x.length}
                x={{ label: slice.axis }}
                y={{ label: "loss", log }}
                series={series}
                marks={marks}
                height={230}
                caption={`n = ${slice.x.length} points a line · ${slice.words[0] ?? ""}`}
              />
            </section>
          )
        })}
      </div>
    </section>
  )
}

function Connections({ of }: { of: Landscape["connections"] }): JSX.Element {
  const title = "From one solution to another"
  return (
    <section>
      <h3>{title}</h3>
      <Lines of={of.map((one, k) => [one.kind, colour(k), dash(k)])} />
      <LineChart
        title={title}
        name="connections"
        n={Math.max(...of.map((one) => one.x.length))}
        x={{ label: "share of the way" }}
        y={{ label: "loss" }}
        height={280}
        series={of.map((one, k) => ({
          name: one.kind,
          x: one.x,
          y: one.values,
          colour: colour(k),
          dash: dash(k),
          width: 2,
        }))}
        caption={`n = ${Math.max(...of.map((one) => one.x.length))} points a line`}
      />
      {of.map((one) => (
        <p key={one.kind}>{one.sentence}</p>
      ))}
    </section>
  )
}
