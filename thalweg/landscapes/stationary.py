"""All stationary points of a function of two numbers in a box, and the barriers between its minima.

Legend: K points of two numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from ..errors import COUNT, BadOption, check
from .classic import Classic, Point
from .field import Function

Kind: TypeAlias = Literal["minimum", "saddle", "maximum", "degenerate"]
Surface: TypeAlias = Classic | Function | Callable[[Tensor], Tensor]

STARTS = 32  # a side
ITERATIONS = 60
SHORTER = 0.25 ** torch.arange(6, dtype=torch.float64)  # lengths of a step that are tried at once
LONGEST = 0.1  # step, of the box's diagonal
DAMPING = 1e-10  # √μ, of the usual curvature in the box
SETTLED = 1e-7  # of the box's diagonal: the last step of what counts as found
LEVEL = 1e-8  # of the usual gradient in the box: the gradient there
SAME = 1e-5  # of the box's diagonal: two points nearer than this are one
FLAT = 1e-7  # of the usual curvature in the box, an eigenvalue that counts as zero
BESIDE = 1e-3  # of the box's diagonal: how far from a saddle a descent starts, and how near a minimum it ends


@dataclass(frozen=True)
class CriticalPoint:
    """Where the gradient is zero.

    Attributes:
        at: its place.
        value: of the function.
        kind: ``minimum``, ``saddle`` or ``maximum`` by the signs of the eigenvalues; ``degenerate``: one of them is zero, and
            second derivatives do not tell.
        eigenvalues: of the Hessian, ascending.
    """

    at: Point
    value: float
    kind: Kind
    eigenvalues: Point


@dataclass(frozen=True)
class Barrier:
    """What separates two minima.

    Attributes:
        start: a minimum.
        end: another.
        over: the highest saddle on the lowest path between them; None: no path over the saddles that were found.
    """

    start: CriticalPoint
    end: CriticalPoint
    over: CriticalPoint | None

    @property
    def height(self) -> float:
        """From ``start``; infinite where no path is known."""
        return math.inf if self.over is None else self.over.value - self.start.value

    @property
    def back(self) -> float:
        """From ``end``; infinite where no path is known."""
        return math.inf if self.over is None else self.over.value - self.end.value


def critical_points(
    surface: Surface, bounds: tuple[Point, Point] | None = None, *, starts: int = STARTS
) -> list[CriticalPoint]:
    """The stationary points in a box, by damped Newton steps −(H² + μI)⁻¹ H ∇f from a grid of starts.

    A step is quartered until the gradient's norm falls. What is found is not proved to be all: two points between which no
    start leads to either can be missed, a line of stationary points gives some of it, and a kink, where there is no
    second derivative, is none. The lowest comes first.

    Args:
        surface: a classic one, or a function of points (2,) that can be differentiated twice.
        bounds: lowest and highest x, and y; None: those of the classic surface.
        starts: a side of the grid.

    Raises:
        BadOption: no bounds, or no box.

    Example:
        >>> from thalweg.landscapes.classic import CLASSIC
        >>> [(p.kind, round(p.value, 4)) for p in critical_points(CLASSIC["double-well"])]
        [('minimum', -0.4053), ('minimum', -0.1061), ('saddle', 0.0114)]

    Source: damping by the gradient's norm: J. Dennis, R. Schnabel, Numerical Methods for Unconstrained Optimization and
    Nonlinear Equations, 1983, section 6.5.
    """
    check("critical_points", "starts", starts, COUNT)
    fn, (low, high) = _function(surface), _box(surface, bounds)
    slope, bend = vmap(grad(fn)), vmap(jacrev(grad(fn)))
    diagonal = float((high - low).norm())
    sides = [low[i] + (high[i] - low[i]) * (torch.arange(starts, dtype=torch.float64) + 0.5) / starts for i in (0, 1)]
    at = torch.cartesian_prod(*sides)
    g = slope(at)
    defined = torch.isfinite(g).all(-1)
    if not defined.any():
        return []
    at, g = at[defined], g[defined]
    usual, curved = float(g.norm(dim=-1).median()), float(torch.linalg.matrix_norm(bend(at), 2).nanmedian())
    damping = torch.eye(2, dtype=torch.float64) * (DAMPING * curved) ** 2
    for _ in range(ITERATIONS):
        h = bend(at).nan_to_num(0.0, 0.0, 0.0)
        step = -torch.linalg.lstsq(h @ h + damping, h @ g[:, :, None]).solution[:, :, 0]
        step *= (LONGEST * diagonal / step.norm(dim=-1, keepdim=True).clamp_min(1e-300)).clamp_max(1)
        tried = at[:, None] + SHORTER[:, None] * step[:, None]
        slopes = slope(tried.reshape(-1, 2)).reshape(tried.shape)
        falls = slopes.norm(dim=-1) < g.norm(dim=-1)[:, None]
        moves, first = falls.any(1)[:, None], falls.int().argmax(1)[:, None, None].expand(-1, 1, 2)
        at = torch.where(moves, tried.gather(1, first)[:, 0], at)
        g = torch.where(moves, slopes.gather(1, first)[:, 0], g)
        if not moves.any():
            break
    found = (step.norm(dim=-1) <= SETTLED * diagonal) & (g.norm(dim=-1) <= LEVEL * usual)
    found &= ((at >= low) & (at <= high)).all(-1)
    rest, alone = at[found][g[found].norm(dim=-1).argsort()], list[Tensor]()
    while len(rest):
        alone.append(rest[0])
        rest = rest[(rest - rest[0]).norm(dim=-1) > SAME * diagonal]
    return sorted((_classified(fn, bend, point, FLAT * curved) for point in alone), key=lambda p: p.value)


def _classified(fn: Callable[[Tensor], Tensor], bend: Any, point: Tensor, zero: float) -> CriticalPoint:
    least, largest = torch.linalg.eigvalsh(bend(point[None])[0]).tolist()
    kind: Kind = "saddle"
    if min(abs(least), abs(largest)) <= zero:
        kind = "degenerate"
    elif least > 0:
        kind = "minimum"
    elif largest < 0:
        kind = "maximum"
    return CriticalPoint((float(point[0]), float(point[1])), float(fn(point)), kind, (least, largest))


def barriers(surface: Surface, points: Sequence[CriticalPoint]) -> list[Barrier]:
    """The barrier between every two minima: the least height over which a path leads from one to the other.

    Each saddle joins the two minima that steepest descent ẋ = −∇f reaches from both its sides; of the paths over
    saddles, the lowest is the one whose highest saddle is lowest. A path that leaves the points given is not known.

    Args:
        surface: as in `critical_points`.
        points: what that found.

    Returns:
        One for each pair of minima, in their order.

    Example:
        >>> from thalweg.landscapes.classic import CLASSIC
        >>> well = CLASSIC["double-well"]
        >>> [found] = barriers(well, critical_points(well))
        >>> round(found.height, 4), round(found.back, 4)
        (0.4166, 0.1175)

    Source: the minimax path: E. Vanden-Eijnden, W. E, Annual Review of Physical Chemistry 61, 2010.
    """
    fn = _function(surface)
    minima = [p for p in points if p.kind == "minimum"]
    if len(minima) < 2:
        return []
    group = list(range(len(minima)))
    highest: dict[tuple[int, int], CriticalPoint] = {}
    places = torch.tensor([p.at for p in points], dtype=torch.float64)
    size = float((places.max(0).values - places.min(0).values).norm())
    for saddle in sorted((p for p in points if p.kind == "saddle"), key=lambda p: p.value):
        ends = _sides(fn, saddle, minima, size)
        if ends is None or group[ends[0]] == group[ends[1]]:
            continue
        one, other = ({i for i, g in enumerate(group) if g == group[end]} for end in ends)
        highest |= {(min(i, j), max(i, j)): saddle for i in one for j in other}
        group = [group[ends[0]] if i in other else g for i, g in enumerate(group)]
    pairs = ((i, j) for i in range(len(minima)) for j in range(i + 1, len(minima)))
    return [Barrier(minima[i], minima[j], highest.get((i, j))) for i, j in pairs]


def _sides(
    fn: Callable[[Tensor], Tensor], saddle: CriticalPoint, minima: Sequence[CriticalPoint], size: float
) -> tuple[int, int] | None:
    """The minima below a saddle's two sides; None where a side leads elsewhere."""
    slope, at = grad(fn), torch.tensor(saddle.at, dtype=torch.float64)
    unstable = torch.linalg.eigh(jacrev(slope)(at))[1][:, 0]
    ends = [_descent(slope, at + side * BESIDE * size * unstable, minima, size) for side in (1, -1)]
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])


