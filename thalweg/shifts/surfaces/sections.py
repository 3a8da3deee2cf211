"""Sections through two surfaces over the same parameters: along lines, over a plane, and where training goes on each.

Legend: n trained parameters, s places of a line, p × q of a plane, t steps.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...batch import Batch, make_batch, map_leaves
from ...modes import evaluating
from ...seeds import stream
from ..rows import Rows, cut
from .edge import continued

if TYPE_CHECKING:
    from ...recipe import Recipe

Floats = npt.NDArray[np.float64]
SECTION_ROWS = 128  # of a side: every place sees the same ones, so that shapes are compared and not draws
ALONG, ACROSS = 17, 13  # places of a line, and of each axis of a plane: odd
SMOOTH = 0.01  # of the values' range: how near interpolation must be where it is checked, to stand for what is between
SHRINK = 4  # by what a parabola's error falls at least with half the distance: 8 where third derivatives make it
CHECKED = 12  # places of a plane where that is checked
MARGIN = 0.35  # of a plane's extent, beyond the outermost of its points


@dataclass(frozen=True)
class Line:
    """Both surfaces along a line through θ*: the losses alone, at the same places, of a few rows of each side.

    Attributes:
        name: of the direction: ``gradient difference``, ``move`` or ``top eigenvector``.
        axis: what ``at_s`` counts.
        at_s: distances from θ*.
        reference_s: losses of the reference there.
        incoming_s: losses of the incoming data there.
        rows: of each side that the losses are means over.
        evaluated: places of each side; the others lie on parabolas through their neighbours, which fitted where it was tried.
    """

    name: str
    axis: str
    at_s: Floats
    reference_s: Floats
    incoming_s: Floats
    rows: tuple[int, int]
    evaluated: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        found: dict[str, Any] = plain(asdict(self))
        return found


@dataclass(frozen=True)
class Point:
    """A point of a plane: where it lies, and both losses there.

    Attributes:
        name: ``start``, ``trained on reference`` or ``trained on incoming``.
        at: along both axes.
        path_t2: the way there, from θ* on.
        reference: loss of the reference.
        incoming: loss of the incoming data.
    """

    name: str
    at: tuple[float, float]
    path_t2: Floats
    reference: float
    incoming: float


@dataclass(frozen=True)
class Plane:
    """Both surfaces over the plane through θ* and the ends of training on each.

    Attributes:
        axes: what ``first_p`` and ``second_q`` count.
        first_p: distances from θ* along the first axis.
        second_q: along the second, which is at a right angle.
        reference_pq: losses of the reference.
        incoming_pq: losses of the incoming data.
        points: θ* and the ends, all of which lie in the plane.
        rows: of each side that the losses are means over.
        evaluated: places of each side; the others are interpolated by a spline, which fitted where it was tried.
        training: how the ends were reached.
    """

    axes: tuple[str, str]
    first_p: Floats
    second_q: Floats
    reference_pq: Floats
    incoming_pq: Floats
    points: tuple[Point, ...]
    rows: tuple[int, int]
    evaluated: tuple[int, int]
    training: str

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def plain(value: Any) -> Any:
    """Arrays and tuples as lists, numbers that are not finite as None."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def few(rows: Rows, most: int = SECTION_ROWS) -> Rows:
    """The same surface over the first rows only."""
    total, kept = 0, list[Batch]()
    for batch in rows.batches:
        if total >= most:
            break
        kept.append(batch if total + batch.rows <= most else make_batch(cut(batch, 0, most - total)))
        total += batch.rows
    return Rows(rows.task, rows.model, kept)


def line_along(name: str, direction_n: Tensor, reach: float, reference: Rows, incoming: Rows) -> Line:
    """Both losses at 17 places from −``reach`` to ``reach`` along a direction; fewer are evaluated where parabolas fit.

    Args:
        name: of the direction.
        direction_n: of any length above zero.
        reach: the farthest place, in lengths of the parameters.
        reference: one surface.
        incoming: the other.

    Example:
        >>> import thalweg
        >>> from thalweg.shifts.rows import drawn
        >>> task = thalweg.Task.load("digits")
        >>> data, model = task.prepare(), task.build(0)
        >>> sides = [Rows(task, model, drawn(x, 64)) for x in (data.select, data.judge)]
        >>> line = line_along("gradient", sides[0].gradient(), 0.1, *sides)
        >>> (line.reference_s.argmin(), line.reference_s.argmax()) == (0, 16)
        True
    """
    at, unit = np.linspace(-reach, reach, ALONG), direction_n / direction_n.norm()
    sides = [along(functools.partial(rows.along, unit), at) for rows in (reference, incoming)]
    (old, first), (new, second) = sides
    axis = f"distance from θ* along the {name}"
    return Line(name, axis, at, old, new, (reference.rows, incoming.rows), (first, second))


