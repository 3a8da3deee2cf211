"""The ``Curves`` document: runs over steps, samples or seconds, thinned, with a band over the seeds of each optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import BadOption, one_of, unknown
from ...run import Floats
from ..following import Followed, Follower
from .bands import Course, Window, band
from .catalogue import entrants_of
from .rates import question
from .reading import VERDICT, column, head_of, number, read, runs_of

XS = ("step", "samples", "seconds")
STEPPED = ("loss", "lr", "grad_norm")
FINALS, ALL = "finals", "all"
PHASES = {"final": FINALS}  # phases of the trace that are called otherwise here
RISING = (
    "accuracy",
    "f1",
    "auc",
    "r2",
)  # metrics of which more is better; reading needs no torch, which their table does
ASKED = ("lr",)  # what a run does by plan: a divergence says nothing of it
MOST = 4000  # columns of pixels
CROSSES = 10  # runs that diverged, for each line of a group where some lines are left out


def document(
    follower: Follower,
    x: str = "step",
    y: str = "loss",
    columns: int = 800,
    low: float | None = None,
    high: float | None = None,
    phases: str | None = None,
    log: bool = False,
    singles: int | None = None,
) -> dict[str, Any]:
    """The ``Curves`` of a study, as far as its follower has read.

    Args:
        follower: of the study; it is not refreshed here.
        x: ``step``, ``samples`` or ``seconds``.
        y: ``loss``, ``lr``, ``grad_norm`` of every step, or ``SPLIT METRIC`` of the evaluations.
        columns: of pixels that a curve is drawn over, at most.
        low: where the window begins; None: at the first point.
        high: where it ends; None: at the last point.
        phases: ``finals``, another phase of the study, or ``all``; None: the finals where there are some, else all.
        log: whether the axis, and so the columns, are logarithmic.
        singles: lines of single runs in a group, at most, evenly in the order in which the runs began; None: all. Bands
            are of all runs, and some of the others that diverged keep their last point.

    Raises:
        BadOption: an x, y or phase that is not there, or a window without width.
        BadStudy: there is no study.
    """
    head, whole = head_of(follower.folder), read(follower.folder, VERDICT) or {}
    runs = list(follower.runs.values())
    metric, direction = question(head, whole.get("verdict") or {}, runs_of(follower.folder))
    there = _phases(runs)
    ys = _ys(runs)
    phase = (FINALS if FINALS in there else ALL) if phases is None else phases
    _check(x, y, columns, low, high, phase, there, ys)
    own = [run for run in runs if phase in (ALL, _phase(run))]
    names = entrants_of(head, [{"entrant": _entrant(run, head)} for run in runs])
    mine: dict[str, list[Followed]] = {}
    for run in own:
        mine.setdefault(_entrant(run, head), []).append(run)
    direction = _direction(y, metric, direction)
    window = Window(columns, low, high, log)
    groups, drawn, known = [], 0, 0
    for name in (one for one in names if one in mine):
        points = [_points(run, x, y) for run in mine[name]]
        lined = _evenly(range(len(points)), singles)
        lost = [k for k, run in enumerate(mine[name]) if run.status == "diverged"]
        crossed = _evenly([k for k in lost if k not in lined], None if singles is None else CROSSES * singles)
        curves = {k: _curve(mine[name][k], *points[k], x, window, k in lined) for k in sorted(lined | crossed)}
        groups.append(
            {
                "name": name,
                "n": len(points),
                "left_out": len(points) - len(lined),
                "diverged": len(lost),
                "band": _band(mine[name], points, y, window, direction == "max"),
                "runs": [*curves.values()],
            }
        )
        drawn += sum(len(curves[k]["x"]) for k in lined)
        known += sum(int(window.within(points[k][0]).sum()) for k in lined)
    return {
        "x": x,
        "y": y,
        "ys": ys,
        "direction": direction,
        "metric": metric,
        "phases": [*there, ALL],
        "phase": phase,
        "cursor": follower.cursor,
        "epoch": follower.epoch,
        "n": len(own),
        "groups": groups,
        "thinned": drawn < known,
    }


def _check(
    x: str, y: str, columns: int, low: float | None, high: float | None, phase: str, there: list[str], ys: list[str]
) -> None:
    for option, value, known in (("x", x, XS), ("y", y, ys), ("phases", phase, [*there, ALL])):
        if not one_of(*known).test(value) and not (option == "phases" and value == FINALS):
            raise unknown("curves", option, value, known)
    if not 1 <= columns <= MOST:
        raise BadOption(f"curves: columns must be from 1 to {MOST}, got {columns}", "give the width of the picture")
    if any(end is not None and not math.isfinite(end) for end in (low, high)):
        raise BadOption("curves: the window's ends must be finite numbers", "leave them out to see all")
    if low is not None and high is not None and not low < high:
        raise BadOption(f"curves: the window from {low:g} to {high:g} has no width", "give from < to")


def _phase(run: Followed) -> str:
    return PHASES.get(run.phase, run.phase)


def _phases(runs: Sequence[Followed]) -> list[str]:
    """The phases of a study in the order in which they began, the finals first."""
    seen = list(dict.fromkeys(map(_phase, runs)))
    return sorted(seen, key=lambda phase: phase != FINALS)


def _entrant(run: Followed, head: dict[str, Any]) -> str:
    """Whose run it is; a single run is its optimizer's."""
    return run.entrant if "asked" in head else str((head.get("recipe") or run.recipe).get("optimizer", run.entrant))


