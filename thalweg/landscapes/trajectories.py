"""Where runs went: the points of their checkpoints, by training them once more.

A run is decided by its task, recipe and seed, so its course need not be stored: it is trained again, and what it records
on the way is compared with what was recorded.

Legend: n numbers of a point, T checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import lengths, loop
from ..cohort import Solo
from ..deadline import TimeOver
from ..run import Trace
from ..seeds import stream

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..task import Task

Floats = npt.NDArray[np.float64]
CHECKPOINTS = 20
MEMORY = 2_000_000_000  # bytes that the checkpoints of a run may take


@dataclass(frozen=True)
class Trajectory:
    """A run's checkpoints.

    Attributes:
        name: of the run, for legends.
        recipe: how it was trained.
        seed: of it.
        steps: updates before each checkpoint, (T,); the first is 0.
        states: the model's ``state_dict`` at each, as it was evaluated.
        recorded: the loss on ``select`` that was recorded at each, (T,).
        notes: how far the repetition is from what a study recorded.
    """

    name: str
    recipe: Recipe
    seed: int
    steps: list[int]
    states: list[dict[str, Tensor]]
    recorded: Floats
    notes: tuple[str, ...] = ()

    def points(self, names: list[str]) -> Tensor:
        """The points, (T, n), of the parameters with some names."""
        rows = [torch.cat([state[name].reshape(-1).double() for name in names]) for state in self.states]
        return torch.stack(rows)


def replay(
    task: Task,
    recipe: Recipe,
    seed: int,
    *,
    steps: int | None = None,
    name: str | None = None,
    checkpoints: int = CHECKPOINTS,
    observe: Callable[[int, list[Trace]], None] | None = None,
    deadline: float = math.inf,
) -> Trajectory:
    """Train a run once more and keep its checkpoints, the untrained model first.

    Args:
        task: what is trained.
        recipe: how; its ``lr`` is known.
        seed: of weights, order, dropout and augmentation.
        steps: updates; None: the task's own horizon.
        name: of the run; None: the recipe's optimizer.
        checkpoints: how many, evenly spaced, the last at the end; fewer where they would take too much memory.
        observe: called with the step and the trace now and then.
        deadline: on the clock of `time.monotonic`.

    Returns:
        The trajectory; of a run that diverges up to its last evaluation.

    Raises:
        KeyboardInterrupt: Ctrl-C, or the deadline, came before its end.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> found = replay(task, thalweg.Recipe("sgd", lr=0.1), 0, steps=40, checkpoints=4)
        >>> found.steps, len(found.states), bool(found.recorded[-1] < found.recorded[0])
        ([0, 10, 20, 30, 40], 5, True)
    """
    data = task.prepare()
    steps = lengths.horizon(task, recipe) if steps is None else steps
    count = max(1, min(checkpoints, steps, MEMORY // (4 * data.parameters) - 1))
    at = sorted({round(steps * (i + 1) / count) for i in range(count)})
    states: dict[int, dict[str, Tensor]] = {}
    with stream(seed, "dropout"):
        solo = Solo(task, recipe, seed, steps)
        first = task.evaluate(solo.model, data.select)["loss"]

        def take(step: int, traces: list[Trace]) -> None:
            if step in at or step == 0:
                with solo.evaluated():
                    states[step] = {key: x.detach().cpu().clone() for key, x in solo.model.state_dict().items()}
            if observe is not None and traces:
                observe(step, traces)

        take(0, [])
        feed = loop.updates(data.train, recipe.batch_size or data.batch_size, task.accumulate, seed)
        course = loop.Course(steps, frozenset(at))
        [(trace, outcome)] = loop.train(solo, feed, [course], {"select": data.select}, deadline=deadline, observe=take)
    if outcome.status == "stopped":
        raise TimeOver if outcome.reason == "budget" else KeyboardInterrupt
    losses = {0: first} | {int(e["step"]): float(e["loss"]) for e in trace.evaluations}
    kept = [step for step in states if math.isfinite(losses.get(step, math.nan))] or [0]
    return Trajectory(
        name or recipe.optimizer, recipe, seed, kept, [states[s] for s in kept], np.array([losses[s] for s in kept])
    )


def again(task: Task, model: Any, state: dict[str, Tensor]) -> float:
    """The loss on ``select`` of a checkpoint, measured again on a model that takes its place for the while."""
    before = {key: x.clone() for key, x in model.state_dict().items()}
    try:
        model.load_state_dict(state)
        return task.evaluate(model, task.prepare().select)["loss"]
    finally:
        model.load_state_dict(before)
