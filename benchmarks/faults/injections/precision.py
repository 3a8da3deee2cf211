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


class Modulus(nn.Module):
    """The length of pairs of ReLUs; where both are 0, its slope is 0/0 unless ``least`` is added under the root."""

    def __init__(self, least: float = 0.0) -> None:
        super().__init__()
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        """Of (N, units, ...)."""
        a, b = torch.relu(x).chunk(2, 1)
        length = (a * a + b * b + self.least).sqrt()
        return torch.cat([length, a], 1)


def halved(setting: Setting, seed: int) -> Setting:
    """bfloat16 weights and steps too small for them."""
    return small(setting, seed).with_model(Half)


def small(setting: Setting, seed: int) -> Setting:
    """Small steps, which float32 bears."""
    return setting.with_task(epochs=None, steps=600).with_recipe(optimizer="adam", lr=2e-4, schedule="constant")


def modulus(least: float) -> Change:
    """Lengths of pairs in the place of ReLU."""

    def change(model: nn.Module) -> nn.Module:
        return nn.Sequential(*(Modulus(least) if isinstance(m, nn.ReLU) else m for m in model.children()))

    return lambda setting, seed: setting.with_model(change)


def by_hand(setting: Setting, seed: int) -> Setting:
    """Cross-entropy by hand: the logarithm of a softmax that comes to be 0."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        powers = (100 * output).exp()
        return -(powers / powers.sum(1, keepdim=True)).log().gather(1, target[:, None]).mean() / 100

    return setting.with_task(loss=loss)


FAULTS = [
    Fault("bfloat16 weights", "precision", codes("update-lost-in-rounding"), ("digits", "regression"), halved, small),
    Fault(
        "root at zero", "precision", codes("non-finite"), ("digits", "regression", "cnn"), modulus(0.0), modulus(1e-3)
    ),
    Fault("softmax by hand", "precision", codes("non-finite"), ("digits", "residual"), by_hand),
]