def _ys(runs: Sequence[Followed]) -> list[str]:
    """What can be drawn, in a fixed order."""
    seen: dict[str, None] = {}
    for run in runs:
        for e in run.evaluations:
            seen |= dict.fromkeys(f"{e.get('split')} {k}" for k in e if k not in (*XS, "split"))
    return [*STEPPED, *sorted(seen)]


def _points(run: Followed, x: str, y: str) -> tuple[Floats, Floats]:
    """A run's values and where they are, (N,) each."""
    if y in STEPPED:
        at, values = run.column(x), run.column(y)
        n = min(len(at), len(values))  # while the follower goes on, one may be a record ahead
        return at[:n], values[:n]
    split, _, name = y.partition(" ")
    pairs = [(_float(e.get(x)), _float(e[name])) for e in run.evaluations if e.get("split") == split and name in e]
    if not pairs:
        return np.empty(0), np.empty(0)
    at, values = np.array(pairs, dtype=np.float64).T
    return at, values


def _direction(y: str, metric: str, direction: str) -> str:
    """Whether what is drawn is to be large or small."""
    name = y.partition(" ")[2]
    return direction if name == metric else "max" if name in RISING else "min"


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _evenly(places: Sequence[int], most: int | None) -> set[int]:
    """So many of some places, from the first to the last; None: all."""
    if most is None or len(places) <= most:
        return set(places)
    return {places[k] for k in np.linspace(0, len(places) - 1, most).round().astype(int)}


def _curve(run: Followed, at: Floats, values: Floats, x: str, window: Window, line: bool) -> dict[str, Any]:
    """A run with its points; without a line its last finite one, where a cross can stand."""
    chosen = window.kept(at, values) if line else np.flatnonzero(np.isfinite(values))[-1:]
    known = at[np.isfinite(at)]
    return {
        "run": run.run,
        "seed": run.seed,
        "phase": run.phase,
        "lr": number(run.lr),
        "status": run.status,
        "where": run.where,
        "end": None if run.end is None else number({"step": run.end}.get(x, getattr(run, x, None))),
        "gap": number(np.ptp(known) / (len(known) - 1)) if len(known) > 1 else None,
        "x": column(at[chosen]),
        "y": column(values[chosen]),
    }


def _band(
    runs: Sequence[Followed], points: Sequence[tuple[Floats, Floats]], y: str, window: Window, rises: bool
) -> dict[str, Any] | None:
    """That of the seeds of the longest phase that has two runs or more; see `thalweg.web.documents.bands.band`."""
    together: dict[tuple[str, int | None, float | None], list[Course]] = {}
    for run, (at, values) in zip(runs, points, strict=True):
        lost = run.status == "diverged"
        if len(at) or (lost and y not in ASKED):
            together.setdefault((run.phase, run.steps, run.lr), []).append(Course(at, values, lost))
    if y in ASKED:
        together = {key: [c for c in found if not c.lost] or found for key, found in together.items()}
    several = {key: found for key, found in together.items() if len(found) > 1}
    if not several:
        return None
    chosen = max(several, key=lambda key: (key[1] or 0, key[0] == "final", len(several[key])))
    return band(several[chosen], window, rises)