def along(loss: Callable[[list[float]], Sequence[float]], at_s: Floats) -> tuple[Floats, int]:
    """A function at places of equal distance, and at how many of them it was evaluated.

    Every second place is; of the others those near which the parabola through every fourth was so far off that at half the
    distance more than a hundredth of the range would be left. The rest lies on parabolas through its neighbours. Where a
    value is not finite nothing is interpolated.

    Args:
        loss: its values at some places.
        at_s: 4 k + 1 places.

    Example:
        >>> found, evaluated = along(lambda s: [x * x for x in s], np.linspace(-1, 1, 17))
        >>> float(np.abs(found - np.linspace(-1, 1, 17) ** 2).max()) < 1e-12, evaluated
        (True, 9)
    """
    found, known = np.full(len(at_s), math.nan), np.zeros(len(at_s), dtype=np.bool_)

    def evaluate(places: npt.NDArray[np.int64]) -> None:
        if len(places):
            found[places], known[places] = loss(at_s[places].tolist()), True

    evaluate(np.arange(0, len(at_s), 4))
    between = np.arange(2, len(at_s), 4)
    guessed = np.array([_parabola(at_s, found, k, 4) for k in between.tolist()])
    evaluate(between)
    if not np.isfinite(found[::2]).all():
        evaluate(np.flatnonzero(~known))
        return found, len(found)
    bent = np.abs(guessed - found[between]) > SHRINK * SMOOTH * np.ptp(found[::2])
    near = np.repeat(bent, 2)  # of the odd places two lie beside each of these
    near[1:-1] |= np.repeat(bent[1:] | bent[:-1], 2)[: len(near) - 2]
    odd = np.arange(1, len(at_s), 2)
    evaluate(odd[near])
    found[odd[~near]] = [_parabola(at_s, found, k, 2) for k in odd[~near].tolist()]
    return found, int(known.sum())


def _parabola(at_s: Floats, values_s: Floats, k: int, stride: int) -> float:
    """At place k, which lies amid two of the places of a stride, through these two and the next on the inner side."""
    low, high = k - stride // 2, k + stride // 2
    third = high + stride if high + stride < len(at_s) else low - stride
    x, y = at_s[[low, high, third]] - at_s[k], values_s[[low, high, third]]
    weights = [x[1] * x[2], x[0] * x[2], x[0] * x[1]]
    gaps = [(x[0] - x[1]) * (x[0] - x[2]), (x[1] - x[0]) * (x[1] - x[2]), (x[2] - x[0]) * (x[2] - x[1])]
    return float(sum(w / g * v for w, g, v in zip(weights, gaps, y, strict=True)))


