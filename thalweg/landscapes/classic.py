"""The classic surfaces of two numbers: for teaching, for the playground, and as problems whose answers are known.

Legend: a point is (..., 2), x and y; a whole grid of points is one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .field import Function

Point: TypeAlias = tuple[float, float]
Points: TypeAlias = tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Classic:
    """A surface of two numbers, and what is known of it.

    Attributes:
        name: of the surface.
        formula: in words that a reader can copy.
        fn: differentiable, (..., 2) → (...).
        bounds: the lowest and highest x, and y, of the usual picture.
        start: where a path usually starts.
        minima: inside the bounds.
        saddles: likewise.
        maxima: likewise.
        degenerate: stationary points with an eigenvalue of the Hessian that is zero.
        complete: whether the four name every stationary point inside the bounds; else the lowest minimum only.
        shows: what can be learnt from it.
        does_not_show: what must not be concluded from it for networks.
        source: where it comes from.

    Example:
        >>> CLASSIC["himmelblau"].fn(torch.tensor([[3.0, 2.0], [0.0, 0.0]])).tolist()
        [0.0, 170.0]
    """

    name: str
    formula: str
    fn: Callable[[Tensor], Tensor]
    bounds: tuple[Point, Point]
    start: Point
    minima: Points = ()
    saddles: Points = ()
    maxima: Points = ()
    degenerate: Points = ()
    complete: bool = True
    shows: str
    does_not_show: str
    source: str

    @property
    def values(self) -> tuple[float, ...]:
        """The function at the ``minima``."""
        return tuple(float(self.fn(torch.tensor(point, dtype=torch.float64))) for point in self.minima)

    def field(self) -> Function:
        """The surface as a loss of points of two numbers."""
        return Function(self.fn, 2)


def _ravine(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return (100 * x**2 + y**2) / 2


def _saddle(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return x**2 / 2 + y**4 / 4 - y**2 / 2


def _monkey_saddle(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return x**3 - 3 * x * y**2


def _double_well(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return x**4 / 4 - x**2 / 2 + 0.15 * x + y**2 / 2


def _inflection(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return x**4 / 4 - x**3 / 3 + y**2 / 2


def _rosenbrock(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _beale(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _himmelblau(p: Tensor) -> Tensor:
    x, y = p.unbind(-1)
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


_HILLS = torch.tensor(  # a hill each: A, a, b, c, x0, y0
    [
        [-200, -1, 0, -10, 1, 0],
        [-100, -1, 0, -10, 0, 0.5],
        [-170, -6.5, 11, -6.5, -0.5, 1.5],
        [15, 0.7, 0.6, 0.7, -1, 1],
    ],
    dtype=torch.float64,
)


def _mueller_brown(p: Tensor) -> Tensor:
    A, a, b, c, x0, y0 = _HILLS.to(p).unbind(-1)
    dx, dy = p[..., 0, None] - x0, p[..., 1, None] - y0
    return (A * torch.exp(a * dx**2 + b * dx * dy + c * dy**2)).sum(-1)


def _rastrigin(p: Tensor) -> Tensor:
    return 20 + (p**2 - 10 * torch.cos(2 * math.pi * p)).sum(-1)


def _styblinski_tang(p: Tensor) -> Tensor:
    return (p**4 - 16 * p**2 + 5 * p).sum(-1) / 2


def _ackley(p: Tensor) -> Tensor:
    # vector_norm has the gradient 0 at the tip, where the square root of a sum has none.
    tip = torch.exp(-0.2 * torch.linalg.vector_norm(p, dim=-1) / math.sqrt(2))
    return 20 + math.e - 20 * tip - torch.exp(torch.cos(2 * math.pi * p).mean(-1))


_LOW, _TOP, _HIGH = -2.903534027771177, 0.15673125678034010, 2.746802770990837  # 4x³ − 32x + 5 = 0

_ALL = (
    Classic(
        name="ravine",
        formula="(100 x² + y²) / 2",
        fn=_ravine,
        bounds=((-1.5, 1.5), (-1.5, 1.5)),
        start=(1.0, 1.0),
        minima=((0.0, 0.0),),
        shows="The steps of gradient descent grow as the condition number, here 100; with tuned momentum, as its root.",
        does_not_show="That the valley lies along an axis: turned by 45°, per-coordinate rules lose most of their lead.",
        source="B. Polyak, USSR Computational Mathematics and Mathematical Physics 4, 1964",
    ),
    Classic(
        name="saddle",
        formula="x²/2 + y⁴/4 − y²/2",
        fn=_saddle,
        bounds=((-1.5, 1.5), (-1.5, 1.5)),
        start=(1.0, 1e-6),
        minima=((0.0, -1.0), (0.0, 1.0)),
        saddles=((0.0, 0.0),),
        shows="A saddle delays: the time to leave depends on how near the ridge the path comes; noise shortens it.",
        does_not_show="That every plateau is a saddle, or that the rule that leaves this one first crosses other flat places.",
        source="the normal form of a saddle between two minima",
    ),
    Classic(
        name="monkey-saddle",
        formula="x³ − 3 x y²",
        fn=_monkey_saddle,
        bounds=((-1.5, 1.5), (-1.5, 1.5)),
        start=(0.5, 0.01),
        degenerate=((0.0, 0.0),),
        shows="A stationary point without curvature, with three ways down: second derivatives do not tell what it is.",
        does_not_show="A loss: it is not bounded below, so that where a path ends says nothing.",
        source="D. Hilbert, S. Cohn-Vossen, Anschauliche Geometrie, 1932, § 29",
    ),
    Classic(
        name="double-well",
        formula="x⁴/4 − x²/2 + 0.15 x + y²/2",
        fn=_double_well,
        bounds=((-1.8, 2.2), (-1.5, 1.5)),
        start=(2.0, 1.0),
        minima=((-1.0679230136896972, 0.0), (0.9142973158662134, 0.0)),
        saddles=((0.1536256978234837, 0.0),),
        shows="Momentum carries a path over a wall that stops gradient descent: the basin depends on rate and momentum.",
        does_not_show="That a network's minima lie apart behind walls: most that training finds are joined by low paths.",
        source="the quartic with a tilt, the cusp catastrophe: R. Thom, Stabilité structurelle et morphogenèse, 1972",
    ),
    Classic(
        name="inflection",
        formula="x⁴/4 − x³/3 + y²/2",
        fn=_inflection,
        bounds=((-1.2, 1.8), (-1.5, 1.5)),
        start=(-1.0, 1.0),
        minima=((1.0, 0.0),),
        degenerate=((0.0, 0.0),),
        shows="Momentum crosses a flat inflection, where gradient descent, AdaGrad, RMSProp and Adam stay for very long.",
        does_not_show="That momentum is the remedy for flat places: on the saddle the ranking is the opposite.",
        source="the normal form of a fold with a minimum behind it",
    ),
    Classic(
        name="rosenbrock",
        formula="(1 − x)² + 100 (y − x²)²",
        fn=_rosenbrock,
        bounds=((-2.0, 2.0), (-1.0, 3.0)),
        start=(-1.2, 1.0),
        minima=((1.0, 1.0),),
        shows="A curved valley: its floor is found at once, and following it takes long, as the steep direction turns.",
        does_not_show="The speed of a rule on networks: there is no noise, and two numbers have no room for ways round.",
        source="H. Rosenbrock, The Computer Journal 3, 1960",
    ),
    Classic(
        name="beale",
        formula="(1.5 − x + x y)² + (2.25 − x + x y²)² + (2.625 − x + x y³)²",
        fn=_beale,
        bounds=((-4.5, 4.5), (-4.5, 4.5)),
        start=(1.0, 1.0),
        minima=((3.0, 0.5),),
        saddles=((0.0, 1.0), (0.10053793732415851, -2.6445135850231236)),
        shows="Cliffs in the corners and a flat part between: one rate diverges here or hardly moves there.",
        does_not_show="Which rule is best: adaptive ones profit here from axes that were drawn along the slopes.",
        source="E. Beale, On an iterative method for finding a local minimum, Princeton report 25, 1958",
    ),
    Classic(
        name="himmelblau",
        formula="(x² + y − 11)² + (x + y² − 7)²",
        fn=_himmelblau,
        bounds=((-5.0, 5.0), (-5.0, 5.0)),
        start=(0.0, 0.0),
        minima=(
            (3.0, 2.0),
            (-2.805118086952745, 3.1313125182505730),
            (-3.779310253377747, -3.283185991286169),
            (3.584428340330492, -1.848126526964404),
        ),
        saddles=(
            (-3.0730257507643896, -0.08135304428796751),
            (-0.12796134673068007, -1.9537149802445764),
            (0.08667750455539635, 2.8842547011747711),
            (3.3851541836070209, 0.07385187983774929),
        ),
        maxima=((-0.27084459066734761, -0.92303855647998146),),
        shows="Four minima of the same value: the start alone decides which is found, and no ending is better.",
        does_not_show="How often training ends badly: in many dimensions stationary points of high loss are mostly saddles.",
        source="D. Himmelblau, Applied Nonlinear Programming, 1972",
    ),
    Classic(
        name="mueller-brown",
        formula="Σ A exp(a (x − x₀)² + b (x − x₀)(y − y₀) + c (y − y₀)²), four terms",
        fn=_mueller_brown,
        bounds=((-1.5, 1.2), (-0.2, 2.0)),
        start=(-0.05, 0.467),
        minima=(
            (-0.55822363463302428, 1.4417258418046669),
            (0.62349940493087651, 0.02803775852868567),
            (-0.05001082299820606, 0.46669410487197205),
        ),
        saddles=((-0.82200155873273210, 0.62431280281487136), (0.21248658200066201, 0.29298832510736777)),
        shows="The lowest path between minima bends: a straight line overstates the barrier, and walls differ by side.",
        does_not_show="The height of barriers between networks: those depend on width and on how the units are matched.",
        source="K. Müller, L. Brown, Theoretica Chimica Acta 53, 1979",
    ),
    Classic(
        name="rastrigin",
        formula="20 + x² − 10 cos 2πx + y² − 10 cos 2πy",
        fn=_rastrigin,
        bounds=((-5.12, 5.12), (-5.12, 5.12)),
        start=(3.2, -2.4),
        minima=((0.0, 0.0),),
        complete=False,
        shows="A lattice of minima over a bowl: a path ends in the next one; larger steps or noise see the bowl.",
        does_not_show="A loss of networks: they have no lattice of minima of regularly rising value.",
        source="L. Rastrigin, Systems of Extremal Control, 1974",
    ),
    Classic(
        name="styblinski-tang",
        formula="(x⁴ − 16 x² + 5 x + y⁴ − 16 y² + 5 y) / 2",
        fn=_styblinski_tang,
        bounds=((-5.0, 5.0), (-5.0, 5.0)),
        start=(0.5, 0.5),
        minima=((_LOW, _LOW), (_LOW, _HIGH), (_HIGH, _LOW), (_HIGH, _HIGH)),
        saddles=((_LOW, _TOP), (_HIGH, _TOP), (_TOP, _LOW), (_TOP, _HIGH)),
        maxima=((_TOP, _TOP),),
        shows="Minima of unequal value: the nearest is not the lowest, and each coordinate chooses for itself.",
        does_not_show="That coordinates can be treated one by one: the weights of a network depend on one another.",
        source="M. Styblinski, T. Tang, Neural Networks 3, 1990",
    ),
    Classic(
        name="ackley",
        formula="20 + e − 20 exp(−0.2 √((x² + y²) / 2)) − exp((cos 2πx + cos 2πy) / 2)",
        fn=_ackley,
        bounds=((-5.0, 5.0), (-5.0, 5.0)),
        start=(3.6, 2.4),
        minima=((0.0, 0.0),),
        complete=False,
        shows="A nearly flat, rippled plain round a funnel with a sharp tip: at the tip there is a slope but no gradient.",
        does_not_show="How training ends: a tip keeps every constant rate jumping, a smooth minimum does not.",
        source="D. Ackley, A Connectionist Machine for Genetic Hillclimbing, 1987",
    ),
)
CLASSIC: dict[str, Classic] = {surface.name: surface for surface in _ALL}
