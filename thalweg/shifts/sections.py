"""Sections through two surfaces over the same parameters: along lines, over a plane, and where training goes on each.

Legend: n trained parameters, s places of a line, p × q of a plane, t steps.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..batch import Batch, make_batch, map_leaves
from ..modes import evaluating
from ..seeds import stream
from .edge import continued
from .rows import Rows

if TYPE_CHECKING:
    from ..recipe import Recipe

Floats = npt.NDArray[np.float64]
SECTION_ROWS = 256
ALONG, ACROSS = 17, 13
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
    """

    name: str
    axis: str
    at_s: Floats
    reference_s: Floats
    incoming_s: Floats

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
        training: how the ends were reached.
    """

    axes: tuple[str, str]
    first_p: Floats
    second_q: Floats
    reference_pq: Floats
    incoming_pq: Floats
    points: tuple[Point, ...]
    rows: tuple[int, int]
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
    """The same surface over the first batches only."""
    total, kept = 0, list[Batch]()
    for batch in rows.batches:
        if kept and total + batch.rows > most:
            break
        kept.append(batch)
        total += batch.rows
    return Rows(rows.task, rows.model, kept)


def line_along(name: str, direction_n: Tensor, reach: float, reference: Rows, incoming: Rows) -> Line:
    """Both losses at 17 places from −``reach`` to ``reach`` along a direction.

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
    losses = [np.array(rows.along(unit, at.tolist())) for rows in (reference, incoming)]
    return Line(name, f"distance from θ* along the {name}", at, *losses)


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
    losses = [np.empty((ACROSS, ACROSS)) for _ in range(2)]
    for i, j in itertools.product(range(ACROSS), range(ACROSS)):
        with reference.moved(turn @ torch.tensor([grids[0][i], grids[1][j]], dtype=torch.float64)):
            losses[0][i, j], losses[1][i, j] = reference.loss(), incoming.loss()
    points = []
    for name, path, end in zip(
        ("start", "trained on reference", "trained on incoming"), paths, (torch.zeros_like(old), old, new), strict=True
    ):
        with reference.moved(end):
            points.append(
                Point(name, (float(path[-1, 0]), float(path[-1, 1])), path, reference.loss(), incoming.loss())
            )
    rows = (reference.rows, incoming.rows)
    return Plane((chosen[0], chosen[1]), grids[0], grids[1], losses[0], losses[1], tuple(points), rows, training)
