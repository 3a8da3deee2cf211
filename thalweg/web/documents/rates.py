"""The ``Rates`` document: final value against learning rate, with best, width and edge of divergence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ...study import rates as rate_choice
from .catalogue import entrants_of, missing
from .reading import VERDICT, Runs, final, head_of, number, read, runs_of
from .verdict import border_sentence

FULL = ("baseline", "rate")  # the phases whose runs have full length and choose something


def document(folder: Path) -> dict[str, Any]:
    """The ``Rates`` of a study, finished or not.

    Raises:
        BadStudy: no run has ended yet.
    """
    head, whole, runs = head_of(folder), read(folder, VERDICT), runs_of(folder)
    if not runs.ends:
        raise missing(folder, "finished run", "compare TASK")
    verdict = (whole or {}).get("verdict") or {}
    metric, direction = question(head, verdict, runs)
    standings = {entry["name"]: entry for entry in (whole or {}).get("finalists", ())}
    delta = verdict.get("smallest_difference")
    sign = 1.0 if direction == "max" else -1.0
    groups = []
    for name in entrants_of(head, runs.starts.values()):
        ends = [end for end in runs.ends.values() if end["entrant"] == name and end["recipe"].get("lr")]
        if ends:
            groups.append(
                _group(name, ends, metric, sign, standings.get(name), None if delta is None else float(delta))
            )
    steps = (whole or {}).get("steps") or max((s["steps"] for s in runs.starts.values()), default=None)
    count = sum(len(group["points"]) for group in groups)
    return {"metric": metric, "direction": direction, "steps": steps, "n": count, "groups": groups}


def question(head: dict[str, Any], verdict: dict[str, Any], runs: Runs) -> tuple[str, str]:
    """The metric that decides, and whether it is to be large or small; before the verdict as the study's head says it."""
    metric = verdict.get("metric") or head.get("metric")
    if metric is None:
        seen = (e for end in runs.ends.values() for e in end.get("evaluations", ()))
        metric = next((k for e in seen for k in e if k not in ("step", "samples", "seconds", "split")), "loss")
    return str(metric), str(verdict.get("direction") or head.get("direction") or "min")


def _group(
    name: str,
    ends: list[dict[str, Any]],
    metric: str,
    sign: float,
    standing: dict[str, Any] | None,
    delta: float | None,
) -> dict[str, Any]:
    points = [
        {
            "lr": number(end["recipe"]["lr"]),
            "value": number(final(end, "select", metric)) if end["outcome"]["status"] == "finished" else None,
            "status": end["outcome"]["status"],
            "steps": int(end["steps"]),
            "seed": int(end["seed"]),
            "phase": end["phase"],
        }
        for end in ends
    ]
    points.sort(key=lambda point: (point["lr"], point["steps"], point["seed"]))
    means, diverged = _full(ends, metric)
    lrs, scores = list(means), [sign * mean for mean in means.values()]
    within = rate_choice.stretch(lrs, scores, delta) if delta is not None and len(lrs) > 1 else None
    edge = rate_choice.edge(sorted(diverged), diverged)
    if standing is not None:
        edge = standing["lr_edge"]
    width = standing["lr_robustness_decades"] if standing is not None else None
    if width is None and within is not None:
        width = math.log10(within[1] / within[0])
    return {
        "name": name,
        "points": points,
        "best": _best(means, sign, standing),
        "width_decades": number(width),
        "within": None if within is None else [number(within[0]), number(within[1])],
        "edge": number(edge),
        "border": None if standing is None else border_sentence(standing),
    }


def _full(ends: list[dict[str, Any]], metric: str) -> tuple[dict[float, float], dict[float, list[bool]]]:
    """Of the runs that choose a rate at the full length: the mean by rate where none failed, and who diverged."""
    values: dict[float, list[float]] = {}
    diverged: dict[float, list[bool]] = {}
    for end in ends:
        status = end["outcome"]["status"]
        if end["phase"] in FULL and status in ("finished", "diverged"):
            lr = float(end["recipe"]["lr"])
            values.setdefault(lr, []).append(final(end, "select", metric) if status == "finished" else math.nan)
            diverged.setdefault(lr, []).append(status == "diverged")
    means = {lr: float(np.mean(found)) for lr, found in sorted(values.items()) if np.isfinite(found).all()}
    return means, diverged


def _best(means: dict[float, float], sign: float, standing: dict[str, Any] | None) -> dict[str, Any] | None:
    """The chosen rate, its height read off between tested ones; before the verdict the best tested."""
    if not means:
        return None
    lr = float(standing["recipe"]["lr"]) if standing is not None else max(means, key=lambda rate: sign * means[rate])
    height = float(np.interp(math.log(lr), np.log(list(means)), list(means.values())))
    return {"lr": number(lr), "value": number(height)}
