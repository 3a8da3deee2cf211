"""Changes of a task that a remedy makes, to be tried: another loss, another order, a module less."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .. import trial
from ..batch import Batch, make_batch, map_leaves
from ..modes import evaluating

if TYPE_CHECKING:
    from ..task import Task


def rebuilt(task: Task, change: Callable[[nn.Module], nn.Module]) -> Task:
    """The task with each model that it builds changed."""

    def make(**arguments: Any) -> nn.Module:
        return change(copy.deepcopy(task.model) if isinstance(task.model, nn.Module) else task.model(**arguments))

    return replace(task, model=make, name=task.name)


def without(task: Task, name: str) -> Task:
    """The task whose models have the identity in the place of a module."""

    def change(model: nn.Module) -> nn.Module:
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, nn.Identity())
        return model

    return rebuilt(task, change)


def last_module(model: nn.Module, inputs: Any, kinds: tuple[type[nn.Module], ...]) -> str | None:
    """The name of the module of some kinds that gives the model's output as it is; None: there is none."""
    given: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: given.__setitem__(name, out))
        for name, module in model.named_modules()
        if name and isinstance(module, kinds)
    ]
    try:
        with torch.no_grad(), evaluating(model):
            output = trial.output_tensor(trial.call(model, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return next((name for name, out in given.items() if out is output), None)


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The two halves of a batch."""
    half = batch.rows // 2

    def part(rows: slice) -> Batch:
        def cut(x: Tensor) -> Tensor:
            return x[rows] if x.ndim and len(x) == batch.rows else x

        return make_batch(map_leaves(cut, batch.raw))

    return part(slice(None, half)), part(slice(half, None))
