"""The planes: the loss along two directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..curvature import batches_of
from . import directions
from .field import ModelField
from .one_axis import LEAST, RISE
from .slice import Mark, place, reach
from .views import FILTERS, Views, mark

MARGIN = 0.2  # of the paths' extent, around a plane of theirs


def checkpoints(views: Views, again: dict[tuple[str, int], float]) -> list[tuple[Mark, Tensor]]:
    """Every checkpoint of every run, with what was recorded and measured there."""
    found = []
    for run in views.subject.runs:
        points = run.points(views.surface.names)
        for step, point, recorded in zip(run.steps, points, run.recorded, strict=True):
            mark = Mark(
                f"{run.name}, step {step}", run.name, step, (), 0.0, 0.0, float(recorded), again[run.name, step]
            )
            found.append((mark, point))
    return found


def see(views: Views, kinds: Sequence[str], both: bool, batches: int, again: dict[tuple[str, int], float]) -> bool:
    """The planes, one after the other; False after Ctrl-C."""
    surface, start = views.surface, views.surface.start
    points = checkpoints(views, again)
    here: list[tuple[Mark, Tensor]] = [(mark("trained"), start)]
    for number, kind in enumerate(kinds):
        others = {**(views.others if both else {}), **(_each(views, batches) if number == 0 and batches else {})}
        explained = None
        if kind == "pca":
            if len({float(point.norm()) for _, point in points}) < 3:
                views.notes.append("No pca plane: there are not three checkpoints that differ.")
                continue
            found = directions.principal(torch.stack([point for _, point in points]))
            origin, axes, marks = found.mean, found.axes, place(surface, found.mean, found.axes, points)
            explained = tuple(map(float, found.explained))
            names = tuple(f"principal direction {k + 1} ({100 * s:.0f} %)" for k, s in enumerate(explained))
            off = f"The checkpoints are at most {found.off.max():.3g} off the plane, {found.off.mean():.3g} on average."
            words: tuple[str, ...] = (f"The plane nearest to {len(points)} checkpoints. {off}",)
            spans = _around(marks)
        elif kind == "random":
            pair = [directions.random(views.subject.model, views.seed + k, views.scales) for k in range(2)]
            origin, axes, marks = start, torch.stack(pair), place(surface, start, torch.stack(pair), here)
            names, spans = ("lengths of the filters", "lengths of the filters"), [(-1.0, 1.0), (-1.0, 1.0)]
            words = (FILTERS, f"The cosine between the two is {directions.orthogonal_share(pair):.2g}.")
        elif kind == "eigen":
            ends, whole = views.ends, float(start.norm()) or 1.0
            rise = RISE * max(views.here, LEAST)
            lengths = [reach(surface, start, v, rise, whole) for v in ends.vectors]
            origin, axes, marks = start, ends.vectors, place(surface, start, ends.vectors, here)
            names = tuple(f"distance, eigenvalue {v:.3g}" for v in ends.values)
            spans = [(-length, length) for length in lengths]
            words = ("The eigenvectors of the Hessian's largest and least eigenvalue.",)
        else:
            three = _three(views)
            if three is None:
                views.notes.append("No plane of three: it takes a run and another solution or checkpoint.")
                continue
            origin, axes = three[0][1], directions.plane_of(*(point for _, point in three))
            marks = place(surface, origin, axes, three)
            names, spans = ("distance", "distance"), _around(marks)
            words = (f"Through {', '.join(mark.name for mark, _ in three)}.",)
        if not views.see(kind, names, origin, axes, spans, marks, words, others, explained):
            return False
    return True


def _three(views: Views) -> list[tuple[Mark, Tensor]] | None:
    """Three points: the untrained model, the trained one, and another solution, or else one half-way."""
    subject, names = views.subject, views.surface.names
    if not subject.runs:
        return None
    course = subject.runs[0].points(names)
    found = [(mark("untrained"), course[0]), (mark("trained"), views.surface.start)]
    if subject.others:
        return [*found, (mark("trained from another seed"), views.surface.point(subject.others[0]))]
    if len(subject.runs) > 1:
        return [*found, (mark(subject.runs[1].name), subject.runs[1].points(names)[-1])]
    return [*found, (mark("half-way"), course[len(course) // 2])] if len(course) > 2 else None


def _around(marks: Sequence[Mark]) -> list[tuple[float, float]]:
    """Spans that hold all marks, with a margin."""
    spans = []
    for k in range(len(marks[0].at)):
        low, high = (f(mark.at[k] for mark in marks) for f in (min, max))
        wide = max(high - low, 1e-9)
        spans.append((low - MARGIN * wide, high + MARGIN * wide))
    return spans


def _each(views: Views, count: int) -> dict[str, ModelField]:
    """A field for each of some mini-batches of training."""
    own = batches_of(views.subject.task, count, views.seed)
    return {f"batch {k + 1}": views.surface.over([batch]) for k, batch in enumerate(own)}
