"""What lies between two solutions: the straight line, the barrier on it, and a curve that goes around the barrier.

Legend: n numbers of a point, T values of t. A connection is a path φ(t), t in [0, 1], from φ(0) = a to φ(1) = b.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import COUNT, POSITIVE, Allowed, BadTask, check, optional
from ..optim import Adam
from .field import Field

Floats = npt.NDArray[np.float64]
PATH_POINTS = Allowed("a whole number >= 3", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 3)
NUMBERS = 2**24  # of the points that are held at once
PEAKS, HALVINGS = (
    3,
    8,
)  # highest points of a path that are looked at more closely, and how often the steps there are halved
CLOSE = 1e-3  # of the path's height: a peak whose neighbours are as near is resolved
ROUNDING = 1e-6  # of the largest loss: a lower barrier is none
NOTHING = 1e-12  # a barrier that is none whatever the losses are, for paths where all of them are zero
GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, without their whole parts, are spread evenly however many they are
RATE = 0.05  # of the root mean square of b − a
START = 0.01  # of the same: how far from the middle the control point starts, so that no symmetry keeps it there


@dataclass(frozen=True, eq=False)
class Connection:
    """The losses on a path between two points.

    Attributes:
        kind: ``line``, ``matched line`` or ``curve``.
        t: where the path was evaluated, ascending, (T,).
        losses: there, (T,).
        barrier: max over t of loss(t) − ((1 − t) loss(0) + t loss(1)), among these t; never below zero.
        at: the t of it.
        control: the trained control point of a curve, (n,); None: a straight line.
        steps: updates that it was trained for.
    """

    kind: str
    t: Floats
    losses: Floats
    barrier: float
    at: float
    control: Tensor | None = None
    steps: int = 0

    @property
    def ends(self) -> tuple[float, float]:
        """The losses of the two solutions."""
        return float(self.losses[0]), float(self.losses[-1])

    @property
    def connected(self) -> bool:
        """Whether no barrier was seen that rounding does not explain."""
        return math.isfinite(self.barrier) and self.barrier <= max(NOTHING, ROUNDING * float(np.abs(self.losses).max()))

    @property
    def sentence(self) -> str:
        """What was seen, in words."""
        name = {"line": "straight line", "matched line": "straight line after matching", "curve": "curve"}[self.kind]
        seen = f"{len(self.t)} points, end losses {self.ends[0]:.4g} and {self.ends[1]:.4g}"
        if self.connected:
            return f"No barrier on the {name} ({seen})."
        return f"A barrier of {self.barrier:.4g} on the {name}, at t = {self.at:.3g} ({seen})."

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, without the control point."""
        return {
            "kind": self.kind,
            "t": self.t.tolist(),
            "losses": self.losses.tolist(),
            "barrier": self.barrier,
            "at": self.at,
            "steps": self.steps,
            "sentence": self.sentence,
        }


def bezier(a: Tensor, control: Tensor, b: Tensor, t: Any) -> Tensor:
    """Points of a quadratic Bézier curve, φ(t) = (1 − t)² a + 2 t (1 − t) θ + t² b.

    Args:
        a: where it begins, (n,).
        control: θ, (n,); the curve does not go through it.
        b: where it ends, (n,).
        t: in [0, 1], (T,).

    Returns:
        (T, n) float64.

    Example:
        >>> bezier(torch.zeros(1), torch.ones(1), torch.zeros(1), [0.0, 0.5, 1.0]).flatten().tolist()
        [0.0, 0.5, 0.0]
    """
    t_T1 = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1)
    return (1 - t_T1) ** 2 * a.double() + 2 * t_T1 * (1 - t_T1) * control.double() + t_T1**2 * b.double()


def line(field: Field, a: Tensor, b: Tensor, *, count: int = 25, matched: bool = False) -> Connection:
    """The losses on the straight line φ(t) = (1 − t) a + t b.

    Args:
        field: the loss. Where a model has batch norms, one that goes by the statistics of each batch: those that a model
            holds fit its own weights only.
        a: a solution, (n,).
        b: another, (n,).
        count: points that are evenly spaced; around the highest of them more are evaluated.
        matched: whether b's units were put into the order of a's before; it changes the words only.

    Returns:
        The losses and the barrier. A peak that is narrower than 1 / (count − 1) can be missed.

    Raises:
        BadOption: an argument outside what is allowed.
        BadTask: the points do not belong to the field.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> well = Function(lambda x: (x**2 - 1).square().sum(-1), 1)
        >>> found = line(well, torch.tensor([-1.0]), torch.tensor([1.0]))
        >>> found.barrier, found.at
        (1.0, 0.5)
    """
    a, b = _checked("line", field, a, b, count)
    return _measured("matched line" if matched else "line", field, lambda t: _straight(a, b, t), count)


