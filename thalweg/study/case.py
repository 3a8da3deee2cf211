"""What is compared, in the form that both a task and a user's own loop have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import prepared
from ..errors import BadTask
from ..fresh import looks_trained
from ..task import Task

SAME = "The factory gives every seed the same weights: seeds vary the order only."


@dataclass(frozen=True)
class Case:
    """What is compared, in the form that both a task and a user's own loop have."""

    name: str
    fingerprint: str
    kind: str
    metric: str | None
    direction: str | None
    rows: int
    judge_rows: int | None
    target_sd: float
    fixed_weights: bool
    device: str
    notes: tuple[str, ...]
    task: Task | None = None
    source: str | None = None
    fit: Callable[..., Any] | None = None
    pretrained: bool = False


def case_of(task: Task, source: str | None = None) -> Case:
    """A task as a case; ``source`` is what `Task.load` makes it from.

    Raises:
        BadTask: the metric that decides has no value on the validation data.
    """
    data, fixed = task.prepare(), prepared.fixed_weights(task)
    untrained = task.build(task.seed)
    for split in ("select", "judge"):
        if math.isnan(task.evaluate(untrained, getattr(data, split))[data.metric]):
            raise BadTask(
                f"{data.metric} has no value on the {split} half of the validation data, already before training",
                "see that every class is in it and that the model's outputs are finite, or take another metric",
            )
    return Case(
        name=task.name,
        fingerprint=task.fingerprint(),
        kind=data.kind,
        metric=data.metric,
        direction=data.direction,
        rows=int(data.batch_size) * task.accumulate,
        judge_rows=data.judge_rows,
        target_sd=data.target_sd or 1.0,
        fixed_weights=fixed,
        device=data.device.type,
        notes=(*data.notes, *([SAME] if fixed and not task._given else [])),
        task=task,
        source=source,
        pretrained=fixed and looks_trained(task.build(task.seed)),
    )
