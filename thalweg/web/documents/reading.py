"""Reading a study's folder for the page: its JSON documents, what its runs came to, and numbers as the page has them."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BadStudy, ThalwegError
from ...store import Store
from ..confinement import opened, opened_trace
from ..following import LONGEST, OPENING
from ..lines import ALONE
from ..thinning import rounded

DIGITS = 6
LARGEST = 2**63  # what a whole number stays below: a page that reads more has an infinite one
TRACE, VERDICT, RUN = "trace.jsonl", "verdict.json", "run.json"
DAMAGE = (
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, OSError, MemoryError,
)  # fmt: skip


@contextlib.contextmanager
def intact(folder: Path) -> Iterator[None]:
    """What reads a study of which anything may have been written: no damage is more than an error of this study.

    Args:
        folder: of the study.

    Raises:
        BadStudy: it does not hold what it should.

    Example:
        >>> with intact(tmp / "s"):
        ...     {"cost": {}}["cost"]["seconds"]
        Traceback (most recent call last):
        thalweg.errors.BadStudy: s is damaged: KeyError 'seconds'
        hint: run it again in another folder
    """
    try:
        yield
    except ThalwegError:
        raise
    except DAMAGE as error:
        what = f"{type(error).__name__} {error}"[:200].strip()
        raise BadStudy(f"{folder.name} is damaged: {what}", "run it again in another folder") from error


def number(value: Any) -> float | int | None:
    """A number with six significant digits; None for what is missing or not finite, which JSON holds as a string.

    Example:
        >>> number(1 / 3), number("nan"), number(None), number(1234567)
        (0.333333, None, None, 1234567)
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < LARGEST else None
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def numbers(values: Iterable[Any]) -> list[float | int | None]:
    """`number` of each.

    Example:
        >>> numbers([0.1234567, "inf"])
        [0.123457, None]
    """
    return [number(v) for v in values]


def column(values: npt.ArrayLike) -> list[float | None]:
    """`numbers` of an array, in order.

    Example:
        >>> column([[2 / 3, float("nan")], [0.0, 1234567.0]])
        [0.666667, None, 0.0, 1234570.0]
    """
    return rounded(np.asarray(values, dtype=np.float64).ravel(), DIGITS)


def pair(interval: Any) -> list[float | int | None]:
    """Both ends of an interval; None, None where it is not known."""
    return numbers(interval) if isinstance(interval, list | tuple) and len(interval) == 2 else [None, None]


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """A JSON document of a study, None where there is none.

    Raises:
        BadStudy: it cannot be read.
    """
    return Store(folder, opened).read(name)


def head_of(folder: Path) -> dict[str, Any]:
    """``study.json`` of a study or a run.

    Raises:
        BadStudy: there is neither.
    """
    return Store(folder, opened).head()


def text(folder: Path, name: str, most: int = 100_000) -> str | None:
    """A small text file of a study, None where there is none."""
    try:
        with opened(folder, name) as file:
            return file.read(4 * most).decode(errors="replace")[:most]
    except OSError:
        return None


@dataclass(frozen=True)
class Runs:
    """What a trace says of its runs, without their steps.

    Attributes:
        starts: by run the record of its beginning.
        ends: by run that of its end; of a run that was done twice the last.
        seconds: of the study, at the last record.
    """

    starts: dict[str, dict[str, Any]] = field(default_factory=dict)
    ends: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0

    def status(self, run: str) -> str:
        """``finished``, ``diverged``, ``stopped``; ``running`` before the end."""
        end = self.ends.get(run)
        return "running" if end is None else str(end["outcome"]["status"])


def runs_of(folder: Path) -> Runs:
    """What the trace of a study says of its runs; of the folder of one run, that one.

    Raises:
        BadStudy: the trace cannot be read.
    """
    try:
        return _reading(folder).runs()
    except FileNotFoundError:
        return Runs()


@functools.lru_cache(maxsize=512)
def _reading(folder: Path) -> _Reading:
    return _Reading(folder)


class _Reading:
    """A trace without its steps, of which each byte is read once as it grows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._lock = folder, threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self.cursor, self._file, self._opening, self._state = 0, (0, 0), b"", (0, 0)
        self._starts: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, dict[str, Any]] = {}
        self._evaluations: list[dict[str, Any]] = []
        self._steps: bytes = b"{}"

    def runs(self) -> Runs:
        """What the trace says now."""
        with self._lock, opened_trace(self.folder) as file:
            about = os.fstat(file.fileno())
            known = (about.st_dev, about.st_ino)
            opening = file.read(OPENING)
            state = (about.st_size, about.st_mtime_ns)
            rewritten = state[0] == self._state[0] and state[1] != self._state[1]
            if (
                self._file != known or about.st_size < self.cursor or rewritten
                or not opening.startswith(self._opening)
            ):  # fmt: skip
                self._forget()
            self._file, self._state = known, state
            file.seek(self.cursor)
            while line := file.readline(LONGEST):
                if line[-1:] != b"\n" and len(line) < LONGEST:
                    break
                self.cursor += len(line)
                self._take(line)
            self._opening = opening[: self.cursor]
            starts, ends, steps = dict(self._starts), dict(self._ends), _record(self._steps)
            if self.cursor and not starts and not ends:
                return _alone(self.folder, steps, list(self._evaluations))
        at = [float(record.get("at", 0.0)) for record in (*starts.values(), *ends.values(), steps)]
        return Runs(starts, ends, max(at, default=0.0))

    def _take(self, line: bytes) -> None:
        if b'"kind":"steps"' in line:
            self._steps = line
            return
        record = _record(line)
        if record.get("kind") == "evaluation":
            self._evaluations.append(record)
        elif record.get("kind") in ("start", "end") and isinstance(record.get("run"), str):
            (self._starts if record["kind"] == "start" else self._ends)[record["run"]] = record


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _alone(folder: Path, steps: dict[str, Any], evaluations: list[dict[str, Any]]) -> Runs:
    """The run of a folder that holds one."""
    head, done = head_of(folder), read(folder, RUN)
    recipe = head.get("recipe") or {}
    start = {
        "run": ALONE,
        "kind": "start",
        "phase": "train",
        "entrant": recipe.get("optimizer", "run"),
        "recipe": recipe,
        "seed": head.get("seed", 0),
        "steps": head.get("steps") or 0,
    }
    seconds = float((steps.get("seconds") or [0.0])[-1])
    if done is None:
        return Runs({ALONE: start}, {}, seconds)
    end = start | {
        "kind": "end",
        "outcome": done["outcome"],
        "evaluations": evaluations,
        "steps_done": (steps.get("step") or [0])[-1],
        "samples": (steps.get("samples") or [0])[-1],
        "seconds": done["seconds"],
    }
    return Runs({ALONE: start}, {ALONE: end}, float(done["seconds"]))


def final(record: dict[str, Any], split: str, metric: str) -> float:
    """The last value of a metric in a run's closing record, NaN where there is none."""
    known = (e for e in reversed(record.get("evaluations", ())) if e.get("split") == split and metric in e)
    found = next(known, None)
    return math.nan if found is None else float(found[metric])
