"""Faults of normalization, and of what differs between training and evaluation."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from thalweg import loop
from thalweg.norms.calibration import recalibrate

from ..setting import Change, Fault, Setting, codes


def normed(setting: Setting, seed: int) -> Setting:
    """An MLP with batch norm in the place of a plain one; the convolutional net has it."""
    if setting.task.name == "cnn":
        return setting
    inputs, outputs = {"digits": (64, 10), "regression": (8, 1)}[setting.task.name]

    def factory() -> nn.Module:
        hidden = [
            nn.Linear(inputs, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.BatchNorm1d(64),
            nn.ReLU(),
        ]
        return nn.Sequential(*hidden, nn.Linear(64, outputs))

    return setting.with_task(model=factory).with_recipe(optimizer="adam", lr=3e-3)


def pairs(setting: Setting, seed: int) -> Setting:
    """Batches of two rows, as many updates."""
    setting = normed(setting, seed)
    return setting.with_task(batch_size=2, epochs=None, steps=setting.task.prepare().steps)


def momentum(value: float | None) -> Change:
    """How fast running statistics follow."""

    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = value

    return lambda setting, seed: normed(setting, seed).with_model(change)


def train(setting: Setting, seed: int) -> nn.Module:
    """The trained network."""
    run, _ = loop.run(setting.task, setting.recipe, seed, evaluations=1)
    return run.model


def averaged(setting: Setting, seed: int) -> Setting:
    """Averaged weights beside the statistics of before training, as torch's ``AveragedModel`` has them until ``update_bn``."""
    setting = normed(setting, seed).with_recipe(average=0.95)
    model = train(setting, seed)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    return replace(setting, model=model)


def recalibrated(setting: Setting, seed: int) -> Setting:
    """The same with statistics of its own."""
    given = averaged(setting, seed)
    assert given.model is not None
    data = given.task.prepare()
    recalibrate(given.model, data.train.batches(64, seed=seed), lambda model, batch: model(batch.inputs))
    return replace(given, model=given.model.eval())


class AlwaysDropout(nn.Module):
    """Dropout that forgets to ask for the mode."""

    def forward(self, x: Tensor) -> Tensor:
        """Of anything."""
        return F.dropout(x, 0.6)


def noisy(setting: Setting, seed: int) -> Setting:
    """Dropout in evaluation too."""
    return _dropping(setting, AlwaysDropout)


def dropping(setting: Setting, seed: int) -> Setting:
    """Dropout in training only."""
    return _dropping(setting, lambda: nn.Dropout(0.6))


def _dropping(setting: Setting, make: object) -> Setting:
    def change(model: nn.Module) -> nn.Module:
        parts = list(model.children())
        return nn.Sequential(*parts[:-1], make(), parts[-1])  # type: ignore[operator]

    return setting.with_model(change)


SMALL = codes("batchnorm-small-batch", "batchnorm-gap")
STALE = codes("batchnorm-stale", "batchnorm-gap")
NORMED = ("cnn", "digits", "regression")
FAULTS = [
    Fault("batch norm at batch 2", "normalization", SMALL, NORMED, pairs, normed),
    Fault("batch norm momentum 0", "normalization", STALE, NORMED, momentum(0.0), normed),
    Fault("batch norm momentum 1e-4", "normalization", STALE, ("cnn", "digits"), momentum(1e-4), normed),
    Fault(
        "averaged weights without recalibration",
        "normalization",
        STALE,
        NORMED,
        averaged,
        recalibrated,
        measure="as it is",
    ),
    Fault(
        "dropout in evaluation",
        "normalization",
        codes("eval-not-deterministic"),
        ("digits", "cnn", "regression"),
        noisy,
        dropping,
    ),
]
