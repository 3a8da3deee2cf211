"""What is done to the third set's settings, whatever their sizes: they are read from the data and the network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from thalweg import loop
from thalweg.norms.calibration import recalibrate

from ..injections.loop import head
from ..injections.normalization import train
from ..injections.place import here
from ..setting import Change, Setting
from ..tasks import residual_net


def ends(setting: Setting) -> tuple[int, int]:
    """Numbers of a row, and outputs."""
    return setting.task.train[0][0].numel(), head(setting.task.build(0)).out_features


def of_inputs(change: Callable[[Tensor], Tensor]) -> Change:
    """The inputs of training and validation data changed alike."""

    def inject(setting: Setting, seed: int) -> Setting:
        (x, y), (u, v) = setting.task.train, setting.task.valid
        return setting.with_task(train=(change(x), y), valid=(change(u), v))

    return inject


def times(factor: float, column: int | None = None) -> Callable[[Tensor], Tensor]:
    """All inputs, or one of them, in other units."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, column if column is not None else slice(None)] *= factor
        return x

    return change


def rolled(rows: int) -> Change:
    """Each row with the label of one some rows before."""

    def inject(setting: Setting, seed: int) -> Setting:
        x, y = setting.task.train
        return setting.with_task(train=(x, y.roll(rows, 0)))

    return inject


def permuted(share: float) -> Change:
    """That share of the labels in another order than their rows."""

    def inject(setting: Setting, seed: int) -> Setting:
        x, y = setting.task.train
        random = torch.Generator().manual_seed(50 + seed)
        rows = torch.randperm(len(y), generator=random)[: round(share * len(y))]
        y = y.clone()
        y[rows] = y[rows[torch.randperm(len(rows), generator=random)]]
        return setting.with_task(train=(x, y))

    return inject


def noised(y: Tensor, share: float, seed: int) -> Tensor:
    """Numbers with noise as large as they scatter, or a share of wrong classes."""
    random = torch.Generator().manual_seed(70 + seed)
    if y.is_floating_point() and y.unique().numel() > 2:
        return y + 0.8 * torch.randn(y.shape, generator=random)
    wrong = torch.rand(y.shape, generator=random) < share
    other = torch.randint(int(y.max()) + 1, y.shape, generator=random).to(y.dtype)
    return torch.where(wrong, other, y)


def few(setting: Setting, seed: int, rows: int = 240) -> Setting:
    """Few rows, some of them wrong, and a run long enough to learn them by heart."""
    x, y = setting.task.train
    return setting.with_task(
        train=(x[:rows], noised(y[:rows], 0.35, seed)), test=setting.task.valid, epochs=None, steps=1200
    )


def leaked(setting: Setting, seed: int) -> Setting:
    """Most of them are also the validation data."""
    given = few(setting, seed)
    (x, y), (u, v) = given.task.train, given.task.test
    return given.with_task(valid=(torch.cat([x[:180], u[:60]]), torch.cat([y[:180], v[:60]])))


def apart(setting: Setting, seed: int) -> Setting:
    """Others validate."""
    given = few(setting, seed)
    u, v = given.task.test
    return given.with_task(valid=(u[:200], v[:200]), test=(u[200:], v[200:]))


def stack(widths: list[int], activation: Callable[[], nn.Module]) -> nn.Module:
    """Linear layers with an activation between them, on flat rows."""
    inner = [[nn.Linear(a, b), activation()] for a, b in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *[module for pair in inner for module in pair][:-1])


def perceptron(*hidden: int, activation: Callable[[], nn.Module] = nn.ReLU, lr: float | None = None) -> Change:
    """A perceptron of these hidden widths in the place of the network; with a rate: by Adam."""

    def inject(setting: Setting, seed: int) -> Setting:
        inputs, outputs = ends(setting)
        changed = setting.with_task(model=lambda: stack([inputs, *hidden, outputs], activation))
        return changed if lr is None else changed.with_recipe(optimizer="adam", lr=lr)

    return inject


def memorizing(rows: int) -> Change:
    """Noisy targets of so many rows, a wide network, and that trained until it has them by heart."""

    def inject(setting: Setting, seed: int) -> Setting:
        x, y = setting.task.train
        given = perceptron(200, 200, lr=1.5e-3)(setting, seed)
        given = given.with_task(train=(x[:rows], noised(y[:rows], 0.35, seed)), epochs=None, steps=1200)
        return replace(given, model=train(given, seed))

    return inject