def trained(
    rows: Rows, steps: int, *, lr: float, recipe: Recipe | None = None, state: Mapping[str, Any] | None = None, seed: int = 0
) -> Tensor:  # fmt: skip
    """The way of some training steps from θ*, as moves from it, (t + 1, n); a copy is trained, in evaluation mode.

    Args:
        rows: what it is trained on, a batch a step, again and again.
        steps: at most; it ends early where a number is no longer finite.
        lr: of gradient descent.
        recipe: its optimizer, schedule and rate instead.
        state: of that optimizer, to go on with; None: it begins anew.
        seed: of what the model draws.

    Example:
        >>> import thalweg
        >>> from thalweg.shifts.rows import drawn
        >>> task = thalweg.Task.load("digits")
        >>> rows = Rows(task, task.build(0), drawn(task.prepare().select, 64))
        >>> trained(rows, 3, lr=0.1).shape
        torch.Size([4, 2410])
    """
    model = copy.deepcopy(rows.model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    start = torch.cat([p.detach().reshape(-1).double().cpu() for p in parameters])
    optimizer, schedule = (torch.optim.SGD(parameters, lr=lr), None) if recipe is None else recipe.build(model, steps)
    continued(optimizer, state)
    way = [torch.zeros_like(start)]
    with evaluating(model), stream(seed, "shift"), torch.enable_grad():
        for batch in itertools.islice(itertools.cycle(rows.batches), steps):
            optimizer.zero_grad()
            loss = rows.task.loss_of(model, make_batch(map_leaves(torch.clone, batch.raw)))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if schedule is not None:
                schedule.step()
            way.append(torch.cat([p.detach().reshape(-1).double().cpu() for p in parameters]) - start)
            if not torch.isfinite(way[-1]).all():
                way.pop()
                break
    return torch.stack(way)


def plane_of(ways: Sequence[Tensor], spare_n: Tensor, reference: Rows, incoming: Rows, training: str) -> Plane:
    """Both losses over the plane through θ* and two ends.

    Args:
        ways: of training on the reference and on the incoming data, as `trained` gives them.
        spare_n: directions (k, n) that take the place of an end that is θ* itself or on a line with the other.
        reference: one surface.
        incoming: the other.
        training: how the ends were reached.

    Example:
        >>> import thalweg
        >>> from thalweg.shifts.rows import drawn
        >>> task = thalweg.Task.load("digits")
        >>> data, model = task.prepare(), task.build(0)
        >>> sides = [Rows(task, model, drawn(x, 64)) for x in (data.select, data.judge)]
        >>> ways = [trained(side, 3, lr=0.1) for side in sides]
        >>> plane = plane_of(ways, torch.empty(0, 2410), *sides, training="3 steps")
        >>> plane.incoming_pq.shape, [point.name for point in plane.points]
        ((13, 13), ['start', 'trained on reference', 'trained on incoming'])
    """
    old, new = ways[0][-1], ways[1][-1]
    axes: list[Tensor] = []
    names = ["towards the end of training on the incoming data", "towards the end of training on the reference"]
    candidates = [(new, names[0]), (old, names[1]), *((x, "top eigenvector") for x in spare_n)]
    chosen: list[str] = []
    for candidate, name in candidates:
        rest = candidate - sum(((axis @ candidate) * axis for axis in axes), start=torch.zeros_like(candidate))
        if len(axes) < 2 and float(rest.norm()) > 1e-6 * max(float(candidate.norm()), 1e-300):
            axes.append(rest / rest.norm())
            chosen.append(name if not chosen else f"{name}, at a right angle to the first")
    if len(axes) < 2:  # of one parameter
        axes.append(torch.zeros_like(old))
        chosen.append("none")
    turn = torch.stack(axes).T
    paths = [np.zeros((1, 2)), *((way @ turn).numpy() for way in ways)]
    corners = np.concatenate(paths)
    reach = max(float(np.ptp(corners, 0).max()), 1e-9)
    grids = [np.linspace(x.min() - MARGIN * reach, x.max() + MARGIN * reach, ACROSS) for x in corners.T]
    losses, evaluated = zip(*(_over(rows, turn, grids) for rows in (reference, incoming)), strict=True)
    points = []
    for name, path, end in zip(
        ("start", "trained on reference", "trained on incoming"), paths, (torch.zeros_like(old), old, new), strict=True
    ):
        with reference.moved(end):
            points.append(
                Point(name, (float(path[-1, 0]), float(path[-1, 1])), path, reference.loss(), incoming.loss())
            )
    rows = (reference.rows, incoming.rows)
    return Plane(
        (chosen[0], chosen[1]), grids[0], grids[1], losses[0], losses[1], tuple(points), rows, evaluated, training
    )


def _over(rows: Rows, turn_n2: Tensor, grids: Sequence[Floats]) -> tuple[Floats, int]:
    """Losses over a plane: at every second place of both axes, and at the others where a spline through these is off."""
    from scipy.interpolate import RectBivariateSpline

    found = np.full((ACROSS, ACROSS), math.nan)

    def evaluate(places: Iterable[tuple[int, int]]) -> None:
        for i, j in places:
            with rows.moved(turn_n2 @ torch.tensor([grids[0][i], grids[1][j]], dtype=torch.float64)):
                found[i, j] = rows.loss()

    evaluate(itertools.product(range(0, ACROSS, 2), range(0, ACROSS, 2)))
    coarse = found[::2, ::2]
    rest = [(int(i), int(j)) for i, j in zip(*np.nonzero(np.isnan(found)), strict=True)]
    if np.isfinite(coarse).all() and len(np.unique(grids[1])) == ACROSS:
        guessed = RectBivariateSpline(grids[0][::2], grids[1][::2], coarse)(grids[0], grids[1])
        tried = rest[:: len(rest) // CHECKED]
        evaluate(tried)
        off = max(abs(guessed[i, j] - found[i, j]) for i, j in tried)
        if off <= SMOOTH * np.ptp(coarse):
            known = ~np.isnan(found)
            return np.where(known, found, guessed), int(known.sum())
        rest = [place for place in rest if place not in set(tried)]
    evaluate(rest)
    return found, ACROSS**2
