"""Faults of the data."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..setting import Fault, Setting, codes


def _both(setting: Setting, change: object) -> Setting:
    """With the inputs of training and validation data changed alike."""
    (x, y), (u, v) = setting.task.train, setting.task.valid
    return setting.with_task(train=(change(x), y), valid=(change(u), v))  # type: ignore[operator]


def bytes_(setting: Setting, seed: int) -> Setting:
    """Grey values in 0 to 255 instead of 0 to 1."""
    return _both(setting, lambda x: x * 255)


def thousand(setting: Setting, seed: int) -> Setting:
    """One of the numbers in other units, a thousand times as large."""

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 7] *= 1000
        return x

    return _both(setting, change)


def offset(setting: Setting, seed: int) -> Setting:
    """All numbers far from zero, as years or temperatures in kelvin are."""
    return _both(setting, lambda x: x + 300)


def blank(setting: Setting, seed: int) -> Setting:
    """A blank row that is divided by its own length: NaN in one row."""
    x, y = setting.task.train
    x = x.clone()
    x[seed % len(x)] = 0
    return setting.with_task(
        train=(x, y), transform=lambda x: x / x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
    )


def scaled_rows(setting: Setting, seed: int) -> Setting:
    """The same division, guarded."""
    given = blank(setting, seed)
    return given.with_task(
        transform=lambda x: x / x.flatten(1).norm(dim=1).clamp(min=1e-6).view(-1, *[1] * (x.ndim - 1))
    )


def shifted(setting: Setting, seed: int) -> Setting:
    """Each row with the label of the row before."""
    x, y = setting.task.train
    return setting.with_task(train=(x, y.roll(1, 0)))


def shuffled(setting: Setting, seed: int) -> Setting:
    """Labels in another order than the rows."""
    x, y = setting.task.train
    return setting.with_task(train=(x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]))


def half_shuffled(setting: Setting, seed: int) -> Setting:
    """Nine in ten labels in another order than the rows."""
    x, y = setting.task.train
    random = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(y), generator=random)[: len(y) * 9 // 10]
    y = y.clone()
    y[rows] = y[rows[torch.randperm(len(rows), generator=random)]]
    return setting.with_task(train=(x, y))


def sorted_(setting: Setting, seed: int) -> Setting:
    """Sorted by target, and not shuffled."""
    x, y = setting.task.train
    key = y if y.ndim == 1 else y[:, -1] if y.shape[1] > 1 else y[:, 0]
    rows = key.argsort(stable=True)
    return setting.with_task(train=(x[rows], y[rows]), shuffle=False)


def _few(setting: Setting, seed: int) -> tuple[Tensor, Tensor, Setting]:
    """Few rows with some noise in their targets: what a model learns of them by heart is worth nothing elsewhere."""
    (x, y), (u, v) = setting.task.train, setting.task.valid
    x, y = x[:300], y[:300].clone()
    random = torch.Generator().manual_seed(seed)
    noisy = torch.rand(len(y), generator=random) < 0.3
    if y.is_floating_point():
        y = y + torch.randn(y.shape, generator=random)
    else:
        y[noisy] = torch.randint(10, (int(noisy.sum()),), generator=random)
    few = replace(setting.task, train=(x, y), test=(u, v), epochs=None, steps=1500)
    return x, y, replace(setting, task=few)


def leaked(setting: Setting, seed: int) -> Setting:
    """Few noisy rows, of which most are also the validation data."""
    x, y, few = _few(setting, seed)
    u, v = few.task.test
    return few.with_task(valid=(torch.cat([x[:200], u[:50]]), torch.cat([y[:200], v[:50]])))


def apart(setting: Setting, seed: int) -> Setting:
    """Few noisy rows, others to validate."""
    _, _, few = _few(setting, seed)
    u, v = few.task.test
    return few.with_task(valid=(u[:250], v[:250]), test=(u[250:], v[250:]))


FAULTS = [
    Fault("inputs 0 to 255", "data", codes("input-scale"), ("digits",), bytes_),
    Fault("one input × 1000", "data", codes("input-scale", "ill-conditioned"), ("regression", "linear"), thousand),
    Fault("inputs + 300", "data", codes("input-scale", "ill-conditioned"), ("regression", "digits"), offset),
    Fault("NaN in one row", "data", codes("input-non-finite"), ("digits", "cnn", "regression"), blank, scaled_rows),
    Fault("labels shifted by a row", "data", codes("labels-shuffled"), ("cnn", "regression", "residual"), shifted),
    Fault("labels shuffled", "data", codes("labels-shuffled"), ("digits", "regression", "sequences"), shuffled),
    Fault("most labels shuffled", "data", codes("labels-shuffled"), ("digits", "regression"), half_shuffled),
    Fault("sorted, not shuffled", "data", codes("not-shuffled"), ("digits", "cnn", "regression"), sorted_),
    Fault(
        "train rows in validation",
        "data",
        codes("leakage"),
        ("digits", "regression"),
        leaked,
        apart,
        measure="flattery",
    ),
]
