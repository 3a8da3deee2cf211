"""How long a run is: its updates, those of an epoch, its evaluations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recipe import Recipe
    from .task import Task


def evaluations_of(task: Task, recipe: Recipe, steps: int) -> int:
    """How often a run of ``steps`` is evaluated: once an epoch, at least once and at most 20 times."""
    per_epoch = steps_per_epoch(task, recipe.batch_size or task.prepare().batch_size)
    return min(20, max(1, round(steps / per_epoch))) if per_epoch else 10


def steps_per_epoch(task: Task, batch_size: int | str) -> int:
    """Updates that one pass over the training data takes; 0 where it has no end."""
    data = task.prepare()
    if batch_size == "full":
        return 1
    if batch_size == data.batch_size or not data.steps_per_epoch:
        return data.steps_per_epoch
    return max(1, math.ceil(data.train.steps_per_epoch(int(batch_size)) / task.accumulate))


def horizon(task: Task, recipe: Recipe) -> int:
    """Updates of a full run: the task's steps, or its epochs at the recipe's batch size."""
    data = task.prepare()
    if recipe.batch_size is None or not data.by_epochs:
        return data.steps
    return max(1, round(data.steps * steps_per_epoch(task, recipe.batch_size) / data.steps_per_epoch))
