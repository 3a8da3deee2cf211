/** The names of what is compared with their lines; a press hides one or shows it again. */
import type { JSX } from "preact"
import { look } from "./palette"
import { useParam } from "./state"
import { Swatch } from "./swatch"

/** Which names are hidden, kept in the address by their places among the entrants. */
export function useHidden(entrants: string[]): [Set<string>, (name: string, alone?: boolean) => void] {
  const [text, set] = useParam("off", "")
  const hidden = new Set(
    text
      .split(".")
      .filter(Boolean)
      .map((at) => entrants[Number(at)]),
  )
  const change = (name: string, alone = false): void => {
    const others = entrants.filter((one) => one !== name)
    const onlyThis = others.every((one) => hidden.has(one)) && !hidden.has(name)
    const next = alone ? new Set(onlyThis ? [] : others) : new Set(hidden)
    if (!alone && !next.delete(name)) next.add(name)
    set(
      [...next]
        .map((one) => entrants.indexOf(one))
        .filter((at) => at >= 0)
        .sort((a, b) => a - b)
        .join("."),
    )
  }
  return [hidden, change]
}

interface LegendProps {
  names: string[]
  entrants: string[]
  hidden: Set<string>
  onChange: (name: string, alone?: boolean) => void
  note?: (name: string) => string | null
}

export function Legend({ names, entrants, hidden, onChange, note }: LegendProps): JSX.Element {
  return (
    <div class="legend" role="group" aria-label="Lines; with Shift: this one alone">
      {names.map((name) => (
        <button
          key={name}
          type="button"
          aria-pressed={!hidden.has(name)}
          title="Hide or show; with Shift: this one alone"
          onClick={(event) => onChange(name, event.shiftKey)}
        >
          <NamedSwatch name={name} entrants={entrants} />
          <span>{name}</span>
          {note?.(name) && <small>{note(name)}</small>}
        </button>
      ))}
    </div>
  )
}

/** The line of a name, in its colour and dashes. */
export function NamedSwatch({ name, entrants }: { name: string; entrants: string[] }): JSX.Element {
  return <Swatch {...look(name, entrants)} />
}
