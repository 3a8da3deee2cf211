"""Slices and planes of a loss surface, with what lies on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import grids
from .directions import coordinates
from .field import Field

Floats = npt.NDArray[np.float64]
LENGTHS = np.geomspace(1e-3, 1.0, 13)  # over the longest: where a slice is looked at to see how far it should go


@dataclass(frozen=True)
class Mark:
    """A point that is shown on a slice or plane.

    Attributes:
        name: what it is: a run and its step.
        run: the run, or "".
        step: of it, or None.
        at: coordinates, one an axis.
        off: distance from the plane: 0 for points in it.
        loss: there, at the point itself and not at its foot in the plane, on the surface's own data.
        recorded: the loss on ``select`` that the run recorded, NaN where none was.
        measured: the same, measured again on these weights.
    """

    name: str
    run: str
    step: int | None
    at: tuple[float, ...]
    off: float
    loss: float
    recorded: float = float("nan")
    measured: float = float("nan")

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {**vars(self), "at": list(self.at)}


@dataclass(frozen=True)
class Slice:
    """The loss along one axis (a slice) or two (a plane).

    Attributes:
        kind: ``line``, ``random``, ``gradient``, ``top``, ``bottom``; ``pca``, ``eigen``, ``three``.
        names: of the axes, with their units.
        coordinates: along each axis.
        losses: the surface on the data that it is about, (R,) or (R, R) as ``losses[y, x]``.
        others: the surface on other data by their name, such as ``select`` or ``batch 1``, of the same shape.
        marks: points on it.
        evaluated: where the losses were evaluated; elsewhere they are interpolated.
        error: of the interpolated ones, the largest that was found, relative; 0 where there are none.
        explained: share of the path's variance along each axis, of a ``pca``.
        words: normalization, data, mode, and how sure it is, a sentence each.
        seconds: that it took.
        complete: whether it was not interrupted.
    """

    kind: str
    names: tuple[str, ...]
    coordinates: tuple[Floats, ...]
    losses: Floats
    others: dict[str, Floats]
    marks: tuple[Mark, ...]
    evaluated: npt.NDArray[np.bool_]
    error: float
    words: tuple[str, ...]
    seconds: float
    complete: bool
    explained: tuple[float, ...] | None = None
    origin: Tensor | None = field(default=None, repr=False)
    axes: Tensor | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read, without the arrays."""
        low = np.nanmin(self.losses) if np.isfinite(self.losses).any() else np.nan
        return {
            "kind": self.kind,
            "axes": list(self.names),
            "shape": list(self.losses.shape),
            "range": [[float(at[0]), float(at[-1])] for at in self.coordinates],
            "lowest": float(low),
            "checkpoints": [mark.as_dict() for mark in self.marks],
            "variance_explained": None if self.explained is None else list(self.explained),
            "interpolation_error": self.error,
            "evaluated": int(self.evaluated.sum()),
            "others": list(self.others),
            "words": list(self.words),
            "seconds": self.seconds,
            "complete": self.complete,
        }

    def arrays(self, name: str | None = None) -> dict[str, Floats]:
        """The arrays by their names in a file, which begin with ``name``, or with the kind."""
        stem = name or self.kind
        found = {f"{stem}/{axis}": at for axis, at in zip("xy", self.coordinates, strict=False)}
        found |= {f"{stem}/losses": self.losses, f"{stem}/evaluated": self.evaluated.astype(np.float64)}
        return found | {f"{stem}/losses on {other}": values for other, values in self.others.items()}


def reach(surface: Field, origin_n: Tensor, direction_n: Tensor, rise: float, most: float) -> float:
    """How far along a direction, to the side where it is sooner, the loss has risen by so much; at most ``most``.

    Args:
        surface: the loss.
        origin_n: from where.
        direction_n: of length one, or in the units that ``most`` is in.
        rise: of the loss.
        most: the longest.
    """
    lengths = torch.from_numpy(LENGTHS * most)
    both = torch.cat([lengths, -lengths])
    losses = surface.losses(origin_n + both[:, None] * direction_n)
    here = surface.loss(origin_n)
    high = ~(losses - here < rise)
    if not bool(high.any()):
        return most
    return float(both[high].abs().min())


def place(surface: Field, origin_n: Tensor, axes_kn: Tensor, points: Sequence[tuple[Mark, Tensor]]) -> list[Mark]:
    """Marks at the coordinates of their points, with the loss at the points themselves."""
    if not points:
        return []
    together = torch.stack([point for _, point in points])
    at, off = coordinates(together, origin_n, axes_kn)
    losses = surface.losses(together).tolist()
    return [
        Mark(m.name, m.run, m.step, tuple(map(float, a)), float(o), loss, m.recorded, m.measured)
        for (m, _), a, o, loss in zip(points, at, off, losses, strict=True)
    ]


def look(
    kind: str,
    names: tuple[str, ...],
    surface: Field,
    others: dict[str, Field],
    origin_n: Tensor,
    axes_kn: Tensor,
    spans: Sequence[tuple[float, float]],
    *,
    resolution: int,
    marks: Sequence[Mark] = (),
    words: tuple[str, ...] = (),
    explained: tuple[float, ...] | None = None,
    refine: bool = True,
    report: Callable[[str, int, int], None] | None = None,
) -> Slice:
    """Evaluate a slice or plane.

    Args:
        kind: see `Slice`.
        names: see `Slice`.
        surface: the loss that it is about.
        others: fields on other data, evaluated at the same points.
        origin_n: where the coordinates are 0.
        axes_kn: the directions.
        spans: of the coordinates along each axis.
        resolution: points along an axis.
        marks: points on it.
        words: what it is.
        explained: see `Slice`.
        refine: see `grids.evaluate`.
        report: called with what is done and how many points of how many.
    """
    import time

    begun = time.perf_counter()
    at = [np.linspace(low, high, resolution) for low, high in spans]

    def said(name: str) -> Callable[[int, int], None] | None:
        return None if report is None else lambda done, whole: report(f"{kind}{name}", done, whole)

    found = grids.evaluate(surface, origin_n, axes_kn, at, refine=refine, report=said(""))
    rest, complete = {}, found.complete
    for name, other in others.items() if complete else ():
        grid = grids.evaluate(other, origin_n, axes_kn, at, refine=refine, report=said(f" on {name}"))
        rest[name], complete = grid.values, complete and grid.complete
    share = float(found.evaluated.mean())
    sure = f"{found.evaluated.sum()} of {found.evaluated.size} points evaluated"
    if share < 1 and found.complete:
        sure += f", the others interpolated: off by at most {100 * found.error:.2g} % in {found.checked} checked"
    return Slice(
        kind, names, tuple(at), found.values, rest, tuple(marks), found.evaluated, found.error, (*words, f"{sure}."),
        time.perf_counter() - begun, complete, explained, origin_n, axes_kn,
    )  # fmt: skip
