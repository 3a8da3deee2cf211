"""The slices: the loss along one direction."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch import Tensor

from . import directions
from .slice import Mark, place, reach
from .views import FILTERS, Views, mark

BEYOND = 0.25  # of a line, on both sides
RISE = 3.0  # times the loss, by which a slice along a curved direction goes up
LEAST = 0.1  # of a loss, for the same
EPS = sys.float_info.epsilon


def see(views: Views, kinds: Sequence[str]) -> bool:
    """The slices, one after the other; False after Ctrl-C."""
    surface, start = views.surface, views.surface.start
    here = (Mark("trained", "", None, (0.0,), 0.0, views.here),)
    whole = float(start.norm()) or 1.0
    for kind in kinds:
        if kind == "line":
            if not views.subject.runs:
                views.notes.append("No line: a model alone has no beginning.")
                continue
            first = views.subject.runs[0].points(surface.names)[0]
            axis = (start - first)[None]
            ends = place(surface, first, axis, [(mark("untrained"), first), (mark("trained"), start)])
            words = ("From the untrained (0) to the trained weights (1).",)
            going = views.see(kind, ("share of the way",), first, axis, [(-BEYOND, 1 + BEYOND)], ends, words)
        elif kind == "random":
            d = directions.random(views.subject.model, views.seed, views.scales)[None]
            going = views.see(kind, ("lengths of the filters",), start, d, [(-1.0, 1.0)], here, (FILTERS,))
        else:
            direction, said = _direction(views, kind)
            if direction is None:
                continue
            span = reach(surface, start, direction, RISE * max(views.here, LEAST), whole)
            words = (said,)
            going = views.see(kind, ("distance",), start, direction[None], [(-span, span)], here, words)
        if not going:
            return False
    return True


def _direction(views: Views, kind: str) -> tuple[Tensor | None, str]:
    """A direction of length one, and what it is."""
    surface = views.surface
    if kind == "gradient":
        _, slope = surface.gradient(surface.start)
        length = float(slope.norm())
        if not length > 0:
            views.notes.append("No slice along the gradient: it is zero.")
            return None, ""
        return -slope / length, f"Against the gradient, whose length is {length:.4g}."
    found = views.ends
    k = 0 if kind == "top" else 1
    name = "largest" if kind == "top" else "least"
    value = float(found.values[k])
    bound = max(float(found.bounds[k]), EPS * abs(value))  # no number is surer than its last digit
    said = f"Along the eigenvector of the Hessian's {name} eigenvalue, {value:.4g} ± {bound:.1g}."
    return found.vectors[k], said
