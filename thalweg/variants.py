"""Variants of a task: its model's factory with arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from .errors import BadOption, unknown

if TYPE_CHECKING:
    from .task import Task


def of(task: Task, arguments: Mapping[str, Any]) -> Task:
    """The task with ``arguments`` given to its model's factory, on the same data in memory; the task itself for none.

    Losses, metrics and splits are those of the task as it is. Made once for the same arguments.

    Raises:
        BadTask: the factory fails with these arguments.

    Example:
        >>> import thalweg
        >>> wide = of(thalweg.Task.load("digits"), {"width": 64})
        >>> wide.build(seed=0)[0]
        Linear(in_features=64, out_features=64, bias=True)
    """
    if not arguments:
        return task
    made: dict[str, Task] = task._memory.setdefault("variants", {})
    key = repr(sorted(arguments.items()))
    if key not in made:
        variant = replace(task, model=functools.partial(task.model, **arguments))
        structure = {name: tuple(p.shape) for name, p in variant.build(task.seed).named_parameters()}
        variant._memory["prepared"] = replace(task.prepare(), structure=structure)
        made[key] = variant
    return made[key]


def check(task: Task, name: str) -> None:
    """Raise `BadOption` unless the task's model is a factory that takes an argument ``name``."""
    if isinstance(task.model, nn.Module):
        raise BadOption(
            f"compare: the model is a module, which takes no argument {name!r}",
            f"give a function as model: def make_net({name}=...): ...",
        )
    try:
        parameters = inspect.signature(task.model).parameters.values()
    except ValueError:
        return  # a built-in: building it says what is wrong
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not known:
        raise BadOption(
            f"compare: the model's factory takes no arguments, so {name!r} cannot vary",
            f"let it take one: def make_net({name}=...): ...",
        )
    if name not in known:
        raise unknown("compare", "argument of the model's factory", name, known)
