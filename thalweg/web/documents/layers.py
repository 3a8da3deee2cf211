"""The ``Layers`` document: what layers did over a run, and initialization against normalization."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import Any

from .catalogue import AXES, has_experiments, missing
from .rates import question
from .reading import VERDICT, Runs, final, head_of, number, numbers, read, runs_of

FILE = "layers.json"
USUAL = {"init": "torch", "norm": "keep"}  # what a recipe has that does not say


def document(folder: Path) -> dict[str, Any]:
    """The ``Layers`` of a study: its ``layers.json``, and the table of its axes ``init`` and ``norm``.

    Raises:
        BadStudy: it has neither.
    """
    own, whole, head = read(folder, FILE), read(folder, VERDICT), head_of(folder)
    tested = experiments(head, whole, runs_of(folder)) if has_experiments(head, whole) else None
    if own is None and tested is None:
        raise missing(folder, "measured layers", f"layers {quote(str(folder))}")
    if own is None:
        said = f"No layers were measured yet: thalweg layers {quote(str(folder))}"
        own = {"recipe": "", "seed": 0, "rows": 0, "steps": [], "layers": [], "quantities": [], "notes": [said]}
    keys = ("recipe", "seed", "rows", "steps", "layers", "notes")
    return {key: own[key] for key in keys} | {
        "quantities": [
            {
                **{key: quantity[key] for key in ("key", "label", "scale", "good")},
                "values": [numbers(row) for row in quantity["values"]],
            }
            for quantity in own["quantities"]
        ],
        "experiments": tested,
    }


def experiments(head: dict[str, Any], whole: dict[str, Any] | None, runs: Runs) -> dict[str, Any]:
    """The finals by two axes: initialization × normalization, or one of them against the other axis or the optimizers.

    A cell is the mean over those finals' seeds that did not diverge, and ``of`` tells how many there were; where several
    finalists fall into one, the better one's.
    """
    verdict = (whole or {}).get("verdict") or {}
    metric, direction = question(head, verdict, runs)
    asked = head["asked"]["axes"]
    row = next(axis for axis in AXES if axis in asked)
    column = next((axis for axis in (*AXES, *asked) if axis in asked and axis != row), "optimizer")
    finals: dict[str, dict[str, Any]] = {}
    for end in runs.ends.values():
        if end["phase"] == "final":
            place = (_value(end, row), _value(end, column))
            one = finals.setdefault(end["entrant"], {"place": place, "scores": []})
            one["scores"].append(final(end, "judge", metric) if end["outcome"]["status"] == "finished" else math.nan)
    rows, columns = (
        _ordered(asked.get(axis), (one["place"][k] for one in finals.values())) for k, axis in enumerate((row, column))
    )
    values: list[list[Any]] = [[None] * len(columns) for _ in rows]
    counts, whole_of = ([[0] * len(columns) for _ in rows] for _ in range(2))
    sign = 1 if direction == "max" else -1
    for one in finals.values():
        i, j = rows.index(one["place"][0]), columns.index(one["place"][1])
        finite = [s for s in one["scores"] if math.isfinite(s)]
        mean = sum(finite) / len(finite) if finite else None
        old = values[i][j]
        if not counts[i][j] or (mean is not None and (old is None or sign * mean > sign * old)):
            values[i][j], counts[i][j], whole_of[i][j] = mean, len(finite), len(one["scores"])
    return {
        "rows": rows, "columns": columns, "row": row, "column": column, "metric": metric,
        "values": [[number(v) for v in line] for line in values], "n": counts, "of": whole_of,
    }  # fmt: skip


def _value(end: dict[str, Any], axis: str) -> str:
    if axis.startswith("model."):
        return str(end.get("arguments", {}).get(axis.removeprefix("model."), ""))
    value = end["recipe"].get(axis, USUAL.get(axis, ""))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ordered(asked: Any, seen: Iterable[str]) -> list[str]:
    """The values of an axis, in the order in which they were asked."""
    first = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in asked or ()]
    known = list(dict.fromkeys(seen))
    return [v for v in first if v in known] + [v for v in known if v not in first]
