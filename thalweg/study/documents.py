"""Standings and verdicts from their stored documents: the inverse of ``as_dict`` and JSON."""

from __future__ import annotations

from typing import Any

from ..recipe import Recipe
from .borders import Border
from .horizons import Trend
from .standing import Contrast, Standing
from .verdict import Verdict

TUPLES = ("sentences", "equivalent", "seeds", "diverged_where")
NUMBERS = ("mean", "lr_edge", "lr_expected", "lr_robustness_decades", "best_checkpoint")


def read_verdict(entry: dict[str, Any]) -> Verdict:
    """The verdict that ``Verdict.as_dict`` and JSON made of it."""
    values: dict[str, Any] = {
        k: tuple(v) if k in TUPLES else v for k, v in entry.items() if k in Verdict.__dataclass_fields__
    }
    return Verdict(**values)


def read_standing(entry: dict[str, Any]) -> Standing:
    """The standing that ``Standing.as_dict`` and JSON made of it."""
    values: dict[str, Any] = {
        k: tuple(v) if k in TUPLES else v for k, v in entry.items() if k in Standing.__dataclass_fields__
    }
    values |= {k: None if values[k] is None else float(values[k]) for k in NUMBERS}
    values["scores"] = tuple(float(s) for s in entry["scores"])
    values["interval"] = (float(entry["interval"][0]), float(entry["interval"][1]))
    values["rates"] = tuple((float(lr), float(score)) for lr, score in entry["rates"])
    values["recipe"] = Recipe(**entry["recipe"])
    if entry.get("border"):
        values["border"] = Border(**entry["border"])
    if entry.get("trend"):
        values["trend"] = Trend.of_dict(entry["trend"])
    for name in ("difference", "versus_best"):
        values[name] = _contrast(entry[name])
    return Standing(**values)


def _contrast(entry: dict[str, Any]) -> Contrast:
    low, high = entry["interval"]
    return Contrast(float(entry["mean"]), (float(low), float(high)), entry["p_better"], entry["decision"])
