"""Lines of a trace, found without reading their numbers: where each column of a ``steps`` record lies in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..run import COLUMNS, Floats

ALONE = "run"  # the name of the run in the folder of a single one, whose records name none
_HEAD = re.compile(rb'\{(?:"run":"([^"\\]*)",)?"kind":"steps","step":\[')
_AT = re.compile(rb'"at":([0-9.]+)\}$')
_NEXT = [f',"{name}":['.encode() for name in COLUMNS[1:]]
_ANY = [re.compile(rf'"{name}"\s*:\s*\['.encode()) for name in COLUMNS]


@dataclass(frozen=True, slots=True)
class Steps:
    """A record of steps: ``spans`` holds the beginning and the end of each column's numbers, from the file's beginning.

    ``count`` is the number of steps, ``samples`` and ``seconds`` are those of the last; ``at`` are the study's seconds.
    """

    offset: int
    run: str
    count: int
    spans: tuple[int, ...]
    samples: float
    seconds: float
    at: float | None


@dataclass(frozen=True, slots=True)
class Other:
    """A record that is no steps: ``record`` as the store wrote it, or None for a line that cannot be read."""

    offset: int
    record: dict[str, Any] | None


def scan(data: bytes, base: int) -> Iterator[Steps | Other]:
    r"""The records of whole lines.

    Args:
        data: lines, each with its end.
        base: where they begin in the file.

    Example:
        >>> line = b'{"kind":"steps","step":[1,2],"samples":[8,16],"seconds":[1,2],"loss":[3,4],"lr":[1,1],"grad_norm":[1,1]}'
        >>> [record] = scan(line + b"\n", 0)
        >>> record.count, record.samples, line[slice(*record.spans[6:8])]
        (2, 16.0, b'3,4')
    """
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield _steps(data, start, end, base) or _other(data, start, end, base)
        start = end + 1


def _steps(data: bytes, start: int, end: int, base: int) -> Steps | None:
    """A line as the store writes the records of steps; None: it is another, or in another order."""
    head = _HEAD.match(data, start, end)
    if head is None:
        return None
    first = head.end()
    last = data.find(b"]", first, end)
    spans = [first, last]
    for key in _NEXT:
        first = last + 1 + len(key)
        if last < 0 or data[last + 1 : first] != key:
            return None
        last = data.find(b"]", first, end)
        spans += (first, last)
    if last < 0:
        return None
    name = head[1].decode(errors="replace") if head[1] is not None else ALONE
    return _record(data, start, end, base, name, spans)


def _other(data: bytes, start: int, end: int, base: int) -> Steps | Other:
    """A line of any other kind, or steps in an order of another writer's."""
    try:
        record = json.loads(data[start:end])
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        return Other(base + start, None)
    if record["kind"] != "steps":
        return Other(base + start, record)
    spans: list[int] = []
    for key in _ANY:
        found = key.search(data, start, end)
        spans += (found.end(), data.find(b"]", found.end(), end)) if found else (start, start)
    return _record(data, start, end, base, str(record.get("run", ALONE)), spans)


def _record(data: bytes, start: int, end: int, base: int, run: str, spans: list[int]) -> Steps:
    count = data.count(b",", spans[0], spans[1]) + 1 if data[spans[0] : spans[1]].strip() else 0
    at = _AT.search(data, max(start, end - 40), end)
    return Steps(
        base + start, run, count, tuple(base + s for s in spans), _last(data, *spans[2:4]), _last(data, *spans[4:6]),
        _float(at[1]) if at else None,
    )  # fmt: skip


def _last(data: bytes, first: int, end: int) -> float:
    return _float(data[max(data.rfind(b",", first, end) + 1, first) : end])


def _float(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def numbers(text: bytes, count: int) -> Floats:
    """The numbers of a span; NaN for all of them where they cannot be read or are not as many.

    Example:
        >>> numbers(b'1,"nan",2.5', 3).tolist(), numbers(b"1,what", 2).tolist()
        ([1.0, nan, 2.5], [nan, nan])
    """
    try:
        found = np.array(json.loads(b"[" + text + b"]"), dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return np.full(count, np.nan)
    return found if found.shape == (count,) else np.full(count, np.nan)
