"""Faults of numbers: rounding, and operations outside their domain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..setting import Change, Fault, Setting, codes


class Half(nn.Module):
    """A model whose weights are bfloat16 altogether."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """Of float32, gives float32."""
        return self.model(x.to(torch.bfloat16)).float()


class Root(nn.Module):
    """The root of what is positive, and 0 elsewhere; where the root is taken of the rest too, its slope there is NaN.

    Args:
        least: what the root is taken of at least; None: of what comes.
    """

    def __init__(self, least: float | None) -> None:
        super().__init__()
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        """Of anything."""
        inner = x if self.least is None else x.clamp(min=self.least)
        return torch.where(x > 0, inner.sqrt(), torch.zeros_like(x))


def halved(setting: Setting, seed: int) -> Setting:
    """bfloat16 weights and steps too small for them."""
    return small(setting, seed).with_model(Half)


def small(setting: Setting, seed: int) -> Setting:
    """Small steps, which float32 bears."""
    return setting.with_task(epochs=None, steps=600).with_recipe(optimizer="adam", lr=2e-4, schedule="constant")


def root(least: float | None) -> Change:
    """Roots in the place of ReLU."""

    def change(model: nn.Module) -> nn.Module:
        return nn.Sequential(*(Root(least) if isinstance(m, nn.ReLU) else m for m in model.children()))

    return lambda setting, seed: setting.with_model(change)


def by_hand(setting: Setting, seed: int) -> Setting:
    """Cross-entropy by hand: the logarithm of a softmax that comes to be 0."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        powers = (1000 * output).exp()
        return -(powers / powers.sum(1, keepdim=True)).log().gather(1, target[:, None]).mean() / 1000

    return setting.with_task(loss=loss)


FAULTS = [
    Fault("bfloat16 weights", "precision", codes("update-lost-in-rounding"), ("digits", "regression"), halved, small),
    Fault(
        "root of what is negative",
        "precision",
        codes("non-finite"),
        ("digits", "regression", "cnn"),
        root(None),
        root(1e-3),
    ),
    Fault("softmax by hand", "precision", codes("non-finite"), ("digits", "residual"), by_hand),
]
