import type { JSX } from "preact"
import type { Head } from "../types"

export default function View(props: { head: Head | null }): JSX.Element {
  return <p>Playground of {props.head?.name}</p>
}
