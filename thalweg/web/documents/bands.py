"""What the seeds of a recipe came to at each step: median and spread; a run that diverged counts as the worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...run import Floats
from ..thinning import kept
from .reading import column

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 10  # runs, below which the band is from the least to the greatest
BLOCK = 1 << 16  # steps that are compared at once
MEDIAN = 0.5


@dataclass(frozen=True)
class Window:
    """What is drawn of the x axis: over so many columns of pixels, from ``low`` to ``high``, in the logarithm or not."""

    columns: int
    low: float | None = None
    high: float | None = None
    log: bool = False

    def within(self, at: Floats) -> NDArray[np.bool_]:
        """Which places lie in it."""
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        return (at >= low) & (at <= high)

    def kept(self, at: Floats, values: Floats) -> NDArray[np.intp]:
        """The numbers of the points that are drawn; at most `thalweg.web.thinning.MOST` a column, and one on each side.

        Example:
            >>> at = np.arange(1.0, 1001.0)
            >>> points = Window(30, log=True).kept(at, np.zeros(1000))
            >>> points[:4].tolist(), len(points) < 60
            ([0, 1, 2, 3], True)
        """
        if self.low is None and self.high is None and len(at) <= self.columns and bool(np.isfinite(at).all()):
            return np.arange(len(at))
        if not self.log:
            return kept(at, values, self.columns, self.low, self.high)
        with np.errstate(all="ignore"):
            ends = (None if end is None or end <= 0 else math.log(end) for end in (self.low, self.high))
            return kept(np.log(at), values, self.columns, *ends)


@dataclass(frozen=True)
class Course:
    """A run's values, (N,), at places that rise, (N,); ``lost``: it diverged after the last of them."""

    at: Floats
    values: Floats
    lost: bool


def band(courses: Sequence[Course], window: Window, rises: bool) -> dict[str, Any] | None:
    """Median and spread of several runs at every step of theirs, thinned as curves are.

    A run that diverged counts from there on as worse than any number, as a value that is not finite does; it would flatter
    a recipe to leave it out. Where a run that did not diverge is not (yet) known, the band ends. It reaches from the least
    to the greatest of fewer than ten runs, and from 10 to 90 % of more. What is worse than any number is null.

    Args:
        courses: of the runs, all of the same recipe and length.
        window: what is drawn.
        rises: whether larger values are better.

    Example:
        >>> at = np.arange(3.0)
        >>> runs = [Course(at, at + k, False) for k in range(2)] + [Course(at[:2], at[:2], True)]
        >>> found = band(runs, Window(10), rises=False)
        >>> found["mid"], found["high"], found["levels"]
        ([0.0, 1.0, 3.0], [1.0, 2.0, None], [0.0, 1.0])
    """
    grid = _grid(courses, window)
    levels = (0.0, 1.0) if len(courses) < FEW else (0.1, 0.9)
    low, mid, high = np.empty((3, len(grid)))
    known = len(grid)
    for first in range(0, len(grid), BLOCK):
        part = slice(first, first + BLOCK)
        table, missing = _table(courses, grid[part], rises)
        low[part], mid[part], high[part] = _quantiles(table, (levels[0], MEDIAN, levels[1]), rises)
        if missing.any():
            known = first + int(missing.argmax())
            break
    grid, rows = grid[:known], [values[:known] for values in (low, mid, high)]
    if not known:
        return None
    chosen = np.unique(np.concatenate([window.kept(grid, values) for values in rows]))
    return {
        "x": column(grid[chosen]),
        **{name: column(values[chosen]) for name, values in zip(("low", "mid", "high"), rows, strict=True)},
        "n": len(courses),
        "levels": list(levels),
    }


def _grid(courses: Sequence[Course], window: Window) -> Floats:
    """The places of the longest run that lie in the window, from where on each run has begun."""
    found = [course.at[np.isfinite(course.at)] for course in courses]
    begun = [at for at in found if len(at)]
    if not begun:
        return np.empty(0)
    longest = np.unique(max(begun, key=lambda at: (float(at[-1]), len(at))))
    longest = longest[longest >= max(float(at.min()) for at in begun)]
    return np.asarray(longest[window.within(longest)], dtype=np.float64)


def _table(courses: Sequence[Course], grid: Floats, rises: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """The runs' values on the grid, (R, N), the worst where they had diverged, and where one is missing, (N,)."""
    worst = -math.inf if rises else math.inf
    table, missing = np.full((len(courses), len(grid)), worst), np.zeros(len(grid), dtype=bool)
    for row, (at, values, lost) in zip(table, ((c.at, c.values, c.lost) for c in courses), strict=True):
        order = np.argsort(at, kind="stable")
        order = order[np.isfinite(at[order])]
        at, values = at[order], values[order]
        there = (grid <= at[-1]) if len(at) else np.zeros(len(grid), dtype=bool)
        if there.any():
            places = np.searchsorted(at, grid[there])
            with np.errstate(all="ignore"):
                between = np.interp(grid[there], at, values)
            found = np.where(at[places] == grid[there], values[places], between)
            row[there] = np.where(np.isfinite(found), found, worst)
        if not lost:
            missing |= ~there
    return table, missing


def _quantiles(table: Floats, levels: Sequence[float], rises: bool) -> list[Floats]:
    """Quantiles over the runs, linear between two of them; an infinite one makes what lies towards it infinite."""
    sign = -1.0 if rises else 1.0
    ranked = np.sort(sign * table, axis=0)  # what is worst is last
    found = []
    for level in levels:
        place = (1 - level if rises else level) * (len(ranked) - 1)
        below = min(math.floor(place + 1e-9), len(ranked) - 1)
        share = max(place - below, 0.0)
        if share < 1e-9 or below + 1 == len(ranked):
            found.append(sign * ranked[below])
            continue
        with np.errstate(invalid="ignore"):
            between = ranked[below] + share * (ranked[below + 1] - ranked[below])
        found.append(sign * np.where(np.isfinite(ranked[below + 1]), between, math.inf))
    return found
