"""Whether the loss surface moved: loss, gradient and curvature at θ* on new data against held-out rows of the reference.

Each side is divided. One part of it is looked at: there gradients, eigenvectors and a move are found. The other part, which
had no share in that, judges: the score test, what the move gains, and the sections.

Legend: n trained parameters, k eigenvectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...batch import Batch
from ...errors import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, check, optional
from ..distributions.score import ScoreTest, score_test
from ..rises import comparable
from ..rows import Rows, drawn, finite, pseudo_labelled
from ..targets import asked
from .edge import Edge, edge
from .probed import Leading, leading
from .sections import Line, Plane, few, line_along, plain, plane_of, trained
from .step import Step, found_step

if TYPE_CHECKING:
    from ...recipe import Recipe
    from ...task import Task

Floats = npt.NDArray[np.float64]
EIGENVECTORS, RANDOM = 2, 3
CURVED = 256  # rows of a side at most that curvature is measured on
CONFIDENT = 0.9
AGREES = 1e-3  # share of the loss by which the mean of the rows' losses may differ from it


@dataclass(frozen=True)
class Gradient:
    """Mean gradients at θ*.

    Attributes:
        reference: ‖g‖² of the reference, as the product of two parts' means: without the noise's share, so that it may be
            below zero where g is nearly none.
        incoming: the same of the incoming data.
        difference: the same of the difference of both.
        cosine: between both means.
    """

    reference: float
    incoming: float
    difference: float
    cosine: float


@dataclass(frozen=True)
class Curvature:
    """The largest eigenvalues of one side's Hessian.

    Attributes:
        values: descending.
        bounds: an eigenvalue lies within this of each.
        along: the other side's curvature along the same eigenvectors.
        rows: that it is the mean over.
    """

    values: tuple[float, ...]
    bounds: tuple[float, ...]
    along: tuple[float, ...]
    rows: int


@dataclass(frozen=True)
class SurfaceMoved:
    """Whether the surface moved, and what shows it.

    Attributes:
        loss_reference: mean over held-out rows of the reference; NaN: it has no targets.
        loss_incoming: mean over the incoming rows; NaN: without targets it is not known.
        interval: of ``loss_incoming`` − ``loss_reference``, after Welch; NaN: not known.
        rows: of the reference and of the incoming data.
        gradient: at θ*.
        score: test of equal mean gradients along the looked-at difference, leading eigenvectors and random directions.
        curvature_reference: of the reference.
        curvature_incoming: of the incoming data.
        predicted: change of the incoming and of the reference loss by ``step``, to second order.
        step: a damped move, and what it really does.
        slices: both surfaces along lines.
        plane: both surfaces over a plane, with the ends of training on each.
        edge: the largest curvature as the optimizer of the recipe sees it; None: not known.
        effect: the larger of the losses' difference, and of what the step gains on the incoming data beyond what it gains
            on the reference, in standard deviations of a row's loss.
        alarm: whether score or losses differ at the level, corrected for two tests, and the effect reaches the gate.
        notes: what was done, and what could not be.
    """

    loss_reference: float
    loss_incoming: float
    interval: tuple[float, float]
    rows: tuple[int, int]
    gradient: Gradient
    score: ScoreTest
    curvature_reference: Curvature
    curvature_incoming: Curvature
    predicted: tuple[float, float]
    step: Step
    slices: tuple[Line, ...]
    plane: Plane
    edge: Edge | None
    effect: float
    alarm: bool
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain data; numbers that are not known are None."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    def __str__(self) -> str:
        said = [f"The surface {'moved' if self.alarm else 'is not seen to have moved'} ({self.rows[0]} reference rows, "
                f"{self.rows[1]} incoming)."]  # fmt: skip
        if math.isfinite(self.loss_incoming):
            low, high = self.interval
            said.append(
                f"Loss {self.loss_reference:.4g} → {self.loss_incoming:.4g}, difference from {low:.3g} to {high:.3g}."
            )
        now, then = self.step.incoming, self.step.reference
        said.append(f"Mean gradients differ: p = {self.score.p:.2g} ({self.score.kind}).")
        said.append(
            f"Largest curvature {self.curvature_reference.values[0]:.3g} → {self.curvature_incoming.values[0]:.3g}."
        )
        said.append(
            f"A move of {self.step.relative:.2g} of the parameters' length takes the incoming loss from {now.before:.4g} to "
            f"{now.after:.4g} ({now.predicted:+.3g} predicted), the reference's from {then.before:.4g} to {then.after:.4g}."
        )
        said += [] if self.edge is None else [str(self.edge)]
        return "\n".join([*said, *self.notes])


def surface_moved(
    task: Task, model: nn.Module, reference: Any, incoming: Any, *, level: float = 0.05, seed: int = 0, steps: int = 20,
    lr: float | None = None, recipe: Recipe | None = None, optimizer_state: Mapping[str, Any] | None = None, rows: int = 2048,
    gate: float = 0.05,
) -> SurfaceMoved:  # fmt: skip
    """Loss, gradient and curvature of a trained model on new data against held-out rows of the reference.

    Where a side has no targets, the model's own predictions of which it is at least 90 % sure stand for them,
    on both sides; then no difference of losses is claimed. The model, its gradients and all random states are left as they
    are.

    Args:
        task: gives the loss.
        model: at θ*.
        reference: rows that the model was not trained on: a feed, a `Sample`, or a tuple (inputs, targets).
        incoming: the new rows.
        level: of the alarm and of one minus the intervals.
        seed: of the rows, divisions and directions.
        steps: of training on each side, for the plane.
        lr: of that training; None: one over the largest curvature.
        recipe: whose optimizer trains instead of gradient descent; its ``lr`` is known.
        optimizer_state: ``state_dict()`` of the optimizer that trained the model, with which it goes on.
        rows: of each side, at most.
        gate: least effect of an alarm, in standard deviations of a row's loss.

    Raises:
        BadData: too few rows, or incoming data without targets of a task without classes.
        BadOption: an argument outside what is allowed.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> data, model = task.prepare(), task.build(0)
        >>> surface_moved(task, model, data.select, data.judge, steps=2).alarm
        False

    Source: C. Rao, Mathematical Proceedings of the Cambridge Philosophical Society 44, 1948 (score test).
    """
    check("surface_moved", "level", level, FRACTION)
    check("surface_moved", "gate", gate, NOT_NEGATIVE)
    check("surface_moved", "lr", lr, optional(POSITIVE))
    for name, value in (("steps", steps), ("rows", rows)):
        check("surface_moved", name, value, COUNT)
    device = next(model.parameters()).device
    old, new = (drawn(data, rows, seed, device) for data in (reference, incoming))
    notes = ["Measured in evaluation mode, without weight decay."]
    known = [side[0].targets is not None for side in (old, new)]
    labelled = all(known) or task.prepare().train.target_sample(1) is None
    before = _losses(task, model, old) if labelled or known[0] else np.array([math.nan])
    loss_reference, all_rows = _mean(before), (sum(b.rows for b in old), sum(b.rows for b in new))
    difference, interval, p, loss_incoming = math.nan, (math.nan, math.nan), 1.0, math.nan
    after = np.array([math.nan])
    if labelled:
        after = _losses(task, model, new)
        loss_incoming = _mean(after)
        difference, interval, p = _welch(*comparable(before, after), level)
        if not np.isfinite(after).all():
            interval = (interval[0], math.inf)
        old, new = (
            finite(side, x, name, notes) for side, x, name in ((old, before, "reference"), (new, after, "incoming"))
        )
    else:
        old, new = (pseudo_labelled(task, model, side, CONFIDENT) for side in (old, new))
        notes.append(
            f"The {'reference' if known[1] else 'incoming'} data have no targets: the model's own predictions of at least "
            f"{CONFIDENT:.0%} stand for them on both sides ({sum(b.rows for b in old)} and {sum(b.rows for b in new)} rows). A "
            "changed answer to the same inputs is not seen so, and no difference of losses is claimed."
        )
    whole = [Rows(task, model, side) for side in (old, new)]
    losses = [x[np.isfinite(x)] for x in (before, after)] if labelled else [side.losses() for side in whole]
    for side, own in ((few(x), few(x).losses()) for x in whole):
        mean = side.loss()
        if not abs(own.mean() - mean) <= AGREES * max(abs(mean), 1e-12):
            notes.append(f"The mean of the rows' losses, {own.mean():.4g}, is not the batches' loss, {mean:.4g}.")
    look = [Rows(task, model, side[::2]) for side in (old, new)]
    judge = [Rows(task, model, side[1::2]) for side in (old, new)]
    means, others = [x.gradient() for x in look], [x.gradient() for x in judge]
    curved = [few(x, CURVED) for x in look]
    products = [x.hessian() for x in curved]
    tops = [leading(h, look[0].n, count=EIGENVECTORS, seed=seed) for h in products]
    apart = means[1] - means[0]
    random = torch.randn(RANDOM, look[0].n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    tested = _independent([apart, *tops[0].vectors_kn, *random])
    slopes = [x.slopes(tested) for x in judge]
    score = score_test(*slopes, directions_qk=np.eye(len(tested)), level=level / 2, seed=seed)
    step, move = found_step(look, judge, means, products, tops, level)
    sd = math.sqrt(max(float(np.mean([x.var() for x in losses])), 1e-300))
    gain = (step.incoming.before - step.incoming.after) - (step.reference.before - step.reference.after)
    effect = max(abs(difference) if labelled else 0.0, gain) / sd
    small = [few(x) for x in judge]
    rate = lr or 1 / max(1e-12, *(float(np.abs(t.values_k).max()) for t in tops))
    ways = [trained(x, steps, lr=rate, recipe=recipe, state=optimizer_state, seed=seed) for x in curved]
    how = f"{steps} steps of {'gradient descent' if recipe is None else recipe.optimizer} on each, "
    plane = plane_of(
        ways, tops[1].vectors_kn, small[0], small[1], how + f"lr {rate if recipe is None else recipe.lr:.3g}"
    )
    ends = (
        [way[-1] for way in ways] if recipe is None else []
    )  # an optimizer's own steps may go far beyond what lines show
    reach = max(*(float(x.norm()) for x in (move, *ends)), 1e-9)
    lines = {"gradient difference": apart, "move": move, "top eigenvector": tops[1].vectors_kn[0]}
    slices = tuple(line_along(name, d, 2 * reach, *small) for name, d in lines.items() if float(d.norm()))
    evaluated = sum(sum(x.evaluated) for x in slices) + sum(plane.evaluated)
    places = 2 * (sum(len(x.at_s) for x in slices) + plane.incoming_pq.size)
    notes.append(
        f"Lines and plane: the mean loss of {plane.rows[0]} reference and {plane.rows[1]} incoming rows, evaluated at "
        f"{evaluated} of {places} places and interpolated between where that fits."
    )
    for x in (*curved, *judge):
        notes += [note for note in x.notes if note not in notes]
    return SurfaceMoved(
        loss_reference, loss_incoming, interval, all_rows,
        Gradient(
            float(means[0] @ others[0]), float(means[1] @ others[1]), float(apart @ (others[1] - others[0])),
            float(torch.cosine_similarity(means[0] + others[0], means[1] + others[1], dim=0)),
        ),
        score, _curvature(tops[0], products[1], curved[0].rows), _curvature(tops[1], products[0], curved[1].rows),
        (step.incoming.predicted, step.reference.predicted), step, slices, plane,
        None if recipe is None else edge(model, recipe, optimizer_state, products, look[0].n, seed), effect,
        (score.alarm or p < level / 2) and effect >= gate, tuple(notes),
    )  # fmt: skip


def _losses(task: Task, model: nn.Module, batches: list[Batch]) -> Floats:
    """Of each row: NaN where the loss ignores its target, infinite where it is no finite number."""
    found = Rows(task, model, batches).losses()
    if not np.isfinite(found).all():
        parts = [b.targets for b in batches]
        heard = [
            asked(task, t, None) if isinstance(t, Tensor) else np.ones(b.rows, bool)
            for t, b in zip(parts, batches, strict=True)
        ]
        found = np.where(~np.isfinite(found), np.where(np.concatenate(heard), np.inf, np.nan), found)
    return found


def _mean(losses_N: Floats) -> float:
    """Of rows that have one; infinite where one is not finite."""
    return float(np.nanmean(losses_N)) if not np.isnan(losses_N).all() else math.nan


def _welch(a: Floats, b: Floats, level: float) -> tuple[float, tuple[float, float], float]:
    """Mean of b − mean of a, its interval, and p; NaN are left out."""
    from scipy.stats import ttest_ind

    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not a.var() and not b.var():
        apart = float(b.mean() - a.mean())
        return apart, (apart, apart), 1.0 if apart == 0 else 0.0
    test = ttest_ind(b, a, equal_var=False)
    low, high = test.confidence_interval(1 - level)
    return float(b.mean() - a.mean()), (float(low), float(high)), float(test.pvalue)


def _independent(directions: list[Tensor]) -> Tensor:
    """Orthonormal directions of the same span, in this order; what depends on those before is left out."""
    kept: list[Tensor] = []
    for direction in directions:
        rest = direction - sum(((k @ direction) * k for k in kept), start=torch.zeros_like(direction))
        if float(rest.norm()) > 1e-6 * float(direction.norm()):
            kept.append(rest / rest.norm())
    return torch.stack(kept)


def _curvature(top: Leading, other: Any, rows: int) -> Curvature:
    along = tuple(float(v @ other(v)) for v in top.vectors_kn)
    return Curvature(tuple(top.values_k.tolist()), tuple(top.bounds_k.tolist()), along, rows)
