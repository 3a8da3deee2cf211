"""The surfaces of the playground: the classic ones, and those of the demonstrations that need one of their own.

Legend: a point is (..., 2), x and y; a grid is given row by row from the lowest y, each from the lowest x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thalweg.landscapes.classic import CLASSIC, Classic, Point, Points

Floats = npt.NDArray[np.float64]
GRID = 121, 91
NEAR = 0.01


@dataclass(frozen=True)
class Goal:
    """Where a racer has arrived: the test of its point, and the same in words."""

    words: str
    test: Callable[[float, float], bool]


def within(points: Points, distance: float) -> Goal:
    """Arrived nearer than ``distance`` to one of the points.

    Example:
        >>> goal = within(((3.0, 0.5),), 0.01)
        >>> goal.words, goal.test(3.0, 0.495), goal.test(3.0, 0.4)
        ('within 0.01 of the lowest minimum', True, False)
    """

    def test(x: float, y: float) -> bool:
        return any(math.hypot(x - a, y - b) < distance for a, b in points)

    return Goal(f"within {distance:g} of {'the' if len(points) == 1 else 'a'} lowest minimum", test)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A function of two numbers that can be raced on.

    Attributes:
        id: its name in requests.
        name: of the surface.
        formula: in words that a reader can copy.
        fn: differentiable, (..., 2) → (...).
        gradient: of ``fn`` at (n, 2) points where there is a faster way than autograd's; None: there is none.
        bounds: the lowest and highest x, and y, of the picture.
        start: where a race usually starts.
        minima: the lowest ones.
        goal: where a racer stops; None: nowhere.
        drift: how far the whole surface moves in a step.
        shows: what can be learnt from it.
        does_not_show: what must not be concluded from it for networks.
        source: where it comes from.
        kind: a formula, or a plane that was measured through a model's weights.
    """

    id: str
    name: str
    formula: str
    fn: Callable[[Tensor], Tensor]
    gradient: Callable[[Floats], Floats] | None = None
    bounds: tuple[Point, Point]
    start: Point
    minima: Points = ()
    goal: Goal | None = None
    drift: Point = (0.0, 0.0)
    shows: str
    does_not_show: str
    source: str
    kind: Literal["classic", "plane"] = "classic"

    def slopes(self, points: Sequence[Sequence[float]], step: int = 0) -> list[list[float]]:
        """The gradient at every point, as the surface lies in a step."""
        rows: list[list[float]]
        if self.gradient is not None:
            rows = self.gradient(np.array(points)).tolist()
            return rows
        at = torch.tensor(points, dtype=torch.float64)
        if self.drift != (0.0, 0.0):
            at -= step * torch.tensor(self.drift, dtype=torch.float64)
        at.requires_grad_()
        (found,) = torch.autograd.grad(self.fn(at), at, torch.ones(len(points), dtype=torch.float64))
        rows = found.tolist()
        return rows

    def heights(self, points: Floats, first: int = 0) -> Floats:
        """The function along a path whose points belong to the steps from ``first`` on."""
        moved = points - np.arange(first, first + len(points))[:, None] * np.array(self.drift)
        with torch.no_grad():
            values: Floats = self.fn(torch.from_numpy(moved)).numpy()
        return values

    def view(self, grid: tuple[int, int] = GRID) -> dict[str, Any]:
        """The document that the page reads, with the values on a grid.

        Args:
            grid: how many points along x and y.
        """
        width, height = grid
        x, y = (torch.linspace(*span, n, dtype=torch.float64) for span, n in zip(self.bounds, grid, strict=True))
        with torch.no_grad():
            values = self.fn(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1))
        return {
            "id": self.id,
            "name": self.name,
            "formula": self.formula,
            "bounds": [list(span) for span in self.bounds],
            "width": width,
            "height": height,
            "values": rounded(values.flatten().numpy(), 4),
            "start": list(self.start),
            "minima": [list(point) for point in self.minima],
            "goal": None if self.goal is None else self.goal.words,
            "drift": None if self.drift == (0.0, 0.0) else list(self.drift),
            "shows": self.shows,
            "does_not_show": self.does_not_show,
            "kind": self.kind,
            "source": self.source,
        }


def rounded(values: Floats, digits: int = 6) -> list[float | None]:
    """Numbers with so many significant digits for a document; what is not finite becomes None.

    Example:
        >>> import numpy as np
        >>> rounded(np.array([1 / 3, -1234567.0, 0.0, np.nan]))
        [0.333333, -1234570.0, 0.0, None]
    """
    return [float(f"{value:.{digits - 1}e}") if math.isfinite(value) else None for value in values.tolist()]


