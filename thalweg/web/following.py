"""What a study's trace says, read as it grows: each byte once, and each column when it is asked for."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import tomllib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadStudy
from ..run import COLUMNS, Floats
from ..store import Store
from .confinement import opened, opened_trace
from .lines import ALONE, Other, Steps, numbers, scan

PIECE = 4 << 20  # bytes that are read at once
LONGEST = 16 << 20  # bytes of a line; what is longer is passed over
OPENING = 256  # bytes by which a trace is known
WIDTH = 2 * len(COLUMNS)
DONE = ("finished", "diverged")  # what a run that is done again would come to with the same bits


class Growing:
    """Numbers that are appended to.

    Example:
        >>> numbers = Growing()
        >>> numbers.extend(np.arange(3.0))
        >>> numbers.values.tolist()
        [0.0, 1.0, 2.0]
    """

    def __init__(self) -> None:
        self._buffer: Floats = np.empty(0)
        self._count = 0

    def extend(self, values: Floats) -> None:
        """Append numbers."""
        count = self._count + len(values)
        if count > len(self._buffer):
            larger = np.empty(max(count, len(self._buffer) * 3 // 2))
            larger[: self._count] = self._buffer[: self._count]
            self._buffer = larger
        self._buffer[self._count : count] = values
        self._count = count

    @property
    def values(self) -> Floats:
        """All of them; a view."""
        return self._buffer[: self._count]


@dataclass(eq=False)
class Followed:
    """A run as far as its trace goes.

    Attributes:
        run: its name in the trace; ``run`` in the folder of a single run.
        entrant: whose run it is; phase: what for (``baseline``, ``probe``, ``rate``, ``final``, ...; ``run`` alone).
        recipe: what was chosen, as the store wrote it; ``steps``: how many were planned, None where it is not known.
        status: ``running`` until its end is written, then as in `thalweg.run.Outcome`, with ``where``, ``reason`` and ``end``.
        evaluations: dicts with ``step, samples, seconds, split`` and a value per metric.
        samples, seconds: by its last record.
    """

    run: str
    entrant: str = ""
    phase: str = "run"
    seed: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    status: str = "running"
    where: str | None = None
    reason: str | None = None
    end: int | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    samples: float = 0.0
    seconds: float = 0.0
    began: int = 0  # the byte at which its records begin, if it was begun again the last time
    ended: int | None = None  # the byte of the record of its end
    reported: int = 0  # evaluations that were in the trace before the end told all of them
    _path: Path = field(default=Path(), repr=False)
    _lock: Any = field(default_factory=threading.RLock, repr=False)
    _spans: array[int] = field(default_factory=lambda: array("q"), repr=False)
    _counts: list[int] = field(default_factory=list, repr=False)
    _columns: dict[str, Growing] = field(default_factory=dict, repr=False)
    _read: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def lr(self) -> float | None:
        """The recipe's learning rate."""
        lr = self.recipe.get("lr")
        return float(lr) if isinstance(lr, int | float) else None

    def __len__(self) -> int:
        return sum(self._counts)

    def column(self, name: str) -> Floats:
        """The numbers of a column, an entry a step: one of `thalweg.run.COLUMNS`; a non-finite one is NaN or infinite."""
        place = 2 * COLUMNS.index(name)
        with self._lock:
            known = self._columns.setdefault(name, Growing())
            first, last = self._read.get(name, 0), len(self._counts)
            if first < last:
                starts, ends = (self._spans[WIDTH * first + place + k :: WIDTH] for k in (0, 1))
                known.extend(_parsed(self._path, starts, ends, self._counts[first:]))
                self._read[name] = last
            return known.values

    def _again(self) -> None:
        self._spans, self._counts, self._columns, self._read = array("q"), [], {}, {}
        self.evaluations, self.reported, self.samples, self.seconds = [], 0, 0.0, 0.0

    def _add(self, line: Steps) -> None:
        if line.count:
            self._spans.extend(line.spans)
            self._counts.append(line.count)
            self.samples, self.seconds = line.samples, line.seconds

    def _close(self, outcome: Any, offset: int) -> None:
        known = outcome if isinstance(outcome, dict) else {}
        self.status = str(known.get("status", "stopped"))
        self.where, self.reason = (None if known.get(k) is None else str(known[k]) for k in ("where", "reason"))
        self.end = _whole(known.get("step"))
        self.ended = offset


