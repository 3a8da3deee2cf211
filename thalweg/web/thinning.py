"""Curves for as many columns of pixels as there are: the smallest and the largest value of each, and no sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..run import Floats

MOST = 4  # points that a column of pixels keeps


def kept(x: Floats, y: Floats, columns: int, low: float | None = None, high: float | None = None) -> NDArray[np.intp]:
    """The numbers of the points that are drawn, in their order.

    Of each column of pixels these are kept: the first, the last, the smallest and the largest finite value, and one
    non-finite value if there is any, so that a line is broken where its data are; four at most. A line that goes on
    beyond the window keeps one point on each side.

    Args:
        x: where the points are, rising, (N,).
        y: their values, (N,).
        columns: of pixels.
        low: where the first column begins; None: at the first point.
        high: where the last column ends; None: at the last point.

    Example:
        >>> x = np.arange(1000.0)
        >>> points = kept(x, np.sin(x), columns=10)
        >>> len(points) <= 40, bool(np.sin(x[points]).max() == np.sin(x).max())
        (True, True)
    """
    inside = np.isfinite(x)
    if not inside.any() or columns < 1:
        return np.empty(0, dtype=np.intp)
    order = np.flatnonzero(inside)
    if (np.diff(x[order]) < 0).any():
        order = order[np.argsort(x[order], kind="stable")]
    at = x[order]
    left, right = at[0] if low is None else low, at[-1] if high is None else high
    first, last = int(np.searchsorted(at, left, "left")), int(np.searchsorted(at, right, "right"))
    before, after = order[max(first - 1, 0) : first], order[last : last + 1]
    order, at = order[first:last], at[first:last]
    if not len(order):
        return np.concatenate([before, after])
    with np.errstate(all="ignore"):
        share = (at - left) / (right - left) if right > left else np.zeros(len(at))
        column = np.clip(np.floor(np.nan_to_num(share) * columns), 0, columns - 1)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(column)) + 1])
    return np.concatenate([before, order[_of_columns(y[order], starts)], after])


def _of_columns(y: Floats, starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The points that are kept of columns that begin at ``starts``, rising."""
    count = len(y)
    lengths = np.diff(np.append(starts, count))
    finite = np.isfinite(y)
    lowest = _first(
        y == np.repeat(np.minimum.reduceat(np.where(finite, y, np.inf), starts), lengths), finite, starts, lengths
    )
    highest = _first(
        y == np.repeat(np.maximum.reduceat(np.where(finite, y, -np.inf), starts), lengths), finite, starts, lengths
    )
    broken = _first(~finite, np.ones(count, dtype=bool), starts, lengths)
    ends = starts + lengths - 1
    keep = np.zeros(count, dtype=bool)
    for points in (lowest, highest, starts, ends):
        keep[points[points >= 0]] = True
    full = np.add.reduceat(keep, starts) == MOST
    gap = broken >= 0
    told = gap & np.logical_or.reduceat(keep & ~finite, starts)
    keep[ends[gap & ~told & full]] = (
        False  # the break takes the place of the last, which is no extreme: all four differ
    )
    keep[broken[gap & ~told]] = True
    return np.flatnonzero(keep)


def _first(mask: NDArray[np.bool_], also: NDArray[np.bool_], starts: Any, lengths: Any) -> NDArray[np.intp]:
    """The first point of each column at which both hold, or -1."""
    places = np.flatnonzero(mask & also)
    owner = np.repeat(np.arange(len(starts)), lengths)[places]
    found = np.full(len(starts), -1, dtype=np.intp)
    found[owner[::-1]] = places[::-1]
    return found


def rounded(values: Floats, digits: int = 6) -> list[float | None]:
    """Numbers as a document holds them: so many significant digits, None for what is not finite.

    Example:
        >>> rounded(np.array([1 / 3, np.nan, -2e-9 / 3, 1234567.0, 0.0]))
        [0.333333, None, -6.66667e-10, 1234570.0, 0.0]
    """
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    with np.errstate(all="ignore"):
        power = np.floor(np.log10(np.abs(values), where=finite & (values != 0), out=np.zeros(values.shape)))
        scale = np.clip(digits - 1 - power, -290, 290)
        up = 10.0 ** np.abs(scale)  # exact up to 1e22; a division by it is then rounded once
        near = np.where(scale >= 0, np.rint(values * up) / up, np.rint(values / up) * up)
    usual = finite & (np.abs(scale) <= 22)
    out: list[float | None] = near.tolist()
    for k in np.flatnonzero(~usual):
        value = float(values[k])
        near_it = float(f"{value:.{digits}g}") if math.isfinite(value) else None
        out[k] = value if near_it == math.copysign(math.inf, value) else near_it
    return out
