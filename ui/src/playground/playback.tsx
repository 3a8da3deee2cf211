/** Play, pause and step along the paths. */
import type { JSX } from "preact"
import { useCallback, useEffect, useRef, useState } from "preact/hooks"
import { count } from "../format"

const SECONDS = 4

export interface Playback {
  at: number
  playing: boolean
  play: (from?: number) => void
  pause: () => void
  show: (at: number) => void
}

/** Whether the reader asked the system for less motion. */
export function still(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches
}

/**
 * The step that is shown. It runs slowly at first, where most happens, and then faster (as the square of the time); with
 * less motion asked for it only goes where it is put.
 */
export function usePlayback(last: number): Playback {
  const [at, show] = useState(last)
  const [playing, set] = useState(false)
  const frame = useRef(0)
  const pause = useCallback((): void => {
    cancelAnimationFrame(frame.current)
    set(false)
  }, [])
  const play = useCallback(
    (from = 0): void => {
      cancelAnimationFrame(frame.current)
      if (last === 0 || still()) return show(last)
      set(true)
      let begun: number | null = null
      const early = Math.sqrt(Math.min(from / last, 1))
      const tick = (now: number): void => {
        begun ??= now
        const share = Math.min(early + (now - begun) / 1000 / SECONDS, 1)
        show(Math.floor(last * share * share))
        if (share < 1) frame.current = requestAnimationFrame(tick)
        else set(false)
      }
      show(from)
      frame.current = requestAnimationFrame(tick)
    },
    [last],
  )
  useEffect(() => () => cancelAnimationFrame(frame.current), [])
  return {
    at: Math.min(at, last),
    playing,
    play,
    pause,
    show: (step) => (pause(), show(Math.min(Math.max(step, 0), last))),
  }
}

export function Player({ playback, last }: { playback: Playback; last: number }): JSX.Element {
  const { at, playing } = playback
  const toggle = (): void => (playing ? playback.pause() : playback.play(at >= last ? 0 : at))
  return (
    <div class="player" role="group" aria-label="Play the race" data-playing={playing ? "yes" : "no"}>
      <button type="button" class="play" onClick={toggle} aria-label={playing ? "Pause" : "Play"} disabled={last === 0}>
        {playing ? "❚❚" : "▶"}
      </button>
      <button type="button" onClick={() => playback.show(at - 1)} aria-label="A step back" disabled={at === 0}>
        −1
      </button>
      <button type="button" onClick={() => playback.show(at + 1)} aria-label="A step on" disabled={at >= last}>
        +1
      </button>
      <input
        type="range"
        min={0}
        max={1}
        step={0.002}
        value={last > 0 ? Math.sqrt(at / last) : 0}
        aria-label="Step"
        aria-valuetext={`step ${at} of ${last}`}
        onInput={(event) => playback.show(Math.round(last * Number(event.currentTarget.value) ** 2))}
      />
      <output>
        step {count(at)} of {count(last)}
      </output>
    </div>
  )
}
