"""A plane that was measured through a model's weights, continued between its points so that it can be raced on.

Legend: H × W points of the grid; an interval between four of them is a cell with a polynomial of 4 × 4 coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import BadStudy
from thalweg.web.documents.landscape import ARRAYS, JSON, arrays_of
from thalweg.web.documents.reading import DAMAGE, read

from .surfaces import Floats, Surface, within

FIRST = "pca"  # the plane through a run's own path says most
LARGEST = 501  # points along an axis
# Keys' cubic convolution: four neighbours → the coefficients of 1, u, u², u³ between the two in the middle.
KEYS = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


class Bicubic:
    """Values on a grid as a function of the plane: exact at the points, with a continuous gradient between them.

    Outside of the grid it is the value at the nearest border plus a wall that rises with the square of the distance.

    Args:
        x: coordinates with equal distances, (W,).
        y: the same, (H,).
        values: (H, W); what is not finite takes the largest finite one.

    Example:
        >>> import numpy as np, torch
        >>> x, y = np.linspace(0, 1, 5), np.linspace(0, 2, 6)
        >>> surface = Bicubic(x, y, x[None] ** 2 + y[:, None])
        >>> round(surface(torch.tensor([0.3, 0.7], dtype=torch.float64)).item(), 12)
        0.79
    """

    def __init__(self, x: Floats, y: Floats, values: Floats) -> None:
        finite = values[np.isfinite(values)]
        filled = np.where(np.isfinite(values), values, finite.max())
        padded = _padded(_padded(filled).T).T  # a point more on each side
        # cells[j, i] holds C with f = Σ C[b, a] vᵇ uᵃ.
        windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4))
        self._cells = np.ascontiguousarray(KEYS @ windows @ KEYS.T)
        self._low, self._high = np.array([x[0], y[0]]), np.array([x[-1], y[-1]])
        self._last = np.array([len(x) - 1.0, len(y) - 1.0])
        self._scale = self._last / (self._high - self._low)
        self._wall = float(finite.max() - finite.min() or 1.0) / float((self._high - self._low).min()) ** 2

    def __call__(self, p: Tensor) -> Tensor:
        """The function at points (..., 2)."""
        low, high, scale, last = map(torch.from_numpy, (self._low, self._high, self._scale, self._last))
        inside = torch.clamp(p, low, high)
        at = (inside - low) * scale
        cell = torch.minimum(at.detach().nan_to_num().floor(), last - 1)
        i, j = cell.long().unbind(-1)
        u, v = (at - cell)[..., None].pow(torch.arange(4)).unbind(-2)
        value = ((torch.from_numpy(self._cells)[j, i] @ u[..., None]).squeeze(-1) * v).sum(-1)
        return value + self._wall * (p - inside).square().sum(-1)

    def gradient(self, p: Floats) -> Floats:
        """The gradient at points (n, 2), in a third of autograd's time."""
        inside = np.clip(p, self._low, self._high)
        at = (inside - self._low) * self._scale
        cell = np.minimum(np.floor(at), self._last - 1)
        i, j = cell.astype(np.int64).T
        powers = (at - cell)[..., None] ** np.arange(4)
        slopes = np.arange(1, 4) * powers[..., :3]  # of u, u², u³
        cells, (u, v), (du, dv) = self._cells[j, i], powers.swapaxes(0, 1), slopes.swapaxes(0, 1)
        along_x = ((cells[:, :, 1:] @ du[..., None])[..., 0] * v).sum(-1)
        along_y = ((cells[:, 1:] @ u[..., None])[..., 0] * dv).sum(-1)
        found = np.stack([along_x, along_y], -1) * self._scale * (inside == p)
        whole: Floats = found + 2 * self._wall * (p - inside)
        return whole


def _padded(values: Floats) -> Floats:
    """A row more above and below, on the parabola through the three nearest."""
    above = 3 * values[0] - 3 * values[1] + values[2]
    below = 3 * values[-1] - 3 * values[-2] + values[-3]
    return np.concatenate([above[None], values, below[None]])


