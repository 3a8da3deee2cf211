"""What is measured of a task under a recipe: each thing once, when it is asked for, and what it costs.

Legend: n steps of a miniature run, B held batches.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .. import building, lengths, propagation, trial
from ..batch import Batch
from ..curvature import batches_of
from ..data import Feed
from ..deadline import in_time
from ..errors import BadTask
from ..modes import batch_statistics, evaluating
from ..seeds import stream
from ..wiring import Layer, wiring
from .miniature import Floats, Mini, Unlike, cost, error, play

if TYPE_CHECKING:
    from ..prepared import Prepared
    from ..recipe import Recipe
    from ..task import Task

HELD, MOST_HELD, HELD_ROWS = 4, 64, 512  # batches on which miniature runs are judged: at least, at most, and their rows
SHARE = 6  # a miniature run takes this part of the budget
FEWEST, MOST = 8, 40  # steps of it
SURE = 3.0  # standard errors
MATERIAL = 0.25  # of the way down from the start to the best that was seen, that a difference must be to count
ROWS = 2000  # that data checks look at


class NotMeasured(Exception):  # a result, not a failure
    """Why a probe says nothing."""


class Examination:
    """A task, a recipe, perhaps a trained model, and all that has been measured of them.

    Args:
        task: what is trained.
        recipe: how; its rate is known.
        model: where training is; None: before its start.
        budget: gradient evaluations, of a batch each.
        seed: of weights, order and draws.
        until: on the clock of `time.monotonic`; after it nothing is measured any longer.
    """

    def __init__(
        self, task: Task, recipe: Recipe, model: nn.Module | None, budget: int, seed: int = 0, until: float = math.inf
    ) -> None:
        self.task, self.recipe, self.budget, self.seed, self.until = task, recipe, budget, seed, until
        self.given = None if model is None else copy.deepcopy(model)
        self.spent, self.measured = 0, list[str]()
        self.unstable = False  # whether curvature has shown that the rate is above the limit
        self.located = False  # whether it was asked where on the surface this is
        self._minis: dict[tuple[str, int, int], Mini] = {}
        self._tasks: list[Task] = []

    def pay(self, evaluations: int, what: str) -> None:
        """Take gradient evaluations from the budget.

        Raises:
            NotMeasured: there are not as many left.
        """
        in_time(self.until)
        if self.spent + evaluations > self.budget:
            raise NotMeasured(f"{what} takes {evaluations} gradient evaluations, {self.budget - self.spent} are left")
        self.spent += evaluations
        self.measured += [] if what in self.measured else [what]

    @cached_property
    def data(self) -> Prepared:
        """What the task consists of."""
        return self.task.prepare()

    @property
    def trained(self) -> bool:
        """Whether a model was given that has been trained."""
        return self.given is not None

    @cached_property
    def start(self) -> nn.Module:
        """The model that training starts from, or goes on from; not to be changed."""
        if self.given is not None:
            return self.given.to(self.data.device)
        return building.build(self.task, self.recipe, self.seed).train()

    def copy(self, model: nn.Module | None = None) -> nn.Module:
        """A model to play with: one like ``model``, else like `start`."""
        return copy.deepcopy(self.start if model is None else model)

    @cached_property
    def steps(self) -> int:
        """N."""
        return max(FEWEST, min(MOST, self.budget // SHARE))

    @cached_property
    def horizon(self) -> int:
        """Updates of a full run."""
        return lengths.horizon(self.task, self.recipe)

    @cached_property
    def batch(self) -> Batch:
        """Some training rows."""
        return building.sample(self.task)

    @cached_property
    def held(self) -> list[Batch]:
        """Training batches on which miniature runs are judged."""
        count = min(MOST_HELD, max(HELD, -(-HELD_ROWS // max(1, self.rows_of_batch))))
        return batches_of(self.task, count, self.seed + 7919)

    @cached_property
    def layers(self) -> list[Layer]:
        """How the model is wired."""
        model = self.copy()
        return wiring(model, lambda m: building.outputs(self.task, m, self.batch))

    @cached_property
    def signal(self) -> propagation.Signal:
        """What every layer gives and which gradient it gets, at `start`."""
        self.pay(1, "signal")
        with stream(self.seed, "dropout"):
            return propagation.look(self.task, self.copy(), self.recipe)

    @cached_property
    def gradients(self) -> dict[str, Tensor | None]:
        """Of the loss on `batch`, by parameter that requires one."""
        self.pay(1, "gradient")
        model = self.copy()
        with evaluating(model), batch_statistics(model), torch.enable_grad(), stream(self.seed, "dropout"):
            loss = self.task.loss_of(model, building.fresh(self.batch))
            loss.backward()  # type: ignore[no-untyped-call]
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    def output(self, model: nn.Module | None = None, batch: Batch | None = None) -> Tensor:
        """What a model gives on a batch in evaluation mode.

        Raises:
            NotMeasured: it gives no tensor with a row for each row.
        """
        model, batch = model or self.copy(), batch or self.batch
        with torch.no_grad(), evaluating(model), stream(self.seed, "evaluation"), self.task._autocast():
            try:
                found = trial.output_tensor(trial.call(model, building.fresh(batch).inputs))
            except Exception as error:
                raise NotMeasured(f"the model does not run on its inputs alone: {error}") from error
        if not isinstance(found, Tensor) or found.ndim == 0 or len(found) != batch.rows:
            raise NotMeasured("the model does not give a row for each row of its inputs")
        return found.detach().float()

    def loss(self, model: nn.Module, batch: Batch) -> float:
        """Dropout off, batch norm by the batch; infinite where the model or the loss fail on it."""
        in_time(self.until)
        with torch.no_grad(), evaluating(model), batch_statistics(model), stream(self.seed, "evaluation"):
            try:
                found = float(self.task.loss_of(model, building.fresh(batch)))
            except (RuntimeError, ValueError):
                return math.inf
        return found if math.isfinite(found) else math.inf

    def scores(self, model: nn.Module) -> Floats:
        """The loss on each held batch."""
        return np.array([self.loss(model, batch) for batch in self.held])

    @cached_property
    def first(self) -> Floats:
        """The scores of `start`."""
        return self.scores(self.copy())

    @cached_property
    def null(self) -> float:
        """The loss of the best constant output, that is, without looking at the inputs.

        Raises:
            NotMeasured: the loss is not a function of outputs and targets.
        """
        return float(self._constant(self.held).mean())

    def _constant(self, batches: Sequence[Batch]) -> Floats:
        """The loss of the constant output that fits the training targets best, on each batch."""
        fit, kind, targets = self.data.fit, self.kind, self.targets
        if fit.loss is None or targets is None:
            raise NotMeasured("the loss is not a function of outputs and targets")
        shape = self.output().shape
        if kind in ("classification", "language-model") and self.classes:
            counts = torch.bincount(targets[targets >= 0].long().flatten(), minlength=self.classes).float()
            view = ((counts + 0.5) / (counts + 0.5).sum()).log()
            view = view if shape[-1] == self.classes else view.reshape(-1, *([1] * (len(shape) - 2)))
        elif kind == "binary":
            share = targets.float().mean().clamp(1e-3, 1 - 1e-3)
            view = share if trial.takes_probabilities(self.task.loss) else torch.logit(share)
        elif kind == "regression":
            view = targets.float().mean(0) if targets.shape[1:] == shape[1:] else targets.float().mean()
        else:
            raise NotMeasured(f"what a constant output is for a task of kind {kind} is not known")
        losses = []
        for batch in batches:
            assert batch.targets is not None
            wanted = (batch.rows, *shape[1:])
            try:
                losses.append(float(fit.loss(view.to(batch.targets.device).expand(wanted).contiguous(), batch.targets)))
            except Exception as error:  # a loss may want more than a tensor
                raise NotMeasured(f"the loss does not take constant outputs: {error}") from error
        return np.array(losses)

    @cached_property
    def _seen(self) -> tuple[str, int | None]:
        try:
            return trial.kind_of(self.output(), self.batch.targets, self.targets)
        except NotMeasured:
            return "other", None

    @property
    def kind(self) -> str:
        """As the task's, by outputs and targets alone where it has a loss of its own."""
        return self.data.kind if self.data.kind != "other" else self._seen[0]

    @property
    def classes(self) -> int | None:
        """How many, or None."""
        return self.data.classes or self._seen[1]

    @cached_property
    def targets(self) -> Tensor | None:
        """Of some thousand training rows, in training's order."""
        found: list[Tensor] = []
        with contextlib.closing(iter(self.data.train.training(self.rows_of_batch, [self.seed]))) as batches:  # type: ignore[type-var]
            for batch in batches:
                targets = batch.of(0).targets
                if not isinstance(targets, Tensor) or (found and targets.shape[1:] != found[0].shape[1:]):
                    break
                found.append(targets.detach().cpu())
                if sum(map(len, found)) >= max(ROWS, 4 * self.rows_of_batch):
                    break
        return torch.cat(found) if found else None

    @property
    def rows_of_batch(self) -> int:
        """Rows of a training batch."""
        size = self.recipe.batch_size or self.data.batch_size
        return int(self.data.train.rows or ROWS) if size == "full" else int(size)

    def rows(self, feed: Feed, most: int = ROWS) -> tuple[Tensor, Tensor | None]:
        """Inputs (rows, numbers) and targets of a feed, in its order, at most so many.

        Raises:
            NotMeasured: the inputs are more than one tensor of numbers, or of different sizes.
        """
        inputs, targets = list[Tensor](), list[Tensor]()
        with contextlib.closing(feed.batches(feed.batch_size or 256)) as batches:
            for batch in batches:
                if not isinstance(batch.inputs, Tensor):
                    raise NotMeasured("the inputs are more than one tensor")
                inputs.append(batch.inputs.detach().cpu())
                if isinstance(batch.targets, Tensor):
                    targets.append(batch.targets.detach().cpu())
                if sum(map(len, inputs)) >= most:
                    break
        if not inputs or len({x.shape[1:] for x in inputs}) > 1 or len({y.shape[1:] for y in targets}) > 1:
            raise NotMeasured("the rows differ in size")
        return torch.cat(inputs)[:most], torch.cat(targets)[:most] if targets else None

    def mini(
        self, recipe: Recipe | None = None, task: Task | None = None, what: str = "short run", steps: int | None = None
    ) -> Mini:
        """A full run in miniature, by another recipe or on a changed task if given.

        Raises:
            NotMeasured: the budget does not reach, or a given model is not one of the recipe's.
        """
        recipe, task = recipe or self.recipe, task or self.task
        steps = min(steps or self.steps, self.horizon)
        key = (recipe.id, id(task), steps)
        self._tasks.append(task)  # an id is good while its object lives
        if key not in self._minis:
            self.pay(cost(task, recipe, steps), what)
            judge = self if task is self.task else Examination(task, recipe, None, 0, self.seed, self.until)
            try:
                self._minis[key] = play(task, recipe, self.seed, steps, self.given, judge.scores, self.until)
            except Unlike as failed:
                raise NotMeasured("the given model is not one that the recipe makes") from failed
            done = len(self._minis[key].trace)
            self.spent -= cost(task, recipe, steps) - cost(task, recipe, max(1, done))  # of one that diverged
        return self._minis[key]

    @property
    def base(self) -> Mini:
        """The miniature run of the recipe itself."""
        return self.mini()

    @cached_property
    def learns(self) -> bool:
        """Whether the miniature run ends surely below its start, and below what a constant output reaches."""
        if self.base.outcome.status == "diverged":
            return False
        fall = self.first - self.base.scores
        sure = float(fall.mean()) > SURE * error(fall)
        with contextlib.suppress(NotMeasured):
            return sure and self.base.end < self.null - 0.02 * abs(self.null)
        return sure and self.base.end < 0.9 * float(self.first.mean())

    @cached_property
    def generalizes(self) -> bool:
        """Whether the miniature run surely beats a constant output on validation rows."""
        if self.base.outcome.status == "diverged":
            return False
        with contextlib.closing(self.data.select.batches(self.data.select.batch_size or 64)) as batches:
            few = [batch for _, batch in zip(range(16), batches, strict=False)]
        after = np.array([self.loss(self.base.model, batch) for batch in few])
        try:
            gain = self._constant(few) - after
        except NotMeasured:
            gain = np.array([self.loss(self.copy(), batch) for batch in few]) - after
        return float(gain.mean()) > SURE * error(gain)

    def better(self, other: Mini, than: Mini | None = None) -> bool:
        """Whether one miniature run ends surely and materially lower than another, the recipe's own if not said."""
        than = than or self.base
        if not np.isfinite(other.scores).all():
            return False
        if not np.isfinite(than.scores).all():
            return other.end < float(self.first.mean())
        gain, start = than.scores - other.scores, float(self.first.mean())
        top = max(than.end, max(start, self._null) if self.trained else min(start, self._null or start))
        return float(gain.mean()) > SURE * error(gain) and float(gain.mean()) > MATERIAL * (top - other.end)

    @property
    def _null(self) -> float:
        """`null`, 0 where it is not known."""
        with contextlib.suppress(NotMeasured):
            return self.null
        return 0.0

    def severity(self) -> str:
        """Of a trouble that is there: ``error`` where the miniature run learns nothing, else ``warning``."""
        with contextlib.suppress(NotMeasured, BadTask):
            return "warning" if self.learns else "error"
        return "warning"