def curve(
    field: Field, a: Tensor, b: Tensor, *, train_field: Field | Sequence[Field] | None = None, steps: int = 500,
    rate: float | None = None, seed: int = 0, count: int = 25,
) -> Connection:  # fmt: skip
    """The losses on a quadratic Bézier curve whose control point θ was trained: min over θ of the mean over t of loss(φ(t)).

    Each step is one of Adam, with its rate falling as a cosine, along 2 t (1 − t) ∇loss(φ(t)) at one t; any stretch of the
    steps covers [0, 1] evenly.

    Args:
        field: that the curve is evaluated on, as for `line`.
        a: a solution, (n,).
        b: another, (n,).
        train_field: that it is trained on, such as the loss over other rows; of several, such as one for each mini-batch,
            each step takes the next; None: the same.
        steps: of the training, a gradient each.
        rate: Adam's; None: .05 of the root mean square of b − a.
        seed: of the first t and of a small deviation from the middle, where the control point starts.
        count: as for `line`.

    Returns:
        The losses, the barrier that is left, and the control point. That a barrier is left does not say that every curve
        has one.

    Raises:
        BadOption: an argument outside what is allowed.
        BadTask: the points do not belong to the field.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> valley = Function(lambda x: (x[..., 1] - 1 + x[..., 0] ** 2).square(), 2)
        >>> ends = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 0.0])
        >>> line(valley, *ends).barrier, curve(valley, *ends).barrier < 1e-4
        (1.0, True)

    Source: T. Garipov et al., Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs, arXiv 1802.10026, section 3.
    """
    a, b = _checked("curve", field, a, b, count)
    check("curve", "steps", steps, COUNT)
    check("curve", "rate", rate, optional(POSITIVE))
    train = [train_field or field] if isinstance(train_field, Field | None) else list(train_field)
    if not train or any(other.n != field.n for other in train):
        sizes = [other.n for other in train]
        raise BadTask(f"curve: train_field has points of {sizes} numbers, field of {field.n}", "give the same model")
    generator = torch.Generator().manual_seed(seed)
    spread = float((b - a).norm()) / field.n**0.5
    first = float(torch.rand((), generator=generator, dtype=torch.float64))
    away = torch.randn(field.n, generator=generator, dtype=torch.float64)
    control = nn.Parameter((a + b) / 2 + START * spread * away)
    opt = Adam([control], lr=1.0)
    top = RATE * spread if rate is None else rate
    for k in range(steps if spread else 0):
        t = (first + k * GOLDEN) % 1
        _, slope = train[k % len(train)].gradient(bezier(a, control.detach(), b, [t])[0])
        control.grad = 2 * t * (1 - t) * slope
        opt.param_groups[0]["lr"] = top * (1 + math.cos(math.pi * k / steps)) / 2
        opt.step()
    theta = control.detach()
    return _measured("curve", field, lambda t: bezier(a, theta, b, t), count, theta, steps)


def _checked(owner: str, field: Field, a: Tensor, b: Tensor, count: int) -> tuple[Tensor, Tensor]:
    check(owner, "count", count, PATH_POINTS)
    for name, x in (("a", a), ("b", b)):
        if tuple(x.shape) != (field.n,):
            raise BadTask(
                f"{owner}: {name} has the shape {tuple(x.shape)}, not ({field.n},)", "give points of the field"
            )
    return a.detach().double().cpu(), b.detach().double().cpu()


def _straight(a: Tensor, b: Tensor, t: Floats) -> Tensor:
    t_T1 = torch.from_numpy(t).reshape(-1, 1)
    return (1 - t_T1) * a + t_T1 * b


def _measured(
    kind: str, field: Field, path: Callable[[Floats], Tensor], count: int, control: Tensor | None = None, steps: int = 0
) -> Connection:
    """Losses at evenly spaced t, and then in between on both sides of the highest peaks, until they are resolved."""

    def losses(t: Floats) -> Floats:
        some = max(1, NUMBERS // field.n)
        return np.concatenate([field.losses(path(t[k : k + some])).numpy() for k in range(0, len(t), some)])

    t = np.linspace(0.0, 1.0, count)
    found = losses(t)
    for _ in range(HALVINGS):
        between = _between(t, _above(t, found), ROUNDING * float(np.abs(found[np.isfinite(found)]).max()))
        if not len(between):
            break
        t, found = np.concatenate([t, between]), np.concatenate([found, losses(between)])
        order = np.argsort(t)
        t, found = t[order], found[order]
    above = _above(t, found)
    highest = int(above.argmax())
    return Connection(kind, t, found, float(above[highest]), float(t[highest]), control, steps)


def _above(t: Floats, losses: Floats) -> Floats:
    """How far the losses are above the straight line between the two at the ends; infinite where they are not finite."""
    if not np.isfinite(losses[[0, -1]]).all():
        raise BadTask("the loss at an end of the path is not finite", "give two solutions")
    found: Floats = losses - ((1 - t) * losses[0] + t * losses[-1])
    return np.where(np.isnan(found), np.inf, found)


def _between(t: Floats, above: Floats, rounding: float) -> Floats:
    """The middles of the steps on both sides of the highest peaks that are not resolved yet."""
    finite = above[np.isfinite(above)]
    near = max(CLOSE * (finite.max() - finite.min()), rounding)
    padded = np.concatenate([[-np.inf], above, [-np.inf]])
    tops = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] >= padded[2:]))
    found = set[float]()
    for k in sorted(tops, key=lambda k: -above[k])[:PEAKS]:
        sides = [j for j in (k - 1, k + 1) if 0 <= j < len(t)]
        if np.isfinite(above[k]) and max(above[k] - above[j] for j in sides) > near:
            found |= {float((t[k] + t[j]) / 2) for j in sides}
    return np.array(sorted(found))
