"""What is around a model beyond its slices: ways to another solution, walls, chords."""

from __future__ import annotations

from typing import Any

import torch

from ..building import build
from ..curvature import start_vector
from . import connecting, matching
from .convexity import convexity
from .escape import escape
from .views import Views
from .walls import walls as walls_around

STEPS = 300  # of the training of a curve between solutions
ESCAPE_STEPS = 200  # of the runs that are started near the model
PATH = 5_000_000  # numbers of such a run's path that are held
RATES = (0.5, 1.0, 2.0, 4.0)  # times the rate at which gradient descent is no longer stable


def measure(views: Views, *, connect: bool, walls: bool, convex: int) -> dict[str, Any]:
    """The connections, the walls and the chords that were asked for, by the names that `Landscape` has for them."""
    found: dict[str, Any] = {"connections": {}}
    try:
        if connect:
            _connect(views, found)
        if walls:
            _enclose(views, found)
        if convex:
            views.progress.at(f"{convex} chords")
            found["convexity"] = convexity(views.surface, center=views.surface.start, segments=convex, seed=views.seed)
    except KeyboardInterrupt:
        views.interrupted = True
    return found


def _connect(views: Views, into: dict[str, Any]) -> None:
    """The straight line to the nearest other solution, the same with its units matched, and a trained curve."""
    subject, surface = views.subject, views.surface
    if not subject.others:
        views.notes.append("No way to another solution: there is no second run of the same recipe.")
        return
    start, other = surface.start, surface.point(subject.others[0])
    found = into["connections"]
    found["line"] = connecting.line(surface, start, other)
    views.progress.at("matching units")
    twin = build(subject.task, subject.runs[0].recipe, subject.runs[0].seed)
    twin.load_state_dict(subject.others[0])
    into["matched"] = matched = matching.match(subject.task, subject.model, twin, seed=views.seed)
    found["matched line"] = connecting.line(surface, start, matched.point, matched=True)
    views.progress.at("a curve to another solution")
    found["curve"] = connecting.curve(surface, start, other, steps=STEPS, seed=views.seed)
    views.notes += matched.notes


def _enclose(views: Views, into: dict[str, Any]) -> None:
    """The walls along the softest, the steepest and a random direction, and which rates leave the model's place."""
    surface, ends = views.surface, views.ends
    views.progress.at("walls")
    directions = {
        "steepest": ends.vectors[0],
        "softest": ends.vectors[1],
        "random": start_vector(surface.n, views.seed),
    }
    others = [surface.point(state) for state in views.subject.others[:1]]
    reach = float((others[0] - surface.start).norm()) if others else float(surface.start.norm()) or 1.0
    into["walls"] = walls_around(
        surface, surface.start, directions=directions, reach=reach, other=next(iter(others), None)
    )
    steps = min(ESCAPE_STEPS, PATH // surface.n - 1)
    edge = 2 / ends.values[0] if ends.values[0] > 0 else float("nan")
    if steps < 10 or not torch.isfinite(torch.tensor(edge)):
        views.notes.append("No runs that leave the model's place were tried: too large, or it is not curved upward.")
        return
    views.progress.at("runs that may leave")
    rates = [factor * edge for factor in RATES]
    into["escapes"] = escape(surface, surface.start, rule="gd", rates=rates, steps=steps, seed=views.seed)
