"""Values of a field on a line or in a plane: coarse first, finer where the surface bends.

Legend: n numbers of a point, k axes (1 or 2), R points along an axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import COUNT, check
from .field import Field

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
CHUNK = 64  # points between two reports of progress
STRIDES = (4, 2, 1)
MANY = 400  # points of a grid that is worth refining
SURE = 0.005  # of a value's size: where interpolation is expected to be nearer than this it is not evaluated
SHRINK = 4.0  # by what the error of linear interpolation falls with half the distance
CHECKED = 24  # of the values that were not evaluated, evaluated all the same to see how far off they are


@dataclass(frozen=True)
class Grid:
    """Values on a grid.

    Attributes:
        values: of shape (R,) or (R, R), the second axis first: ``values[y, x]``; NaN where Ctrl-C came before.
        evaluated: where they were evaluated; elsewhere they are interpolated between those that were.
        error: the largest error among interpolated values that were checked, relative to max(|value|, the median);
            0 where all were evaluated.
        checked: how many were.
        complete: whether it was not interrupted.
    """

    values: Floats
    evaluated: Bools
    error: float
    checked: int
    complete: bool


def evaluate(
    field: Field,
    origin_n: Tensor,
    axes_kn: Tensor,
    coordinates: Sequence[Floats],
    *,
    refine: bool = True,
    report: Callable[[int, int], None] | None = None,
) -> Grid:
    """The values of a field at origin + Σ coordinate · axis, on a grid of 1 or 2 axes.

    Every fourth point of each axis is evaluated, then every second; of the rest those near which linear interpolation
    was off by more than half a hundredth of the value's size, four times as near by now. What is not evaluated is
    interpolated, a sample of it checked. Ctrl-C keeps what is done.

    Args:
        field: what is evaluated.
        origin_n: where the coordinates are 0.
        axes_kn: the directions.
        coordinates: of the grid along each axis.
        refine: whether to leave out points where the surface is nearly straight.
        report: called with how many points are done of how many, at most.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> bowl = Function(lambda x: (x**2).sum(-1), 2)
        >>> at = np.linspace(-1, 1, 5)
        >>> found = evaluate(bowl, torch.zeros(2).double(), torch.eye(2).double(), [at, at], refine=False)
        >>> found.values[0].tolist(), found.complete
        ([2.0, 1.25, 1.0, 1.25, 2.0], True)
    """
    for at in coordinates:
        check("landscape", "points along an axis", len(at), COUNT)
    work = _Work(field, origin_n, axes_kn, [np.asarray(at, dtype=np.float64) for at in coordinates], report)
    try:
        if refine and work.known.size >= MANY and min(work.shape) > 2 * STRIDES[0]:
            work.in_levels()
        else:
            work.take(np.ones(work.shape, dtype=np.bool_))
    except KeyboardInterrupt:
        return Grid(work.values, work.known.copy(), 0.0, 0, complete=False)
    known = work.known.copy()
    if known.all():
        return Grid(work.values, known, 0.0, 0, complete=True)
    try:
        error, checked = work.check()
    except KeyboardInterrupt:
        error, checked = np.nan, 0
    return Grid(work.values, known, error, checked, complete=True)


class _Work:
    """A grid that is being filled."""

    def __init__(
        self,
        field: Field,
        origin: Tensor,
        axes: Tensor,
        coordinates: list[Floats],
        report: Callable[[int, int], None] | None,
    ) -> None:
        self.field, self.origin, self.axes = field, origin.double(), axes.double()
        self.coordinates, self.report = coordinates, report
        self.shape = tuple(len(at) for at in reversed(coordinates))
        self.values = np.full(self.shape, np.nan)
        self.known = np.zeros(self.shape, dtype=np.bool_)

    def point(self, places: npt.NDArray[np.int64]) -> Tensor:
        """The points of some places of the grid, which count from the last axis to the first."""
        at = np.stack([c[k] for c, k in zip(self.coordinates, places.T[::-1], strict=True)], axis=1)
        return self.origin + torch.from_numpy(at) @ self.axes

    def take(self, where: Bools) -> None:
        """Evaluate some places, those near the middle first."""
        places = np.argwhere(where & ~self.known)
        middle = (np.array(self.shape) - 1) / 2
        places = places[np.argsort(((places - middle) ** 2).sum(1), kind="stable")]
        for start in range(0, len(places), CHUNK):
            some = places[start : start + CHUNK]
            index = tuple(some.T)
            self.values[index] = self.field.losses(self.point(some)).numpy()
            self.known[index] = True
            if self.report is not None:
                self.report(int(self.known.sum()), self.known.size)

    def in_levels(self) -> None:
        """Each level evaluates the points between those of the one before, the last only where it bends."""
        places = [np.arange(length) for length in self.shape]
        coarse = places  # of the level before
        expected = np.full(self.shape, np.nan)  # errors of interpolation between the points of this level
        for level, stride in enumerate(STRIDES):
            own = [np.union1d(at[::stride], at[-1:]) for at in places]
            on = np.zeros(self.shape, dtype=np.bool_)
            on[np.ix_(*own)] = True
            if level == len(STRIDES) - 1:
                on &= self._bent(expected)
            before, new = self.values, on & ~self.known
            if level:
                before = self._between(coarse)
            self.take(on)
            if level == 1:
                with np.errstate(invalid="ignore"):  # of infinite losses
                    size = np.maximum(np.abs(self.values), np.nanmedian(np.abs(self.values)))
                    expected = np.where(new, np.abs(before - self.values) / size / SHRINK, np.nan)
            if level < len(STRIDES) - 1:
                coarse = own
        self.values = np.where(self.known, self.values, self._between(coarse))

    def _bent(self, expected: Floats) -> Bools:
        """The places within two of one where interpolation was further off than it may be, or not finite."""
        from scipy.ndimage import binary_dilation

        measured = ~np.isnan(expected)
        off = measured & ~(expected <= SURE) | (self.known & ~np.isfinite(self.values))
        bent: Bools = binary_dilation(off, structure=np.ones((5,) * off.ndim, dtype=np.bool_))
        return bent

    def _between(self, coarse: Sequence[npt.NDArray[np.int64]]) -> Floats:
        """Everywhere the linear interpolation between the points of a coarser grid, all of which are known."""
        from scipy.interpolate import RegularGridInterpolator

        at = list(reversed(self.coordinates))
        with np.errstate(invalid="ignore"):
            line = RegularGridInterpolator(
                [x[k] for x, k in zip(at, coarse, strict=True)], self.values[np.ix_(*coarse)]
            )
            found: Floats = line(np.stack(np.meshgrid(*at, indexing="ij"), axis=-1))
        return found

    def check(self) -> tuple[float, int]:
        """Evaluate some of the interpolated places: the largest error, and how many they were."""
        places = np.argwhere(~self.known)
        some = places[np.random.default_rng(0).permutation(len(places))[:CHECKED]]
        index = tuple(some.T)
        true = self.field.losses(self.point(some)).numpy()
        size = np.maximum(np.abs(true), np.median(np.abs(self.values)))
        error = float(np.max(np.abs(self.values[index] - true) / size))
        self.values[index] = true
        return error, len(some)