class Follower:
    """The runs of a study, or the one of a run's folder; `refresh` reads what was written since.

    The same object may be asked from several threads. What it holds is what was asked for: a column of a run is read from
    the file the first time, and from then on only what is new.

    Attributes:
        folder: of the study.
        runs: by their names, in the order in which they began.
        cursor: the byte up to which the trace is known; it is the beginning of a line.
        damaged: lines that could not be read, and were passed over.
        seconds: of the study, by its last record.
        epoch: from a first one on, how often another file has taken the trace's place: a cursor is a byte of one file.

    Example:
        >>> import thalweg
        >>> run = thalweg.train("digits", thalweg.Recipe("sgd", lr=0.1), folder=tmp / "run", quiet=True)
        >>> follower = Follower(tmp / "run")
        >>> follower.refresh(), follower.refresh()
        (True, False)
        >>> bool((follower.runs["run"].column("loss") == np.float64([f"{x:.9g}" for x in run.trace.loss])).all())
        True
    """

    def __init__(self, folder: str | Path, epoch: int = 0) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "trace.jsonl"
        self._lock = threading.RLock()
        self.epoch = epoch - 1
        self._forget()

    def _forget(self) -> None:
        self.runs: dict[str, Followed] = {}
        self.cursor, self.damaged, self.seconds = 0, 0, 0.0
        self.epoch, self._opening = self.epoch + 1, b""
        self._file: tuple[int, int] | None = None
        self._single: bool | None = None

    def refresh(self) -> bool:
        """Read the whole lines that were written since the last time; whether there were any."""
        with self._lock:
            try:
                file = opened_trace(self.folder)
            except OSError:
                return self._finished()
            with file:
                stat = os.fstat(file.fileno())
                same = (stat.st_dev, stat.st_ino)
                opening = os.pread(
                    file.fileno(), len(self._opening), 0
                )  # another file may have its number and be longer
                if self._file not in (None, same) or stat.st_size < self.cursor or opening != self._opening:
                    self._forget()
                self._file, before = same, self.cursor
                self._read_on(file.fileno())
                if len(self._opening) < OPENING:
                    self._opening = os.pread(file.fileno(), min(OPENING, self.cursor), 0)
            return self._finished() or self.cursor > before

    def _read_on(self, handle: int) -> None:
        size = PIECE
        while data := os.pread(handle, size, self.cursor):
            whole = data.rfind(b"\n") + 1
            if not whole:
                if len(data) < size:
                    return
                if size < LONGEST:
                    size *= 2
                    continue
                self.damaged += 1
                whole = len(data)
            for line in scan(data[:whole], self.cursor):
                self._take(line)
            self.cursor += whole
            if len(data) < size:
                return

    def _take(self, line: Steps | Other) -> None:
        if isinstance(line, Steps):
            run = self._run(line.run)
            if run.ended is None:
                run._add(line)
            self.seconds = run.seconds if line.at is None else line.at
            return
        record = line.record
        if record is None:
            self.damaged += 1
            return
        run = self._run(str(record.get("run", ALONE)))
        at = record.get("at")
        self.seconds = float(at) if isinstance(at, int | float) else self.seconds
        if run.status in DONE and run.ended is not None:
            return
        if record["kind"] == "start":
            run._again()
            run.began, run.ended, run.status, run.where, run.reason, run.end = (
                line.offset,
                None,
                "running",
                None,
                None,
                None,
            )
            _describe(run, record)
        elif record["kind"] == "evaluation":
            run.evaluations.append({k: v for k, v in record.items() if k not in ("run", "kind", "at")})
        elif record["kind"] == "end":
            _describe(run, record)
            found = record.get("evaluations")
            run.reported = len(run.evaluations)
            run.evaluations = [e for e in found if isinstance(e, dict)] if isinstance(found, list) else run.evaluations
            run._close(record.get("outcome"), line.offset)
            run.samples, run.seconds = (
                float(v) if isinstance(v := record.get(k), int | float) else now
                for k, now in (("samples", run.samples), ("seconds", run.seconds))
            )

    def _run(self, name: str) -> Followed:
        run = self.runs.get(name)
        if run is None:
            run = self.runs[name] = Followed(name, entrant=name, _path=self.path, _lock=self._lock)
            if name == ALONE:
                head = self._document("study.json") or {}
                recipe = head.get("recipe")
                named = {"entrant": recipe["optimizer"]} if isinstance(recipe, dict) and "optimizer" in recipe else {}
                _describe(run, {"seed": head.get("seed"), "steps": head.get("steps"), "recipe": recipe} | named)
        return run

    def _finished(self) -> bool:
        """Whether the outcome of a single run has come."""
        run = self.runs.get(ALONE)
        if run is None or run.status != "running" or (said := self._document("run.json")) is None:
            return False
        run._close(said.get("outcome"), self.cursor)
        if not run.recipe:
            with (
                contextlib.suppress(OSError, ValueError, KeyError, BadStudy),
                opened(self.folder, "recipe.toml") as file,
            ):
                run.recipe = tomllib.load(file)
                run.entrant = str(run.recipe["optimizer"])
        return True

    def _document(self, name: str) -> dict[str, Any] | None:
        try:
            return Store(self.folder, opened).read(name)
        except BadStudy:
            return None

    def progress(self) -> dict[str, int | float]:
        """How many ``runs`` were begun, how many of them are ``running``, ``diverged``; ``samples``, ``seconds`` in all."""
        with self._lock:
            runs = list(self.runs.values())
            return {
                "runs": len(runs),
                "running": sum(run.status == "running" for run in runs),
                "diverged": sum(run.status == "diverged" for run in runs),
                "samples": round(sum(run.samples for run in runs if math.isfinite(run.samples))),
                "seconds": round(self.seconds, 3),
            }


def _describe(run: Followed, record: dict[str, Any]) -> None:
    """What a record of a beginning or an end says of the run; anything may stand in a trace of another's."""
    recipe, arguments = record.get("recipe"), record.get("arguments")
    run.recipe = recipe if isinstance(recipe, dict) else run.recipe
    run.arguments = arguments if isinstance(arguments, dict) else run.arguments
    run.entrant, run.phase = str(record.get("entrant", run.entrant)), str(record.get("phase", run.phase))
    seed, steps = _whole(record.get("seed")), _whole(record.get("steps"))
    run.seed, run.steps = run.seed if seed is None else seed, steps or run.steps


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parsed(path: Path, starts: Sequence[int], ends: Sequence[int], counts: Sequence[int]) -> Floats:
    """The numbers of several spans of a file, one after the other."""
    with opened_trace(path.parent) as file:
        handle = file.fileno()
        texts = [os.pread(handle, b - a, a) for a, b in zip(starts, ends, strict=True)]
    total = sum(counts)
    at_once = numbers(b",".join(texts), total)
    if total and np.isnan(at_once).all():  # one of them is not as it should be: the others are
        return np.concatenate([numbers(text, count) for text, count in zip(texts, counts, strict=True)])
    return at_once
