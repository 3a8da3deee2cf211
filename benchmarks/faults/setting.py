"""What a case consists of: a task, a recipe, and where they do not say all of it, a model or a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

import thalweg as tw

from .loops import Loop


@dataclass(frozen=True)
class Setting:
    """What is diagnosed.

    Attributes:
        task: what is trained.
        recipe: how.
        model: where training stands; None: at its start.
        loop: the user's own loop, that is watched; None: ours, and `tw.diagnose` is asked.
    """

    task: tw.Task
    recipe: tw.Recipe
    model: nn.Module | None = None
    loop: Loop | None = None

    def with_task(self, **changes: Any) -> Setting:
        """With fields of the task changed."""
        return replace(self, task=replace(self.task, **changes))

    def with_recipe(self, **changes: Any) -> Setting:
        """With fields of the recipe changed."""
        return replace(self, recipe=self.recipe.but(**changes))

    def with_loop(self, **changes: Any) -> Setting:
        """In a plain loop of one's own, with some of its lines changed."""
        return replace(self, loop=replace(self.loop or Loop(), **changes))

    def with_model(self, change: Callable[[nn.Module], nn.Module | None]) -> Setting:
        """With what the factory builds changed, in place or for another module."""
        make = self.task.model

        def factory() -> nn.Module:
            model = make()
            changed = change(model)
            return model if changed is None else changed

        return self.with_task(model=factory)


Change = Callable[[Setting, int], Setting]


def unchanged(setting: Setting, seed: int) -> Setting:
    """As it is."""
    return setting


def both(*changes: Change) -> Change:
    """One after the other."""

    def inject(setting: Setting, seed: int) -> Setting:
        for change in changes:
            setting = change(setting, seed)
        return setting

    return inject


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: of the fault.
        family: of `thalweg.diagnosis.findings.FAMILIES`.
        codes: the right answers.
        bases: the names of the tasks into which it is injected.
        inject: (setting, seed) → the setting with the fault.
        healthy: → what it is held against.
        remedy: → the setting with the fault taken away; None: the same as ``healthy``.
        measure: name of the function of `benchmarks.faults.scores` that says how bad a setting is.
    """

    name: str
    family: str
    codes: frozenset[str]
    bases: tuple[str, ...]
    inject: Change
    healthy: Change = unchanged
    remedy: Change | None = None
    measure: str = "trained"


@dataclass(frozen=True)
class Control:
    """Something that looks odd and is healthy: nothing, or a note, is the right answer."""

    name: str
    bases: tuple[str, ...]
    make: Change


def codes(*names: str) -> frozenset[str]:
    """The right answers."""
    return frozenset(names)


@torch.no_grad()
def each_weight(model: nn.Module, change: Callable[[torch.Tensor], Any], dimensions: int = 1) -> None:
    """Change every parameter of at least so many dimensions in place."""
    for parameter in model.parameters():
        if parameter.ndim >= dimensions:
            change(parameter)


def layers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The linear and convolutional layers, in order."""
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
