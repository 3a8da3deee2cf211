"""Faults of size: too small a network, too few rows."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ..setting import Change, Fault, Setting, codes

SIZES = {"digits": (64, 10), "regression": (8, 1)}


def widths(*inner: int) -> Change:
    """A ReLU net of these hidden widths."""

    def inject(setting: Setting, seed: int) -> Setting:
        inputs, outputs = SIZES[setting.task.name]

        def factory() -> nn.Module:
            pairs = [[nn.Linear(a, b), nn.ReLU()] for a, b in pairwise((inputs, *inner, outputs))]
            return nn.Sequential(*[module for pair in pairs for module in pair][:-1])

        return setting.with_task(model=factory).with_recipe(optimizer="adam", lr=1e-2)

    return inject


def memorizing(rows: int) -> Change:
    """Noisy targets of so many rows, a wide network, many passes."""

    def inject(setting: Setting, seed: int) -> Setting:
        x, y = setting.task.train
        x, y = x[:rows], y[:rows].clone()
        random = torch.Generator().manual_seed(seed)
        if y.is_floating_point():
            y = y + 0.7 * torch.randn(y.shape, generator=random)
        else:
            wrong = torch.rand(len(y), generator=random) < 0.3
            y[wrong] = torch.randint(10, (int(wrong.sum()),), generator=random)
        wide = widths(256, 256)(setting, seed)
        return wide.with_task(train=(x, y), epochs=None, steps=250).with_recipe(lr=1e-3)

    return inject


FAULTS = [
    Fault("two hidden units", "fit", codes("underfitting"), ("digits", "regression"), widths(2), widths(64)),
    Fault("a bottleneck of one unit", "fit", codes("underfitting"), ("digits",), widths(32, 1, 32), widths(32, 32, 32)),
    Fault(
        "few noisy rows by heart",
        "fit",
        codes("overfitting"),
        ("digits", "regression"),
        memorizing(200),
        memorizing(1000),
    ),
]