def _descent(
    slope: Callable[[Tensor], Tensor], start: Tensor, minima: Sequence[CriticalPoint], size: float
) -> int | None:
    """The minimum at the end of the steepest descent from a point."""
    from scipy.integrate import solve_ivp

    places = np.array([p.at for p in minima])

    def gradient(at: np.ndarray) -> np.ndarray:
        found: np.ndarray = slope(torch.from_numpy(at.copy())).numpy()
        return found

    def arrived(_: float, at: np.ndarray) -> float:
        return float(np.linalg.norm(places - at, axis=1).min() - BESIDE * size)

    def gone(_: float, at: np.ndarray) -> float:
        return float(np.linalg.norm(at - start.numpy()) - 10 * size)

    arrived.terminal = gone.terminal = True  # type: ignore[attr-defined]
    first = gradient(start.numpy())
    # Time in units in which the first slope is one box a unit; a valley may be flatter by many orders.
    unit = size / max(float(np.linalg.norm(first)), 1e-300)
    run = solve_ivp(
        lambda _, at: -unit * gradient(at), (0, 1e6), start.numpy(), "LSODA", rtol=1e-6, atol=1e-8 * size,
        events=(arrived, gone),
    )  # fmt: skip
    if not len(run.t_events[0]):
        return None
    return int(np.linalg.norm(places - run.y[:, -1], axis=1).argmin())


def _function(surface: Surface) -> Callable[[Tensor], Tensor]:
    return surface.fn if isinstance(surface, Classic | Function) else surface


def _box(surface: Surface, bounds: tuple[Point, Point] | None) -> tuple[Tensor, Tensor]:
    if bounds is None and isinstance(surface, Classic):
        bounds = surface.bounds
    if bounds is None:
        raise BadOption("critical_points: bounds are missing", "give ((lowest x, highest x), (lowest y, highest y))")
    low, high = torch.tensor(bounds, dtype=torch.float64).unbind(1)
    if not bool((low < high).all()) or not bool(torch.isfinite(low + high).all()):
        raise BadOption(f"critical_points: bounds must be a finite box, got {bounds}", "give each lower bound first")
    return low, high
