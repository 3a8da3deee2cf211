/** Small parts that several views use. */
import type { ComponentChildren, JSX } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import type { Failure, Loaded } from "./source"

/** Why there is nothing to show, with the command that changes it. */
export function Trouble({ failure }: { failure: Failure }): JSX.Element {
  const command = failure.hint?.match(/(?:python -m )?thalweg [a-z].*$/m)?.[0] ?? null
  const words = command === null ? failure.hint : failure.hint?.replace(command, "").replace(/[\s:`]+$/, "")
  return (
    <div class="trouble" role="alert" data-error={failure.code}>
      <p>{/[.!?]$/.test(failure.message) ? failure.message : `${failure.message}.`}</p>
      {words && (
        <p class="soft">
          {words}
          {command ? ":" : ""}
        </p>
      )}
      {command && <Code text={command} />}
    </div>
  )
}

/** What stands in the place of a document that is not there. */
export function Absent({ error, loading }: Pick<Loaded<unknown>, "error" | "loading">): JSX.Element {
  if (error) return <Trouble failure={error} />
  return (
    <p class="loading" role="status">
      {loading ? "Loading …" : "Nothing measured."}
    </p>
  )
}

/** A sentence in which no line ends inside a number or an interval, nor between a number and its unit. */
export function Unbroken({ text }: { text: string }): JSX.Element {
  const parts = text.split(/([+±−-]?\d[\d.]*(?:e-\d+| %)|\[[^\]\s]+, [^\]\s]+\])/)
  return (
    <>
      {parts.map((part, i) =>
        i % 2 === 1 ? (
          <span class="unbroken" key={i}>
            {part}
          </span>
        ) : (
          part
        ),
      )}
    </>
  )
}

/** Text to copy. */
export function Code({ text, label }: { text: string; label?: string }): JSX.Element {
  return (
    <div class="code">
      <pre tabIndex={0} aria-label={label ?? "code"}>
        <code>{text}</code>
      </pre>
      <Copy text={text} />
    </div>
  )
}

export function Copy({ text }: { text: string }): JSX.Element {
  const [said, say] = useState("")
  const timer = useRef(0)
  useEffect(() => () => clearTimeout(timer.current), [])
  const copy = async (): Promise<void> => {
    say((await copied(text)) ? "Copied" : "Press Ctrl+C")
    clearTimeout(timer.current)
    timer.current = window.setTimeout(() => say(""), 2000)
  }
  return (
    <button type="button" class="copy" onClick={() => void copy()} aria-live="polite">
      {said || "Copy"}
    </button>
  )
}

/** Puts text on the clipboard; a page opened from disk may only have the old way. */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = document.createElement("textarea")
    area.value = text
    document.body.append(area)
    area.select()
    const done = document.execCommand("copy")
    area.remove()
    return done
  }
}

/** One of several, as buttons side by side. */
export function Choice<T extends string>(props: {
  label: string
  value: T
  options: [T, ComponentChildren][]
  onChange: (value: T) => void
  absent?: (value: T) => boolean // what cannot be chosen here
}): JSX.Element {
  return (
    <div class="choice" role="radiogroup" aria-label={props.label}>
      <span class="choice-label" aria-hidden="true">
        {props.label}
      </span>
      {props.options.map(([value, text]) => (
        <button
          key={value}
          type="button"
          role="radio"
          aria-checked={value === props.value}
          disabled={props.absent?.(value)}
          data-value={value}
          tabIndex={value === props.value ? 0 : -1}
          onClick={() => props.onChange(value)}
          onKeyDown={(event) => step(event, props)}
        >
          {text}
        </button>
      ))}
    </div>
  )
}

function step<T extends string>(
  event: KeyboardEvent,
  props: {
    value: T
    options: [T, ComponentChildren][]
    onChange: (value: T) => void
    absent?: (value: T) => boolean
  },
): void {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
  if (by === undefined) return
  event.preventDefault()
  const names = props.options.map(([value]) => value).filter((value) => value === props.value || !props.absent?.(value))
  const next = names[(names.indexOf(props.value) + by + names.length) % names.length]
  props.onChange(next)
  const group = (event.currentTarget as HTMLElement).parentElement
  group?.querySelector<HTMLElement>(`[data-value="${CSS.escape(next)}"]`)?.focus()
}

/** A switch that is on or off. */
export function Toggle(props: {
  label: ComponentChildren
  on: boolean
  onChange: (on: boolean) => void
  hint?: string
}): JSX.Element {
  return (
    <button
      type="button"
      class="toggle"
      aria-pressed={props.on}
      title={props.hint}
      onClick={() => props.onChange(!props.on)}
    >
      {props.label}
    </button>
  )
}
