"""Faults of numbers: rounding, and operations outside their domain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..setting import Fault, Setting, codes


class Half(nn.Module):
    """A model whose weights are bfloat16 altogether."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """Of float32, gives float32."""
        return self.model(x.to(torch.bfloat16)).float()


class Root(nn.Module):
    """The square root of ReLU, whose slope at 0 is infinite."""

    def forward(self, x: Tensor) -> Tensor:
        """Of anything."""
        return torch.relu(x).sqrt()


class SafeRoot(nn.Module):
    """The same, kept away from 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Of anything."""
        return (torch.relu(x) + 1e-3).sqrt()


def halved(setting: Setting, seed: int) -> Setting:
    """bfloat16 weights and steps too small for them."""
    return small(setting, seed).with_model(Half)


def small(setting: Setting, seed: int) -> Setting:
    """Small steps, which float32 bears."""
    return setting.with_task(epochs=None, steps=600).with_recipe(optimizer="adam", lr=2e-4, schedule="constant")


def _with(setting: Setting, kind: type[nn.Module]) -> Setting:
    def change(model: nn.Module) -> nn.Module:
        return nn.Sequential(*(kind() if isinstance(m, nn.ReLU) else m for m in model.children()))

    return setting.with_model(change)


def root(setting: Setting, seed: int) -> Setting:
    """Square roots whose slope is infinite at zero."""
    return _with(setting, Root)


def safe_root(setting: Setting, seed: int) -> Setting:
    """Square roots that are kept from zero."""
    return _with(setting, SafeRoot)


def by_hand(setting: Setting, seed: int) -> Setting:
    """Cross-entropy by hand: the logarithm of a softmax that comes to be 0."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        powers = (30 * output).exp()
        return -(powers / powers.sum(1, keepdim=True)).log().gather(1, target[:, None]).mean() / 30

    return setting.with_task(loss=loss)


FAULTS = [
    Fault("bfloat16 weights", "precision", codes("update-lost-in-rounding"), ("digits", "regression"), halved, small),
    Fault("root at zero", "precision", codes("non-finite"), ("digits", "regression", "cnn"), root, safe_root),
    Fault("softmax by hand", "precision", codes("non-finite"), ("digits", "residual", "cnn"), by_hand),
]  # fmt: skip
