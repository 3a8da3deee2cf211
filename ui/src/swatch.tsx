/** What the lines of several charts stand for. */
import type { JSX } from "preact"

export function Swatch({ colour, dash }: { colour: string; dash: number[] }): JSX.Element {
  return (
    <svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">
      <line
        x1="1"
        y1="5"
        x2="25"
        y2="5"
        stroke={colour}
        stroke-width="2.6"
        stroke-dasharray={dash.join(" ") || undefined}
      />
    </svg>
  )
}

export function Lines({ of }: { of: [name: string, colour: string, dash: number[]][] }): JSX.Element {
  return (
    <ul class="legend-line">
      {of.map(([name, colour, dash]) => (
        <li key={name}>
          <Swatch colour={colour} dash={dash} />
          {name}
        </li>
      ))}
    </ul>
  )
}