def plane(study: str, folder: Path, kind: str | None = None) -> Surface | None:
    """The measured plane of a study as a surface, or None where none was measured.

    Args:
        study: the study's id, with which that of the surface begins.
        folder: of the study.
        kind: of the plane; None: the one through the runs' path, or else the first.

    Raises:
        BadStudy: the files cannot be read, or do not hold what they should.
    """
    path = folder / ARRAYS
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return None
    return _plane(study, folder, kind, stamp)


@lru_cache(maxsize=16)
def _plane(study: str, folder: Path, kind: str | None, stamp: int) -> Surface | None:
    try:
        said = read(folder, JSON) or {}
        planes = {one["kind"]: one for one in said["planes"]}
        kind = kind or (FIRST if FIRST in planes else next(iter(planes), ""))
        if kind not in planes:
            return None
        names = [f"{kind}|{name}" for name in ("x", "y", "losses")]
        x, y, values = (np.asarray(array, dtype=np.float64) for array in arrays_of(folder, names).values())
        return _surface(study, kind, planes[kind], str(said["task"]), x, y, values)
    except DAMAGE as error:
        why = error.message if isinstance(error, BadStudy) else f"{type(error).__name__} {error}"
        raise BadStudy(
            f"{folder}: the plane of the loss surface cannot be read: {why}", "measure it again: thalweg landscape"
        ) from None


def _surface(
    study: str, kind: str, said: Mapping[str, Any], task: str, x: Floats, y: Floats, values: Floats
) -> Surface:
    for at in (x, y):
        even = at.ndim == 1 and 3 <= len(at) <= LARGEST and np.allclose(at, np.linspace(at[0], at[-1], len(at)))
        if not even or not at[-1] > at[0]:
            raise ValueError("its coordinates are not an even grid")
    if values.shape != (len(y), len(x)) or not np.isfinite(values).any():
        raise ValueError("it has no losses")
    surface = Bicubic(x, y, values)
    bounds = (float(x[0]), float(x[-1])), (float(y[0]), float(y[-1]))
    row, column = np.unravel_index(np.nanargmin(np.where(np.isfinite(values), values, np.nan)), values.shape)
    lowest = ((float(x[column]), float(y[row])),)
    spacing = math.hypot(float(x[1] - x[0]), float(y[1] - y[0]))
    names = [str(name) for name in said["axes"]]
    missing = int((~np.isfinite(values)).sum())
    holes = f" Points that were not finite stand as high as the highest: {missing}." if missing else ""
    return Surface(
        id=f"{study}:{kind}",
        name=f"Your model: {task}",
        formula=f"loss over {names[0]} and {names[1]}, measured on {len(x)} × {len(y)} points",
        fn=surface,
        gradient=surface.gradient,
        bounds=bounds,
        start=_start(said, bounds),
        minima=lowest,
        goal=within(lowest, float(f"{spacing:.2g}")),
        shows="The measured loss on one plane through your model's weights, interpolated between the points: which rates "
        f"suit its slopes and curvatures.{holes}",
        does_not_show="What happens in all dimensions: the plane leaves out every other direction, and outside of it "
        "there is a wall that your model does not have.",
        source=f"measured: thalweg landscape, plane {kind}",
        kind="plane",
    )


def _start(said: Mapping[str, Any], bounds: tuple[tuple[float, float], tuple[float, float]]) -> tuple[float, float]:
    """Where the first run on the plane begins, inside the bounds; without one a corner's neighbour."""
    steps = [(mark["step"], mark["at"]) for mark in said["checkpoints"] if mark.get("step") is not None]
    if not steps:
        return tuple(low + 0.15 * (high - low) for low, high in bounds)  # type: ignore[return-value]
    first = min(steps, key=lambda pair: pair[0])[1]
    x, y = (min(max(float(at), low), high) for at, (low, high) in zip(first, bounds, strict=True))
    return x, y
