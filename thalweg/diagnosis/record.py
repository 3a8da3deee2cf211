"""What `watch` saw of one optimizer: the losses, and a look at some of its steps."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .graph import Scene

FIRST = 10  # losses that are kept from the start, and looks
RECENT = 32  # losses and looks that are kept from the end
LAST = 5  # looks that a unit must be dead in
ROWS = 100  # that it must be dead on: one that is on at one of twenty is then missed at one of 170


class Losses:
    """The losses of the steps that were seen: the first, the most recent, the largest.

    Attributes:
        first: the first ones.
        recent: the last ones.
        peak: the largest finite one.
        count: how many there were.
        broken: the step at which one was not finite, None: none was.
    """

    def __init__(self) -> None:
        self.first: list[float] = []
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.peak = -math.inf
        self.count = 0
        self.broken: int | None = None

    def add(self, value: float, step: int) -> None:
        """One more."""
        if not math.isfinite(value):
            if self.broken is None:
                self.broken = step
            return
        if self.count < FIRST:
            self.first.append(value)
        self.recent.append(value)
        if value > self.peak:
            self.peak = value
        self.count += 1

    @property
    def start(self) -> float:
        """The first one; NaN without any."""
        return self.first[0] if self.first else math.nan

    @property
    def now(self) -> float:
        """The median of the recent ones; NaN without any."""
        return statistics.median(self.recent) if self.recent else math.nan

    @property
    def scatter(self) -> float:
        """The standard deviation of the recent ones, by their median absolute deviation."""
        now = self.now
        return 1.4826 * statistics.median(abs(x - now) for x in self.recent) if self.recent else math.nan

    @property
    def soared(self) -> bool:
        """Whether the last losses are all ten times the first one, and twice the usual of the start."""
        last = list(self.recent)[-5:]
        if not self.first or self.start <= 0 or min(last) <= 10 * self.start:
            return False
        return self.count <= FIRST or min(last) > 2 * statistics.median(self.first)

    @property
    def rose(self) -> bool:
        """Whether the recent losses are above the first one by half of it and by four times their scatter."""
        above = self.now - self.start
        return self.count >= FIRST and above > 0.5 * abs(self.start) and above > 4 * self.scatter

    def fell_back(self, chance: float) -> bool:
        """Whether the loss began near that of chance, grew tenfold, and is no better than chance now."""
        near = self.count >= 2 * FIRST and self.start > 0.5 * chance > 0
        return near and self.peak > 10 * self.start and self.now > 0.98 * min(self.start, chance)


@dataclass
class Look:
    """One step seen in full, from the end of the step before it to its own.

    Attributes:
        step: its number, from 0.
        rate: the largest learning rate of the groups.
        stale: whether the first backward pass, and each one since, began with the gradients of the step before.
        left: norm of the gradients as the last backward pass left it, without the loss scale; None: none was seen.
        norm: norm of the gradients that the step took, without the loss scale.
        without: parameters that got no gradient.
        spread: (names from input to output, log10 of their gradients' root mean square).
        size: norm of the parameters before the step.
        ratio: norm of the update over that of the parameters.
        decay: the weight decay's part of the step over the gradient's; None without weight decay.
        unchanged: share of the numbers of bfloat16 and float16 parameters with a gradient that the step did not change;
            None: there are none.
        zeros: share of exact zeros in float16 gradients; None: there are none.
        smallest: lower quartile of the sizes of the others.
        kept: share of the update that was left when the next step began; None: not seen yet.
        evaluating: whether the model was in eval mode.
        loss: value of the loss; NaN: not seen.
        scene: what the graph showed; None: no backward pass was seen.
    """

    step: int
    rate: float = math.nan
    stale: bool = False
    left: float | None = None
    norm: float = 0.0
    without: frozenset[str] = frozenset()
    spread: tuple[list[str], list[float]] = ([], [])
    size: float = math.nan
    ratio: float = math.nan
    decay: float | None = None
    unchanged: float | None = None
    zeros: float | None = None
    smallest: float = math.nan
    kept: float | None = None
    evaluating: bool = False
    loss: float = math.nan
    scene: Scene | None = None


@dataclass
class Outsider:
    """A parameter of the model that no optimizer has.

    Attributes:
        numbers: how many numbers it has.
        some: a few of them, as they were first seen.
        gradients: looks at which it had a gradient that is not zero.
        moved: whether it changed nevertheless.
    """

    numbers: int
    some: Tensor
    gradients: int = 0
    moved: bool = False


@dataclass
class Broken:
    """Where a number was not finite for the first time.

    Attributes:
        step: the optimizer step.
        batch: the backward pass.
        kind: ``input``, ``inside``, ``loss``, ``gradient`` or ``parameter``.
        where: module or parameter.
        since: the last step at which all was seen to be finite.
    """

    step: int
    batch: int
    kind: str
    where: str
    since: int


@dataclass
class Record:
    """What was seen of one optimizer.

    Attributes:
        optimizer: name of its class.
        alone: whether no other optimizer makes steps.
        maximizes: whether it ascends on purpose.
        steps: how many it made.
        looks: the first ones and the most recent ones.
        losses: of the steps; shared by all optimizers.
        held: name → numbers of the parameters that it has.
        outside: name → parameter that no optimizer has, although it wants a gradient.
        regularized: modules that act otherwise in training mode (dropout, batch norm with weights).
        stochastic: whether updates are rounded at random.
        scaled: whether a GradScaler scales the loss.
        fell: the step from which the rate was below a thousandth of its largest, and stayed there; None: it is not.
        top: the largest rate seen.
        broken: the first number that was not finite.
    """

    optimizer: str
    losses: Losses
    alone: bool = True
    maximizes: bool = False
    steps: int = 0
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=RECENT))
    early: list[Look] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=dict)
    outside: dict[str, Outsider] = field(default_factory=dict)
    regularized: list[str] = field(default_factory=list)
    stochastic: bool = False
    scaled: bool = False
    fell: int | None = None
    top: float = 0.0
    broken: Broken | None = None

    def add(self, look: Look) -> None:
        """One more look."""
        (self.early if len(self.early) < FIRST else self.looks).append(look)
        self.follow_rate(look.rate, look.step)

    def follow_rate(self, rate: float, step: int) -> None:
        """The learning rate of a step."""
        if rate > self.top:
            self.top = rate
        if rate > 1e-3 * self.top:
            self.fell = None
        elif self.fell is None:
            self.fell = step

    @property
    def seen(self) -> list[Look]:
        """The looks that are kept, in order."""
        return [*self.early, *self.looks]

    @property
    def settled(self) -> list[Look]:
        """Those whose rate is at least half of the largest: without a warm-up's start and a schedule's end."""
        return [look for look in self.seen if look.rate >= 0.5 * self.top]

    @property
    def diverged(self) -> bool:
        """Whether the loss grew as it does where steps are too large.

        With several optimizers, and with a loss that is not known to be one to be made small, it may rise in health.
        """
        scenes = [look.scene for look in self.seen if look.scene is not None]
        known = any(scene.non_negative for scene in scenes)
        chance = math.log(max((scene.classes for scene in scenes), default=0) or 1)
        losses = self.losses
        return self.alone and (losses.soared or (known and losses.rose) or losses.fell_back(chance))

    def dead(self) -> dict[str, Tensor]:
        """Where → units of a ReLU that were zero on every row of the last looks; where enough rows were seen."""
        scenes = [look.scene for look in self.seen[-LAST:] if look.scene is not None]
        if len(scenes) < LAST or sum(scene.rows for scene in scenes) < ROWS:
            return {}
        masks = {where: [scene.dead[where] for scene in scenes if where in scene.dead] for where in scenes[-1].dead}
        alike = {k: v for k, v in masks.items() if len(v) == LAST and len({each.shape for each in v}) == 1}
        return {where: torch.stack(each).all(0) for where, each in alike.items()}

    @property
    def warming(self) -> bool:
        """Whether the rate still rises: what is small now may be meant to be."""
        rates = [look.rate for look in self.seen]
        return len(rates) > 1 and rates[-1] > rates[0] and rates[-1] >= max(rates) and rates[-1] > rates[-2]


def share(flags: Sequence[bool]) -> float:
    """How many of them are true; 0 without any."""
    return sum(flags) / len(flags) if flags else 0.0
