"""The training loop that people write by hand; each field of `Loop` is a line in which it goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.seeds import stream

Watch = Callable[[nn.Module, torch.optim.Optimizer], AbstractContextManager[Any]]
TORCH = {
    "sgd": torch.optim.SGD, "momentum": torch.optim.SGD, "nesterov": torch.optim.SGD, "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop,
}  # fmt: skip


def everything(model: nn.Module) -> list[nn.Parameter]:
    """All parameters that are trained."""
    return [p for p in model.parameters() if p.requires_grad]


@dataclass(frozen=True)
class Loop:
    """A loop: by default a right one.

    Attributes:
        parameters: what the optimizer is given.
        then: done to the model after the optimizer was built.
        before: done to the model before it.
        after: done to (model, its weights at the start) after each step.
        zero: when gradients are cleared: ``before backward``, ``after backward``, ``never``.
        mode: of the model: ``train`` or ``eval``.
        rate: factor of the rate by (update, updates an epoch).
        clip: largest norm of the gradient; None: not clipped.
        accumulate: batches an update gathers.
        loss: of (the task's loss, output, targets).
    """

    parameters: Callable[[nn.Module], list[nn.Parameter]] = everything
    then: Callable[[nn.Module], None] | None = None
    before: Callable[[nn.Module], None] | None = None
    after: Callable[[nn.Module, dict[str, Tensor]], None] | None = None
    zero: str = "before backward"
    mode: str = "train"
    rate: Callable[[int, int], float] = field(default=lambda step, epoch: 1.0)
    clip: float | None = None
    accumulate: int = 1
    loss: Callable[[Any, Any, Any], Tensor] = field(default=lambda loss, output, targets: loss(output, targets))


@dataclass(frozen=True)
class History:
    """What a loop did: the losses and accuracies of its batches, its model, and what looked on."""

    losses: list[float]
    accuracies: list[float]
    model: nn.Module
    watch: Any


def optimizer_of(recipe: tw.Recipe, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Torch's optimizer with a recipe's rate and options."""
    assert recipe.lr is not None
    options = dict(recipe.options)
    if recipe.optimizer in ("momentum", "nesterov"):
        options.setdefault("momentum", 0.9)
        options["nesterov"] = recipe.optimizer == "nesterov"
    return TORCH[recipe.optimizer](parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, **options)


def batches(task: tw.Task, recipe: tw.Recipe, seed: int) -> Iterator[Any]:
    """Epoch after epoch."""
    data, epoch = task.prepare(), 0
    while True:
        yield from data.train.training(recipe.batch_size or data.batch_size, [seed], epoch)
        epoch += 1


def play(
    task: tw.Task, recipe: tw.Recipe, loop: Loop | None, seed: int, steps: int, *, watch: Watch | None = None,
    model: nn.Module | None = None,
) -> History:  # fmt: skip
    """Train by a loop, or, where it is None, by a recipe's own optimizer and schedule in a right loop."""
    data, plain = task.prepare(), loop or Loop()
    model = task.build(seed) if model is None else model
    if plain.before:
        plain.before(model)
    if loop is None:
        first = next(data.train.batches(data.batch_size))
        recipe.initialize(model, first.inputs, first.targets, seed=seed)
        optimizer, schedule = recipe.build(model, steps)
    else:
        optimizer = optimizer_of(recipe, plain.parameters(model))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: plain.rate(k, data.steps_per_epoch))
    if plain.then:
        plain.then(model)
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    losses: list[float] = []
    accuracies: list[float] = []
    model.train(plain.mode == "train")
    with stream(seed, "dropout"), watch(model, optimizer) if watch else nullcontext() as looking:
        feed = batches(task, recipe, seed)
        for _ in range(steps):
            if plain.zero == "before backward":
                optimizer.zero_grad()
            for _ in range(plain.accumulate):
                batch = next(feed)
                output = model(batch.inputs)
                loss = plain.loss(data.loss, output, batch.targets)
                (loss / plain.accumulate).backward()
            if plain.zero == "after backward":
                optimizer.zero_grad()
            if plain.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), plain.clip)
            optimizer.step()
            schedule.step()
            if plain.after:
                plain.after(model, start)
            losses.append(loss.item())
            right = output.argmax(-1) == batch.targets if data.classes else torch.tensor(math.nan)
            accuracies.append(float(right.float().mean()))
    return History(losses, accuracies, model, looking)
