"""From which rate or momentum on training leaves a minimum: tried, not derived."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import COUNT, NOT_NEGATIVE, POSITIVE, BadData, BadOption, check, optional
from ..minimization import DIVERGED, minimize
from .field import Field
from .walls import rise_between

NEAR = 1e-3  # of the minimum's length: how far from it a run starts where no start is given
PATH = 2**28  # numbers of the path of a run


@dataclass(frozen=True)
class Attempt:
    """A run from near a minimum.

    Attributes:
        lr: its rate.
        momentum: its momentum; None where the rule was left to its own.
        left: whether it left: see `escape`.
        diverged: whether it left the finite numbers.
        farthest: the largest distance from the minimum on its way.
        distance: at its end.
        loss: at its end.
        wall: height of the first wall between the minimum and its end; 0: none.
    """

    lr: float
    momentum: float | None
    left: bool
    diverged: bool
    farthest: float
    distance: float
    loss: float
    wall: float


@dataclass(frozen=True)
class Escape:
    """Which runs left a minimum.

    Attributes:
        rule: that made the steps.
        attempts: every rate with every momentum.
        steps: of each run.
        noise: standard deviation of what was added to each number of the gradient.
    """

    rule: str
    attempts: tuple[Attempt, ...]
    steps: int
    noise: float

    @property
    def least(self) -> tuple[Attempt, ...]:
        """The runs that left with the least: no other that left has both a rate and a momentum that are no larger."""
        left = [a for a in self.attempts if a.left]
        return tuple(a for a in left if not any(_less(b, a) for b in left))

    @property
    def sentence(self) -> str:
        """The finding in words."""
        count = len(self.attempts)
        if not self.least:
            return f"{self.rule}: none of {count} runs of {self.steps} steps leaves the minimum"
        said = "; ".join(
            f"lr {a.lr:.4g}" + (f" with momentum {a.momentum:.4g}" if a.momentum is not None else "")
            for a in self.least
        )
        left = sum(a.left for a in self.attempts)
        return f"{self.rule}: {left} of {count} runs of {self.steps} steps leave the minimum, from {said} on"

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return asdict(self) | {"least": [asdict(a) for a in self.least], "sentence": self.sentence}

    def __str__(self) -> str:
        return self.sentence


def _less(a: Attempt, b: Attempt) -> bool:
    one, other = (a.lr, a.momentum or 0.0), (b.lr, b.momentum or 0.0)
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def escape(
    field: Field,
    minimum: Tensor,
    *,
    start: Tensor | None = None,
    rule: str = "momentum",
    rates: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0),
    momentums: Sequence[float] | None = None,
    steps: int = 1000,
    distance: float | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> Escape:
    """Train from near a minimum with every rate and momentum, and see which runs leave it.

    A run has left where it diverged; where it ends farther away than ``distance``, if that is given; else where a wall
    stands on the straight line from the minimum to its end, as `thalweg.landscapes.walls` sees one.

    Args:
        field: the loss; every step takes its exact gradient.
        minimum: (n,).
        start: (n,) of every run; None: a random direction away, by a thousandth of the minimum's length (0.001 at least).
        rule: a name of the table of rules.
        rates: to try.
        momentums: to try, for a rule that has one; None: the rule's own.
        steps: of each run.
        distance: such as that of the nearest wall.
        noise: standard deviation of the normal noise on each number of the gradient.
        seed: of noise and start.

    Raises:
        BadData: a point of another size.
        BadOption: an argument that is not allowed, or a path too long to be held.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> bowl = Function(lambda x: 50 * (x**2).sum(-1), 1)
        >>> print(escape(bowl, torch.zeros(1), rule="gd", rates=(0.0199, 0.0201), distance=1.0, steps=2000))
        gd: 1 of 2 runs of 2000 steps leave the minimum, from lr 0.0201 on
    """
    check("escape", "steps", steps, COUNT)
    check("escape", "noise", noise, NOT_NEGATIVE)
    check("escape", "distance", distance, optional(POSITIVE))
    if (steps + 1) * field.n > PATH:
        raise BadOption(
            f"escape: the path of {steps} steps of {field.n} numbers is too long",
            f"take {PATH // field.n - 1} steps at most",
        )
    minimum = minimum.detach().double().cpu().reshape(-1)
    if start is None:
        way = torch.randn(len(minimum), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        start = minimum + NEAR * max(float(minimum.norm()), 1.0) * way / way.norm()
    start = start.detach().double().cpu().reshape(-1)
    if len(minimum) != field.n or len(start) != field.n:
        raise BadData(f"escape: minimum and start must have {field.n} numbers", "give points of the field")

    def fn(x: Tensor) -> Tensor:
        with torch.enable_grad():
            loss, slope = field.gradient(x.detach())
        linear = slope.to(x) @ x
        return linear - linear.detach() + loss  # the loss, with the field's gradient

    def attempt(lr: float, options: dict[str, Any]) -> Attempt:
        run = minimize(fn, start, rule=rule, steps=steps, gradient_noise=noise, seed=seed, lr=lr, **options)
        with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges
            away = np.linalg.norm(run.path - minimum.numpy(), axis=1)
        diverged = run.status == DIVERGED
        wall = math.nan if diverged else rise_between(field, minimum, run.x)
        left = diverged or (away[-1] > distance if distance is not None else wall > 0)
        farthest = math.inf if diverged else float(away.max())
        return Attempt(lr, options.get("momentum"), bool(left), diverged, farthest, float(away[-1]), run.fun, wall)

    choices: list[dict[str, Any]] = [{}] if momentums is None else [{"momentum": m} for m in momentums]
    return Escape(rule, tuple(attempt(lr, options) for options in choices for lr in rates), steps, noise)