GOALS = {
    "saddle": Goal("the saddle is left: |y| > 0.5", lambda x, y: abs(y) > 0.5),
    "monkey-saddle": Goal("the saddle is left: below −1", lambda x, y: x**3 - 3 * x * y**2 < -1),
    "inflection": Goal("the inflection is crossed: x > 0.9", lambda x, y: x > 0.9),
}


def of_classic(surface: Classic) -> Surface:
    """A classic surface with its goal: near the lowest minimum, or past what is to be left behind."""
    lowest = tuple(p for p, v in zip(surface.minima, surface.values, strict=True) if v < min(surface.values) + 1e-9)
    return Surface(
        id=surface.name,
        name=surface.name.replace("-", " ").capitalize(),
        formula=surface.formula,
        fn=surface.fn,
        bounds=surface.bounds,
        start=surface.start,
        minima=lowest,
        goal=GOALS.get(surface.name) or within(lowest, NEAR),
        shows=surface.shows,
        does_not_show=surface.does_not_show,
        source=surface.source,
    )


def _gentle_ravine(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return (10 * x**2 + y**2) / 2


def _turned_ravine(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return 25 * (x + y) ** 2 + (x - y) ** 2 / 4


def _open_saddle(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return x**2 - y**2


def _slope(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return x + y / 10


def _bowl(p: Tensor) -> Tensor:
    return (p**2).sum(-1) / 2


MIDDLE: Points = ((0.0, 0.0),)
_OWN = (
    Surface(
        id="gentle-ravine",
        name="Gentle ravine",
        formula="(10 x² + y²) / 2",
        fn=_gentle_ravine,
        bounds=((-1.5, 1.5), (-1.5, 1.5)),
        start=(1.0, 1.0),
        minima=MIDDLE,
        goal=within(MIDDLE, NEAR),
        shows="With a condition number of 10 there is little to gain from momentum, and .9 of it is too much.",
        does_not_show="The usual case: Hessians of networks have condition numbers of a thousand and more.",
        source="B. Polyak, USSR Computational Mathematics and Mathematical Physics 4, 1964",
    ),
    Surface(
        id="turned-ravine",
        name="Turned ravine",
        formula="25 (x + y)² + (x − y)² / 4",
        fn=_turned_ravine,
        bounds=((-1.5, 1.5), (-1.5, 1.5)),
        start=(0.0, math.sqrt(2)),
        minima=MIDDLE,
        goal=within(MIDDLE, NEAR),
        shows="The ravine turned by 45°: rules with a rate for each coordinate lose most of their lead.",
        does_not_show="How a network's valleys lie: they are neither along the axes nor all turned by the same angle.",
        source="the ravine x′ᵀ diag(100, 1) x′ / 2 with x′ turned by 45°",
    ),
    Surface(
        id="open-saddle",
        name="Open saddle",
        formula="x² − y²",
        fn=_open_saddle,
        bounds=((-1.5, 1.5), (-1.5, 1.5)),
        start=(1.0, 1e-6),
        goal=Goal("the saddle is left: |y| > 1", lambda x, y: abs(y) > 1),
        shows="On the ridge the way down is so faint that growing out of it takes most of the time.",
        does_not_show="A loss: it is not bounded below, and here AdaGrad is last where it was third on the other saddle.",
        source="the normal form of a saddle",
    ),
    Surface(
        id="slope",
        name="Slope",
        formula="x + y / 10",
        fn=_slope,
        bounds=((-8.0, 1.0), (-8.0, 1.0)),
        start=(0.0, 0.0),
        shows="A gradient that never changes: what is left of a rule is the length of its step.",
        does_not_show="A loss: nothing is to be found here, and no rule is better than another.",
        source="the plane",
    ),
    Surface(
        id="drifting-bowl",
        name="Drifting bowl",
        formula="((x − 0.01 t)² + y²) / 2 in step t",
        fn=_bowl,
        bounds=((-1.5, 1.5), (-1.0, 1.0)),
        start=(0.0, 0.0),
        minima=MIDDLE,
        drift=(0.01, 0.0),
        shows="A target that moves: who keeps a rate can follow it, and who lets the rate fall is left behind.",
        does_not_show="That rates should never fall: with a target that stands still the falling ones end nearest.",
        source="the tracking problem of adaptive filters: B. Widrow et al., Proceedings of the IEEE 64, 1976",
    ),
)
SURFACES: dict[str, Surface] = {
    surface.id: surface for surface in (*(of_classic(surface) for surface in CLASSIC.values()), *_OWN)
}
