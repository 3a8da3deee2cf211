"""Cohorts: the members that are trained as one program."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

from . import averages, building
from .batch import leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from .batch import Batch, Several
    from .data import Feed
    from .optimizer import Optimizer
    from .recipe import Recipe
    from .task import Task

Floats: TypeAlias = npt.NDArray[np.float64]


class Cohort(ABC):
    """K members with their parameters, optimizers and schedules; the loop asks for nothing else.

    Shapes: ``losses``, ``norms``, ``rates`` are vectors with one entry per member; a member alone gives its loss as the
    scalar that it is, since one more operation in the graph costs a tenth of a small network's backward pass.
    """

    members: int

    @abstractmethod
    def forward(self, batch: Batch | Several) -> Tensor:
        """The members' losses on a batch, (K,) or a scalar, with their graph."""

    @abstractmethod
    def backward(self, losses: Tensor, share: float) -> None:
        """Add ``share`` × the losses' gradients to what has been gathered since the last step."""

    @abstractmethod
    def step(self) -> Floats:
        """Update every member with the gathered gradient, advance the schedules; the gradient norms, (K,)."""

    @abstractmethod
    def stop(self, member: int) -> None:
        """Leave a member as it is from now on; the others do not notice."""

    @abstractmethod
    def rates(self) -> Floats:
        """The learning rate that each member's next update will use, (K,)."""

    @abstractmethod
    def evaluate(self, feed: Feed, members: Sequence[int]) -> list[dict[str, float]]:
        """The metrics of some members over a whole split."""

    @abstractmethod
    def solo(self, member: int) -> Solo:
        """A member by itself: its model holds its weights as they are now."""


class Solo(Cohort):
    """A cohort of one: the model as it is.

    Args:
        task: what is trained.
        recipe: how; its ``lr`` is known.
        seed: of the weights.
        steps: the length of the schedule in updates.
    """

    members = 1

    def __init__(self, task: Task, recipe: Recipe, seed: int, steps: int) -> None:
        self.task, self.recipe = task, recipe
        self.model: nn.Module = building.build(task, recipe, seed).train()
        self.optimizer = cast("Optimizer", recipe.build(self.model, steps)[0])
        self.optimizer.track_norm = True
        averages.unguard(self.optimizer)
        self.factor, self._step = recipe.multiplier(steps), 0
        self._parameters = list(self.model.parameters())
        if task.compile:
            self.model.compile()
        device = next(self.model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device) if task.precision == "fp16" else None

    def forward(self, batch: Batch | Several) -> Tensor:
        """The loss on a batch, a scalar."""
        return self.task.loss_of(self.model, batch.of(0))

    def backward(self, losses: Tensor, share: float) -> None:
        """Add ``share`` × the gradient to ``.grad``."""
        self.scaled(losses, share).backward()  # type: ignore[no-untyped-call]

    def scaled(self, loss: Tensor, share: float) -> Tensor:
        """``share`` × the loss, with fp16 times the scale that keeps gradients from underflow."""
        total = loss * share if share != 1 else loss
        return self.scaler.scale(total) if self.scaler else total

    def step(self) -> Floats:
        """One update; with fp16, one that overflowed is skipped and the scale lowered."""
        skipped = False
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
            before = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            skipped = self.scaler.get_scale() < before
        else:
            self.optimizer.update()
        norm = self.optimizer.norm
        if not skipped:
            self._step += 1
            factor = self.factor(self._step)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        for parameter in self._parameters:
            parameter.grad = None
        return np.array([math.inf if skipped or norm is None else norm])

    def stop(self, member: int) -> None:
        """Nothing: the loop ends with its last member."""

    def rates(self) -> Floats:
        """The rate of the first parameter group."""
        return np.array([float(self.optimizer.param_groups[0]["lr"])])

    def solo(self, member: int) -> Solo:
        """Itself."""
        return self

    def evaluate(self, feed: Feed, members: Sequence[int] = (0,)) -> list[dict[str, float]]:
        """The metrics over a whole split, with the averaged weights where there are some."""
        with self.evaluated():
            return [self.task.evaluate(self.model, feed)]

    @contextlib.contextmanager
    def evaluated(self) -> Iterator[None]:
        """Inside, the model has the weights that are evaluated: the averaged ones where there are some."""
        with contextlib.ExitStack() as stack:
            if self.optimizer.averages:
                stack.enter_context(self.optimizer.averaged())
                stack.enter_context(averages.statistics(self.model, self._batches(), self.task.loss_of))
            yield

    def _batches(self) -> Any:
        data = self.task.prepare()
        size = self.recipe.batch_size or data.batch_size
        return data.train.training(size, [0])

    def finish(self) -> str | None:
        """Leave the weights that were evaluated in the model; what was done, in a sentence."""
        if not self.optimizer.averages:
            return None
        said = "The weights are averages over the run"
        counted = averages.adopt(self.optimizer, self.model, self._batches(), self.task.loss_of)
        return said + (
            f"; batch-norm statistics were computed anew over {counted} training batches." if counted else "."
        )

    def weights(self) -> dict[str, Tensor]:
        """The model's ``state_dict``."""
        return self.model.state_dict()

    def first_non_finite(self, batch: Batch) -> str | None:
        """The first non-finite parameter, or the module whose output on ``batch`` is it first; None: neither."""
        for name, parameter in self.model.named_parameters():
            if not parameter.isfinite().all():
                return name
        seen: list[str] = []

        def look(name: str) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                if any(not t.isfinite().all() for t in leaves(output) if t.is_floating_point()):
                    seen.append(name)

            return hook

        handles = [m.register_forward_hook(look(n)) for n, m in self.model.named_modules() if n]
        try:
            with torch.no_grad(), contextlib.suppress(Exception):  # a loss may refuse such outputs
                self.task.loss_of(self.model, batch)
        finally:
            for handle in handles:
                handle.remove()
        return seen[0] if seen else None
