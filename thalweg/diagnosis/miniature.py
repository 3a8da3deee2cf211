"""A full run in miniature: the recipe's whole schedule in a few steps, on the same order of batches each time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import nn

from .. import lengths, loop
from ..cohort import Solo
from ..deadline import TimeOver
from ..run import Outcome, Trace
from ..seeds import stream

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..task import Task

Floats = npt.NDArray[np.float64]


class Unlike(Exception):  # said by the caller
    """The given model is not one that the recipe makes."""


@dataclass(frozen=True)
class Mini:
    """What came of it.

    Attributes:
        trace: its losses, rates and gradient norms.
        outcome: how it ended.
        scores: of the model at its end on each held batch; infinite where it diverged.
        model: as it ended.
    """

    trace: Trace
    outcome: Outcome
    scores: Floats
    model: nn.Module = field(repr=False)

    @property
    def end(self) -> float:
        """The mean score."""
        return float(self.scores.mean())


def cost(task: Task, recipe: Recipe, steps: int) -> int:
    """Gradient evaluations of it, of a batch each."""
    data = task.prepare()
    size = recipe.batch_size or data.batch_size
    return steps * (-(-(data.train.rows or 1) // 1024) if size == "full" else task.accumulate)


def play(
    task: Task,
    recipe: Recipe,
    seed: int,
    steps: int,
    given: nn.Module | None,
    score: Callable[[nn.Module], Floats],
    deadline: float = math.inf,
) -> Mini:
    """Train a task by a recipe for so many steps.

    Args:
        task: what is trained.
        recipe: how; its schedule is that of a full run, squeezed.
        seed: of weights, order and draws.
        steps: updates.
        given: a model whose weights it goes on from; None: new ones.
        score: of the model at the end, the loss on each held batch.
        deadline: on the clock of `time.monotonic`.

    Raises:
        KeyboardInterrupt: Ctrl-C, or the deadline, came before its end.
        Unlike: the given model is not one that the recipe makes.
    """
    data = task.prepare()
    size, whole = recipe.batch_size or data.batch_size, lengths.horizon(task, recipe)
    with stream(seed, "dropout"):
        solo = Solo(task, recipe, seed, steps)
        if given is not None:
            try:
                solo.model.load_state_dict(given.state_dict())
            except RuntimeError as error:
                raise Unlike from error
        full, share = recipe.multiplier(whole), whole / steps
        solo.factor = lambda k: full(int((k + 0.5) * share))
        for group in solo.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * solo.factor(0)
        feed = loop.updates(data.train, size, task.accumulate, seed)
        [(trace, outcome)] = loop.train(solo, feed, [loop.Course(steps)], deadline=deadline)
    if outcome.status == "stopped":
        raise TimeOver if outcome.reason == "budget" else KeyboardInterrupt
    scores = np.full(1, np.inf) if outcome.status == "diverged" else score(solo.model)
    return Mini(trace, outcome, scores, solo.model)


def error(differences: Floats) -> float:
    """The standard error of the mean of paired differences."""
    return float(differences.std(ddof=1)) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
