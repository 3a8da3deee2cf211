"""Where on the loss surface a model is: still descending, at a saddle, in a minimum, on a plateau, and how sure that is.

The gradient is held against its own sampling error; where it is lost in that, the two ends of the Hessian's spectrum say
more; and what they say is confirmed by action, on batches that had no part in it.

Legend: n parameters, B batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..batch import Batch
from ..curvature import Noise, Surface, batches_of, gradient_noise, lanczos, start_vector
from ..wiring import wiring

if TYPE_CHECKING:
    from ..task import Task

BATCHES, PRODUCTS = 8, 40
SURE = 3.0  # standard errors
REACH = tuple(10.0**k for k in np.linspace(-4, 1, 11))  # lengths of the line search, over the parameters' own length
RADII = (1e-3, 3e-3, 1e-2)  # at which negative curvature must persist on piecewise-linear networks, of the same length
PIECEWISE = {"relu", "leaky_relu", "hardtanh", "threshold", "prelu_kernel", "abs", "hardsigmoid", "rrelu_with_noise"}
SMOOTHING = 0.1  # of the parameters' length: where nothing is seen to second order, so far away is looked
NEARBY = 6  # random directions there
NOTHING = 1e-6  # of the loss, eight units in its last place: what the best step along the gradient may gain at a critical point
FAR = 0.25  # of the way from the reference to the loss here, that a plateau is above it at least


@dataclass(frozen=True)
class Escape:
    """A way down that was taken, on batches that had no part in finding it.

    Attributes:
        before: their mean loss here.
        after: there.
        error: standard error of the difference, over batches.
        length: of the step along the direction.
        predicted: fall of the loss by curvature alone, λ s²/2.
        trained: their loss after ordinary training for as many gradient evaluations, and at 3 × the rate; NaN: not tried.
    """

    before: float
    after: float
    error: float
    length: float
    predicted: float
    trained: tuple[float, float] = (math.nan, math.nan)

    @property
    def falls(self) -> bool:
        """Whether the loss fell by more than its noise."""
        return self.before - self.after > SURE * self.error


@dataclass(frozen=True)
class Place:
    """Where a model is, and what shows it.

    Attributes:
        code: ``not-critical``, ``saddle-point``, ``local-minimum``, ``plateau`` or ``inconclusive``.
        sentence: the same in words, with the numbers.
        loss: on the diagnostic batches.
        gradient: against its sampling error.
        ends: lowest and highest eigenvalue of the Hessian that were seen; NaN where they were not asked for.
        bounds: an eigenvalue lies within this of each.
        tau: what an eigenvalue must exceed to be told from zero.
        escape: the way down that was tried.
        evaluations: gradient evaluations of one batch that all took.
        notes: mode, determinism, what could not be done.
    """

    code: str
    sentence: str
    loss: float
    gradient: Noise
    ends: tuple[float, float]
    bounds: tuple[float, float]
    tau: float
    escape: Escape | None
    evaluations: int
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return "\n".join([f"{self.code}: {self.sentence}", *self.notes])


class _Ground:
    """The diagnostic batches, fresh ones, and what has been measured on them."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        seed: int,
        training: bool,
        double: bool,
        batches: int,
        most: float,
    ) -> None:
        self.task, self.model, self.most = task, model, most
        known = batches_of(task, 2 * batches, seed)
        half = max(1, min(batches, len(known) // 2))
        own, fresh = (known[:half], known[half : 2 * half]) if len(known) > 1 else (known, known)
        self.own = Surface(task, model, own, training=training, double=double)
        twin = self.own.model if double else model
        self.fresh = Surface(task, twin, fresh if not double else self._as(fresh), training=training)
        self.all = Surface(task, twin, [*self.own.batches, *self.fresh.batches], training=training)
        self.evaluations, self._here = 0, dict[int, list[float]]()
        self.length = max(float(self.own.point().norm()), 1.0)

    def _as(self, batches: Sequence[Batch]) -> list[Batch]:
        return Surface(self.task, self.model, batches, double=True).batches

    @property
    def left(self) -> float:
        """Gradient evaluations that may still be taken."""
        return max(0.0, self.most - self.evaluations)

    def apart(self, surface: Surface, direction: Tensor, length: float) -> tuple[float, float, float]:
        """Mean loss of a surface's batches here and at a distance, and the standard error of the difference."""
        here = self.losses(surface)
        with surface.moved(length * direction):
            there = [self._one(b).loss() for b in surface.batches]
        differences = np.array(there) - np.array(here)
        error = float(differences.std(ddof=1) / math.sqrt(len(differences))) if len(differences) > 1 else 0.0
        return float(np.mean(here)), float(np.mean(there)), error

    def losses(self, surface: Surface) -> list[float]:
        """Of each batch of a surface, here."""
        if id(surface) not in self._here:
            self._here[id(surface)] = [self._one(b).loss() for b in surface.batches]
        return self._here[id(surface)]

    def _one(self, batch: Batch) -> Surface:
        return Surface(self.task, self.fresh.model, [batch], training=self.fresh.training)


def locate(
    task: Task, model: nn.Module, *, lr: float | None = None, reference: float | None = None, training: bool = False,
    double: bool = False, seed: int = 0, batches: int = BATCHES, products: int = PRODUCTS,
    most: int | None = None,
) -> Place:  # fmt: skip
    """Where on the loss surface a model is.

    The loss is the task's, without an optimizer's weight decay. The model is left as it is.

    Args:
        task: with its training data.
        model: trained or not.
        lr: of ordinary gradient descent, that an escape from a saddle must beat; None: one over the highest curvature.
        reference: a loss that is known to be reached (the best seen, a null model's); None: nothing is called a plateau.
        training: whether dropout and batch norm act as in training.
        double: whether a copy in float64 is looked at.
        seed: of the batches and directions.
        batches: of the diagnostic set, and as many fresh ones.
        products: of Lanczos's iteration, at most.
        most: gradient evaluations, of a batch each, after which no more is tried; None: as many as it takes.

    Returns:
        The verdict with its evidence. ``local-minimum`` speaks of the directions that were probed only.

    Raises:
        BadTask: the loss is not the same twice, or the model does not run.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> locate(task, task.build(0)).code
        'not-critical'

    Source: saddles: Y. Dauphin et al., arXiv 1406.2572; the bound of a Ritz value: B. Parlett, The Symmetric Eigenvalue
    Problem, 1980.
    """
    ground = _Ground(task, model, seed, training, double, batches, math.inf if most is None else most)
    own = ground.own
    notes = [f"Measured in {'training' if training else 'evaluation'} mode, without weight decay, on {own.rows} rows."]
    if not own.deterministic():
        notes.append("The loss is not the same twice: a random number that no seed reaches.")
    loss = own.loss()
    gradients = ground.all.gradients()
    noise = gradient_noise(gradients, ground.all.rows // len(ground.all.batches))
    ground.evaluations += len(gradients)
    mean, product = gradients.mean(0), own.hessian()
    nan = (math.nan, math.nan)
    worth = _descends(mean, product, loss, ground.length)
    ground.evaluations += 2 * len(own.batches)
    if noise.squared > SURE * noise.error and worth:
        return Place(
            "not-critical", f"The gradient ‖g‖ = {math.sqrt(noise.squared):.3g} is surely not zero: it is still descending.",
            loss, noise, nan, nan, math.nan, None, ground.evaluations, tuple(notes),
        )  # fmt: skip
    found = lanczos(product, start_vector(own.n, seed), products, tolerance=1e-3, ends=1)
    ground.evaluations += 2 * found.products * len(own.batches)
    low, high = float(found.values_k[0]), float(found.values_k[-1])
    below, above = float(found.bounds_k[0]), float(found.bounds_k[-1])
    lowest = found.vectors_kn[0]
    seen, error = _fresh_curvature(ground, lowest)
    tau = max(SURE * error, own.floor * max(abs(low), abs(high)))
    notes += own.notes
    same: dict[str, Any] = {
        "loss": loss, "gradient": noise, "ends": (low, high), "bounds": (below, above), "tau": tau,
    }  # fmt: skip

    def place(code: str, sentence: str, escape: Escape | None = None) -> Place:
        return Place(code, sentence, escape=escape, evaluations=ground.evaluations, notes=tuple(notes), **same)

    if low + below < -tau and seen < -tau and _persists(ground, lowest):
        escape = _descend(ground, [lowest], low)
        if escape is None:
            return place(
                "inconclusive", f"Curvature {low:.3g} along one direction, but no way down was found along it."
            )
        trained = _train(ground, mean, lr or (1 / high if high > 0 else 1.0), notes)
        escape = Escape(escape.before, escape.after, escape.error, escape.length, escape.predicted, trained)
        better = (
            escape.after < min(x for x in trained if math.isfinite(x)) if any(map(math.isfinite, trained)) else True
        )
        said = (
            f"Curvature {low:.3g} ± {below:.1g} along one direction; a step of {escape.length:.2g} along it takes the "
        )
        said += f"held-out loss from {escape.before:.4g} to {escape.after:.4g}"
        if better:
            return place("saddle-point", said + ".", escape)
        notes.append("Ordinary training leaves it as fast: a note, not a trouble.")
        return place("not-critical", said + f", training to {min(trained):.4g}.", escape)
    if abs(low) <= tau and abs(high) <= tau:
        escape = _nearby(ground, seed)
        if escape is not None:
            notes.append("Inconclusive at second order: the way down was found by looking farther away.")
            return place(
                "saddle-point", f"No curvature, yet the held-out loss falls from {escape.before:.4g} to {escape.after:.4g} "
                f"at a distance of {escape.length:.2g}.", escape,
            )  # fmt: skip
        if reference is not None and loss - reference > FAR * abs(reference):
            return place(
                "plateau", f"Neither slope nor curvature, and the loss {loss:.4g} is far above {reference:.4g}."
            )
        return place("inconclusive", "Neither slope nor curvature within what can be resolved.")
    return place(
        "local-minimum", f"No slope, and no curvature below {-tau:.2g} along {found.products} probed directions "
        f"(from {low:.3g} to {high:.3g}).",
    )  # fmt: skip


def flat(task: Task, model: nn.Module, seed: int = 0, batches: int = 2) -> bool:
    """Whether the best step along the gradient gains nothing to speak of; for 3 gradient evaluations of a batch each."""
    surface = Surface(task, model, batches_of(task, batches, seed))
    return not _descends(surface.gradient(), surface.hessian(), surface.loss(), max(float(surface.point().norm()), 1.0))


def _descends(gradient: Tensor, product: Callable[[Tensor], Tensor], loss: float, length: float) -> bool:
    """Whether g⁴/(2 gᵀHg), what the best step along a gradient gains, is anything beside the loss and its rounding."""
    size = float(gradient.norm())
    curved = abs(float(gradient @ product(gradient))) / size**2 if size else 0.0
    gain = size**2 / (2 * curved) if curved else math.inf if size else 0.0
    return gain > NOTHING * (abs(loss) + curved * length**2)


def _fresh_curvature(ground: _Ground, direction: Tensor) -> tuple[float, float]:
    """vᵀHv over the fresh batches: the mean and its standard error."""
    values = []
    for batch in ground.fresh.batches:
        values.append(float(direction @ ground._one(batch).hessian()(direction)))
    ground.evaluations += 2 * len(values)
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), spread


def _persists(ground: _Ground, direction: Tensor) -> bool:
    """On piecewise-linear networks: whether the loss curves down at several radii too, not only in this linear region."""
    layers = wiring(ground.own.model, lambda m: ground.task.loss_of(m, ground.own.batches[0]))
    if not any(layer.activation in PIECEWISE for layer in layers):
        return True
    here = ground.own.loss()
    for radius in RADII:
        ahead, behind = ground.own.along(direction, [radius * ground.length, -radius * ground.length])
        if ahead + behind - 2 * here >= 0:
            return False
    return True


def _descend(ground: _Ground, directions: Sequence[Tensor], curvature: float) -> Escape | None:
    """Of some lengths both ways the one whose fall on the diagnostic batches is surest, judged on the fresh ones."""
    best: tuple[float, Tensor, float] | None = None
    for direction in directions:
        for length in (sign * reach * ground.length for reach in REACH for sign in (1, -1)):
            before, after, error = ground.apart(ground.own, direction, length)
            least = before - after - SURE * error
            if math.isfinite(after) and least > (best[0] if best else 0.0):
                best = least, direction, length
        ground.evaluations += len(REACH) * len(ground.own.batches)  # both ways: two forward passes are one
        if ground.left < len(REACH) * len(ground.own.batches):
            break
    if best is None:
        return None
    before, after, error = ground.apart(ground.fresh, best[1], best[2])
    escape = Escape(before, after, error, abs(best[2]), curvature * best[2] ** 2 / 2)
    return escape if escape.falls else None


def _nearby(ground: _Ground, seed: int) -> Escape | None:
    """Random directions, and from each the steepest way down: where the surface is flat to second order."""
    directions = []
    each = len(ground.own.batches) * (1 + 2 * len(REACH))
    for k in range(int(min(NEARBY, max(1, ground.left // each)))):
        start = start_vector(ground.own.n, seed + 1 + k)
        with ground.own.moved(SMOOTHING * ground.length * start):
            slope = ground.own.gradient()
        ground.evaluations += len(ground.own.batches)
        size = float(slope.norm())
        directions += [start] if not size else [start, -slope / size]
    return _descend(ground, directions, 0.0)


def _train(ground: _Ground, gradient: Tensor, lr: float, notes: list[str]) -> tuple[float, float]:
    """The fresh batches' loss after gradient descent for as many gradient evaluations, at a rate and at 3 × it."""
    own, found = len(ground.own.batches), []
    fair = max(1, ground.evaluations // own)
    steps = int(max(1, min(fair, ground.left // (2 * own))))
    if steps < fair:
        notes.append(f"Training was tried for {steps} steps; the escape took as much as {fair}.")
    for rate in (lr, 3 * lr):
        at = torch.zeros_like(gradient)
        for _ in range(steps):
            with ground.own.moved(at):
                at = at - rate * ground.own.gradient()
        with ground.fresh.moved(at):
            found.append(ground.fresh.loss())
        ground.evaluations += steps * own
    return found[0], found[1]
