"""The walls around a minimum: how far and how high a loss rises along a direction before it falls again.

Legend: n numbers of a point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..console import columns
from ..errors import COUNT, POSITIVE, BadData, check
from .field import Field
from .rounding import last_digits, noise

Floats = npt.NDArray[np.float64]
NEAREST = 1e-3  # of the reach: the first place looked at
POINTS = 64  # evenly over the reach, and as many evenly in ratio
SURE = 10.0  # standard deviations of the rounding by which a loss must rise, and fall
ZOOM, ROUNDS = 17, 2  # places in the bracket round a top, and how often it is narrowed


@dataclass(frozen=True)
class Wall:
    """What a line from a minimum meets.

    Attributes:
        direction: its name.
        sign: 1 along it, -1 against it.
        distance: of the first top of the loss; NaN: no wall within reach.
        height: of the top above the minimum; NaN likewise.
        lowest: the lowest loss before the top, or within reach, less that of the minimum: below zero where it is none.
        reach: how far was looked: less than what was asked for where the loss stops being finite.
    """

    direction: str
    sign: int
    distance: float
    height: float
    lowest: float
    reach: float

    @property
    def found(self) -> bool:
        """Whether there is a wall within reach."""
        return math.isfinite(self.distance)

    @property
    def way(self) -> str:
        """Its direction with the sign."""
        return f"{self.direction} {'+' if self.sign > 0 else '−'}"


@dataclass(frozen=True)
class Between:
    """The straight line to another solution.

    Attributes:
        distance: to it.
        height: the highest loss on the line above that of the minimum: the barrier from here, 0 where the line falls.
        back: above that of the other solution: the barrier from there.
        at: share of the way at which it is.
    """

    distance: float
    height: float
    back: float
    at: float


@dataclass(frozen=True)
class Walls:
    """The walls along some lines, and the line to another solution.

    Attributes:
        loss: at the minimum.
        walls: of each direction, along it and against it.
        between: the line to the other solution; None where none was given.
        tolerance: what a loss must rise and fall by to be seen, the largest of all lines: rounding, measured.
    """

    loss: float
    walls: tuple[Wall, ...]
    between: Between | None
    tolerance: float

    @property
    def nearest(self) -> Wall | None:
        """The wall that is nearest."""
        return min((w for w in self.walls if w.found), key=lambda w: w.distance, default=None)

    @property
    def lowest(self) -> Wall | None:
        """The wall that is lowest."""
        return min((w for w in self.walls if w.found), key=lambda w: w.height, default=None)

    @property
    def sentence(self) -> str:
        """The nearest wall and the lowest one, in words."""
        near, low = self.nearest, self.lowest
        if near is None or low is None:
            least = min((w.reach for w in self.walls), default=0.0)
            return f"No wall within {least:.4g} on any of {len(self.walls)} ways."
        said = f"the nearest {near.distance:.4g} away ({near.way}), {near.height:.4g} high"
        if low is not near:
            said += f"; the lowest {low.height:.4g} high, {low.distance:.4g} away ({low.way})"
        return f"Walls on {sum(w.found for w in self.walls)} of {len(self.walls)} ways: {said}."

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return asdict(self) | {"sentence": self.sentence}

    def __str__(self) -> str:
        rows = [("direction", "wall at", "height")]
        notes = []
        for w in self.walls:
            far, high = (f"{w.distance:.4g}", f"{w.height:.4g}") if w.found else (f"none within {w.reach:.4g}", "")
            rows.append((w.way, far, high))
            if w.lowest < -self.tolerance:
                notes.append(f"Not a minimum along {w.way}: the loss falls by {-w.lowest:.3g}.")
        if self.between is not None:
            b = self.between
            notes.append(
                f"On the line to the other solution, {b.distance:.4g} away, the loss rises by {b.height:.4g} from here and by "
                f"{b.back:.4g} from there."
            )
        return "\n".join([columns(rows), *notes])


def walls(
    field: Field,
    minimum: Tensor,
    *,
    directions: Mapping[str, Tensor],
    reach: float,
    other: Tensor | None = None,
    points: int = POINTS,
) -> Walls:
    """The first top of the loss s ↦ f(θ + s d / ‖d‖) on both sides of a minimum, 0 < s <= reach, for each direction d.

    A top counts where the loss rises to it, and falls from it, by more than 10 standard deviations of the rounding, which
    is measured, and four last digits. It is looked for at ``points`` places evenly over the reach and as many evenly in
    ratio; between two of them a top is missed that is narrower. Its place is then refined.

    Args:
        field: the loss.
        minimum: (n,).
        directions: named, (n,) each, of any length but zero: the softest and the steepest, random ones.
        reach: how far to look, in the units of the parameters.
        other: another solution, (n,).
        points: see above.

    Raises:
        BadData: a point or direction of another size, a direction of length zero, or a loss that is not finite.
        BadOption: another argument that is not allowed.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> well = Function(lambda x: (x**4 / 4 - x**2 / 2 + 0.15 * x).sum(-1), 1)
        >>> at = torch.tensor([0.9142973158662134], dtype=torch.float64)
        >>> print(walls(well, at, directions={"x": torch.ones(1)}, reach=3.0))
        direction  wall at        height
        x +        none within 3
        x −        0.7607         0.1175
    """
    check("walls", "reach", reach, POSITIVE)
    check("walls", "points", points, COUNT)
    minimum = minimum.detach().double().cpu().reshape(-1)
    for name, vector in {"minimum": minimum, "other": other, **directions}.items():
        if vector is not None and vector.numel() != field.n:
            raise BadData(f"walls: {name} has {vector.numel()} numbers, and the field has {field.n}", "give as many")
    loss = field.loss(minimum)
    if not math.isfinite(loss):
        raise BadData(f"walls: the loss at the minimum is {loss}", "give a point where it is finite")
    evenly = np.linspace(0, reach, points + 1)
    places = np.union1d(evenly, reach * np.geomspace(NEAREST, 1, points))
    found, tolerances = [], []
    for name, vector in directions.items():
        unit = vector.detach().double().cpu().reshape(-1)
        if not float(unit.norm()) > 0:
            raise BadData(f"walls: the direction {name!r} has no length", "leave it out")
        unit = unit / unit.norm()
        for sign in (1, -1):
            wall, tolerance = _wall(field, minimum, sign * unit, places)
            found.append(Wall(name, sign, *wall))
            tolerances.append(tolerance)
    between = None
    if other is not None:
        between = _between(field, minimum, other.detach().double().cpu().reshape(-1), points)
    return Walls(loss, tuple(found), between, max(tolerances, default=0.0))


def rise_between(field: Field, start: Tensor, end: Tensor, points: int = POINTS) -> float:
    """The height of the first wall on the straight line between two points, above ``start``; 0: there is none.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> well = Function(lambda x: (x**4 / 4 - x**2 / 2).sum(-1), 1)
        >>> left, right = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        >>> rise_between(well, left, right), rise_between(well, left, left / 2)
        (0.25, 0.0)
    """
    line = end - start
    length = float(line.norm())
    if not length:
        return 0.0
    (_, height, _, _), _ = _wall(field, start, line / length, np.linspace(0, length, points + 1))
    return height if math.isfinite(height) else 0.0


def _wall(
    field: Field, minimum: Tensor, unit: Tensor, places: Floats
) -> tuple[tuple[float, float, float, float], float]:
    """Distance, height, lowest and reach of `Wall`, and the tolerance."""

    def along(s: Floats) -> Floats:
        found = field.losses(minimum + torch.from_numpy(s)[:, None] * unit)
        return found.double().cpu().numpy()

    losses = along(places)
    finite = int(np.argmin(np.isfinite(losses))) if not np.isfinite(losses).all() else len(losses)
    s, f = places[:finite], losses[:finite]
    sigmas = [noise(field, minimum + way * unit, unit) for way in (0.0, float(s[finite // 2]), float(s[-1]))]
    tolerance = SURE * max(x for x in (*sigmas, 0.0) if math.isfinite(x))
    tolerance += last_digits(field, torch.from_numpy(f)) * float(np.abs(f).max())
    top, lowest = _first_top(f, tolerance)
    if top is None:
        return (math.nan, math.nan, float(f[lowest] - f[0]), float(s[-1])), tolerance
    distance, high = _refined(along, s[top - 1], s[top + 1])
    return (distance, high - float(f[0]), float(f[lowest] - f[0]), float(s[-1])), tolerance


def _first_top(f: Floats, tolerance: float) -> tuple[int | None, int]:
    """Where the losses first fall after they rose, each by more than the tolerance, and the lowest place before it."""
    lowest, top = 0, None
    for i, value in enumerate(f):
        if top is None:
            if value < f[lowest]:
                lowest = i
            elif value > f[lowest] + tolerance:
                top = i
        elif value > f[top]:
            top = i
        elif value < f[top] - tolerance:
            return top, lowest
    return None, lowest


def _refined(along: Callable[[Floats], Floats], low: float, high: float) -> tuple[float, float]:
    """The place and the height of the top in a bracket: narrowed twice, then that of a parabola."""
    for _ in range(ROUNDS):
        s = np.linspace(low, high, ZOOM)
        f = along(s)
        k = int(np.clip(np.argmax(f), 1, ZOOM - 2))
        low, high = s[k - 1], s[k + 1]
    (before, at, after), width = f[k - 1 : k + 2], s[1] - s[0]
    bend = before - 2 * at + after
    way = 0.5 * (before - after) / bend if bend < 0 else 0.0
    way = float(np.clip(way, -1, 1))
    return float(s[k] + way * width), float(at - 0.25 * (before - after) * way)


def _between(field: Field, minimum: Tensor, other: Tensor, points: int) -> Between:
    line = other - minimum

    def along(t: Floats) -> Floats:
        return field.losses(minimum + torch.from_numpy(t)[:, None] * line).double().cpu().numpy()

    t = np.linspace(0, 1, points + 1)
    f = along(t)
    k = int(np.argmax(f))
    at, high = (float(t[k]), float(f[k])) if k in (0, points) else _refined(along, t[k - 1], t[k + 1])
    return Between(float(line.norm()), high - float(f[0]), high - float(f[-1]), at)