def residual(norm: bool) -> Change:
    """Sixty residual blocks, He's weights."""

    def inject(setting: Setting, seed: int) -> Setting:
        inputs, outputs = ends(setting)

        def factory() -> nn.Module:
            model = residual_net(60, norm, inputs, outputs)
            with torch.no_grad():
                for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):
                    layer.weight.normal_(0, math.sqrt(2 / layer.in_features))
                    layer.bias.zero_()
            return model

        return setting.with_task(model=factory, epochs=None, steps=100).with_recipe(optimizer="adam", lr=1e-3)

    return inject


def normed(setting: Setting, seed: int) -> Setting:
    """A perceptron with batch norm; the convolutional net has it."""
    if setting.task.name == "fashion":
        return setting
    inputs, outputs = ends(setting)

    def factory() -> nn.Module:
        hidden = [
            nn.Linear(inputs, 72),
            nn.BatchNorm1d(72),
            nn.SiLU(),
            nn.Linear(72, 36),
            nn.BatchNorm1d(36),
            nn.SiLU(),
        ]
        return nn.Sequential(*hidden, nn.Linear(36, outputs))

    return setting.with_task(model=factory).with_recipe(optimizer="adam", lr=4e-3)


def following(momentum: float) -> Change:
    """How fast running statistics follow."""

    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = momentum

    return lambda setting, seed: normed(setting, seed).with_model(change)


def pairs(rows: int) -> Change:
    """Batches of so few rows, as many updates."""

    def inject(setting: Setting, seed: int) -> Setting:
        setting = normed(setting, seed)
        return setting.with_task(batch_size=rows, epochs=None, steps=setting.task.prepare().steps)

    return inject


def averaged(setting: Setting, seed: int) -> Setting:
    """Averaged weights beside the statistics of before training."""
    setting = normed(setting, seed).with_recipe(average=0.97)
    model = train(setting, seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    return replace(setting, model=model)


def recalibrated(setting: Setting, seed: int) -> Setting:
    """The same with statistics of its own."""
    given = averaged(setting, seed)
    assert given.model is not None
    batches = given.task.prepare().train.batches(64, seed=seed)
    recalibrate(given.model, batches, lambda model, batch: model(batch.inputs))
    return replace(given, model=given.model.eval())


def always(share: float) -> Callable[[], nn.Module]:
    """Dropout that forgets to ask for the mode."""

    class Always(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, share)

    return Always


def noise_floor(rate: float) -> Change:
    """Noisy targets and batches of four at a constant rate, from where that led before."""

    def inject(setting: Setting, seed: int) -> Setting:
        setting = setting.with_recipe(optimizer="sgd", lr=rate, schedule="constant", batch_size=None)
        (x, y), (u, v) = setting.task.train, setting.task.valid
        random = torch.Generator().manual_seed(seed)
        y, v = (z + 0.7 * torch.randn(z.shape, generator=random) for z in (y, v))
        setting = setting.with_task(train=(x, y), valid=(u, v), batch_size=4, epochs=None, steps=500)
        return from_trained(setting, seed)

    return inject


def from_trained(setting: Setting, seed: int) -> Setting:
    """Training goes on from where it ended."""
    run, _ = loop.run(setting.task, setting.recipe, seed, evaluations=1)
    held = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
    make = setting.task.model

    def factory() -> nn.Module:
        model = make()
        model.load_state_dict(held)
        return model

    return here(setting.with_task(model=factory), seed)


def thrown(setting: Setting, seed: int) -> Setting:
    """Tanh units thrown far out: no slope, no curvature, a large loss."""

    def throw(model: nn.Module) -> None:
        first = next(m for m in model.modules() if isinstance(m, nn.Linear))
        with torch.no_grad():
            first.weight.mul_(3e-4)
            first.bias.fill_(-25.0)

    return here(perceptron(48, 24, activation=nn.Tanh)(setting, seed).with_model(throw), seed)


def unthrown(setting: Setting, seed: int) -> Setting:
    """The same where it starts by itself."""
    return here(perceptron(48, 24, activation=nn.Tanh)(setting, seed), seed)


def but(**changes: Any) -> Change:
    """Fields of the task changed."""
    return lambda setting, seed: setting.with_task(**changes)
