/** The sliders: each entrant's options, and what holds for all. */
import type { ComponentChildren, JSX } from "preact"
import { useState } from "preact/hooks"
import { Swatch } from "../swatch"
import type { RuleView } from "../types"
import { type Entrant, type Look, MOST, type Option, plain, settings, type Setup, share, valueAt } from "./setup"

/** A slider with its value to type. */
export function Slider(props: {
  label: string
  option: Pick<Option, "low" | "high" | "scale">
  value: number
  onChange: (value: number) => void
  name: string
  of?: string // whose it is, for who does not see it
}): JSX.Element {
  const [typed, type] = useState<string | null>(null)
  const told = (text: string): void => {
    type(null)
    const value = Number(text.replace(",", "."))
    if (text.trim() !== "" && Number.isFinite(value) && value >= 0) props.onChange(value)
  }
  const name = props.of ? `${props.label} of ${props.of}` : props.label
  return (
    <label class="slider" data-slider={props.name} data-value={props.value}>
      <span class="slider-label">{props.label}</span>
      <input
        type="range"
        min={0}
        max={1}
        step={0.005}
        value={share(props.option, props.value)}
        aria-label={name}
        aria-valuetext={plain(props.value)}
        onInput={(event) => props.onChange(valueAt(props.option, Number(event.currentTarget.value)))}
      />
      <input
        type="text"
        inputMode="decimal"
        class="typed"
        aria-label={`${name}, as a number`}
        value={typed ?? plain(props.value)}
        size={6}
        onInput={(event) => type(event.currentTarget.value)}
        onBlur={(event) => typed !== null && told(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Enter" && told(event.currentTarget.value)}
      />
    </label>
  )
}

interface RacersProps {
  setup: Setup
  rules: RuleView[]
  looks: Look[]
  change: (change: Partial<Setup>) => void
  bright: (row: number | null) => void
}

/** Who races: a row each. */
export function Racers({ setup, rules, looks, change, bright }: RacersProps): JSX.Element {
  const put = (row: number, one: Entrant | null): void =>
    change({ racers: setup.racers.flatMap((old, i) => (i === row ? (one ? [one] : []) : [old])) })
  const add = (name: string): void => {
    const rule = rules.find((one) => one.name === name)
    if (rule) change({ racers: [...setup.racers, { rule: name, options: { lr: settings(rule).lr }, on: true }] })
  }
  const full = setup.racers.length >= MOST
  return (
    <section class="racers" aria-label="Racers">
      <h3>Racers</h3>
      <ul>
        {setup.racers.map((one, row) => (
          <Row
            key={`${one.rule}-${row}`}
            one={one}
            rule={rules.find((rule) => rule.name === one.rule)}
            look={looks[row]}
            put={(next) => put(row, next)}
            bright={(yes) => bright(yes ? row : null)}
          />
        ))}
      </ul>
      <select
        aria-label="Add a racer"
        class="add"
        value=""
        disabled={full}
        onChange={(event) => add(event.currentTarget.value)}
      >
        <option value="">{full ? `${MOST} racers are the most` : "Add a racer …"}</option>
        {rules.map((rule) => (
          <option key={rule.name} value={rule.name}>
            {rule.label}
          </option>
        ))}
      </select>
    </section>
  )
}

function Row(props: {
  one: Entrant
  rule: RuleView | undefined
  look: Look
  put: (one: Entrant | null) => void
  bright: (yes: boolean) => void
}): JSX.Element | null {
  const { one, rule, look, put } = props
  const [open, setOpen] = useState(false)
  if (!rule) return null
  const values = { ...settings(rule), ...one.options }
  const set = (name: string, value: number): void => put({ ...one, options: { ...one.options, [name]: value } })
  const slider = (option: Option): JSX.Element => (
    <Slider
      key={option.name}
      name={option.name}
      label={option.label}
      option={option}
      value={values[option.name]}
      of={look.name}
      onChange={(value) => set(option.name, value)}
    />
  )
  const [rate, ...rest] = rule.options
  return (
    <li
      class={one.on ? "" : "off"}
      data-racer={one.rule}
      data-on={one.on ? "yes" : "no"}
      onPointerEnter={() => props.bright(true)}
      onPointerLeave={() => props.bright(false)}
      onFocusIn={() => props.bright(true)}
      onFocusOut={() => props.bright(false)}
    >
      <div class="racer-head">
        <label class="racer-name">
          <input
            type="checkbox"
            checked={one.on}
            onChange={(event) => put({ ...one, on: event.currentTarget.checked })}
          />
          <Swatch colour={look.colour} dash={look.dash} />
          <span>{look.name}</span>
        </label>
        <button
          type="button"
          class="more"
          aria-expanded={open}
          aria-label={`More of ${look.name}`}
          onClick={() => setOpen(!open)}
        >
          {open ? "less" : "more"}
        </button>
      </div>
      {slider(rate)}
      {open && (
        <div class="racer-more">
          {rest.map(slider)}
          <pre>{rule.equation}</pre>
          <button type="button" onClick={() => put(null)}>
            Take {look.name} out
          </button>
        </div>
      )}
    </li>
  )
}

const NOISE = { low: 1e-4, high: 10, scale: "log" } as const
const CLIP = { low: 0.01, high: 100, scale: "log" } as const
const STEPS = { low: 10, high: 5000, scale: "log" } as const

/** What holds for all racers. */
export function Everyone({ setup, change }: { setup: Setup; change: (change: Partial<Setup>) => void }): JSX.Element {
  const optional = (
    label: string,
    on: boolean,
    flip: (on: boolean) => void,
    slider: ComponentChildren,
  ): JSX.Element => (
    <div class="optional">
      <label>
        <input type="checkbox" checked={on} onChange={(event) => flip(event.currentTarget.checked)} /> {label}
      </label>
      {on && slider}
    </div>
  )
  return (
    <section class="everyone" aria-label="For all racers">
      <h3>For all</h3>
      <Slider
        name="steps"
        label="steps"
        option={STEPS}
        value={setup.steps}
        onChange={(value) => change({ steps: Math.min(Math.max(Math.round(value), 1), 5000) })}
      />
      {optional(
        "noise on the gradient",
        setup.noise > 0,
        (on) => change({ noise: on ? 0.1 : 0 }),
        <>
          <Slider name="noise" label="σ" option={NOISE} value={setup.noise} onChange={(noise) => change({ noise })} />
          <button type="button" class="small" onClick={() => change({ seed: setup.seed + 1 })}>
            Draw it anew (seed {setup.seed})
          </button>
        </>,
      )}
      {optional(
        "clip the gradient's norm",
        setup.clip !== null,
        (on) => change({ clip: on ? 1 : null }),
        <Slider
          name="clip"
          label="at most"
          option={CLIP}
          value={setup.clip ?? 1}
          onChange={(clip) => change({ clip: clip > 0 ? clip : null })}
        />,
      )}
    </section>
  )
}
