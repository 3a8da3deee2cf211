"""Normalization layers by name and shape. Legend: N rows, T positions, C channels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..errors import BadOption, unknown

KINDS = ("keep", "none", "batch", "layer", "group", "instance", "rms", "weight")
GROUPS = 8  # of channels, where no number is given
CENTRED: dict[str, Sequence[Callable[..., nn.Module]]] = {  # they take a bias of each channel away again
    "batch": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    "instance": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
}
KNOWN = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def read(text: str) -> tuple[str, int | None]:
    """The kind of a text, and the number in brackets of ``group(n)``.

    Raises:
        BadOption: not a kind.

    Example:
        >>> read("layer"), read("group(4)")
        (('layer', None), ('group', 4))
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(\s*(\d+)\s*\))?\s*", text)
    name, number = (match[1].lower(), match[2]) if match else (text, None)
    if name not in KINDS:
        raise unknown("Recipe", "norm", text, KINDS)
    if number is not None and (name != "group" or int(number) < 1):
        raise BadOption(f"norm: only group takes a number of groups, at least 1; got {text!r}", "write group(8)")
    return name, (int(number) if number else GROUPS) if name == "group" else None


def check(text: Any) -> bool:
    """Whether a recipe may say it.

    Raises:
        BadOption: as `read`.
    """
    return isinstance(text, str) and bool(read(text))


class PositionBatchNorm(nn.BatchNorm1d):
    """Batch norm where the channels are the last dimension: every position counts as a row."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., C) → (N, ..., C)."""
        return super().forward(x.flatten(0, -2)).reshape(x.shape)


class PositionGroupNorm(nn.GroupNorm):
    """Group norm of every position by itself, so that none sees another; with one group it is layer norm.

    Args:
        groups: of the channels.
        channels: how many.
        last: whether they are the last dimension; else the second.
    """

    def __init__(self, groups: int, channels: int, last: bool) -> None:
        super().__init__(groups, channels)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., C) → (N, ..., C), or (N, C, T) → (N, C, T)."""
        y = x if self.last else x.movedim(1, -1)
        y = super().forward(y.flatten(0, -2)).reshape(y.shape)
        return y if self.last else y.movedim(-1, 1)


class PositionRMSNorm(nn.RMSNorm):
    """RMS norm of every position of a sequence (N, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T) → (N, C, T)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelRMS(nn.Module):
    """RMS norm of a picture over its channels and positions: x / √(mean x² + eps) · weight, a weight a channel."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(channels)), eps

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) → (N, C, ...)."""
        scale = x.flatten(1).square().mean(1).add(self.eps).rsqrt()
        return x * scale.reshape(-1, *[1] * (x.ndim - 1)) * self.weight.reshape(1, -1, *[1] * (x.ndim - 2))


class WeightNorm(nn.Module):
    """A weight as lengths and directions, w = g · v / |v|, a g an output unit; for ``nn.utils.parametrize``.

    As torch's own, in operations that can be batched.
    """

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """(C, 1, ...), (C, ...) → (C, ...)."""
        return v * (g / self._length(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A weight's lengths, and the weight as its directions."""
        length = self._length(weight)
        return length, torch.where(length > 0, weight, 1.0)  # a weight of zero has any direction

    @staticmethod
    def _length(v: Tensor) -> Tensor:
        return v.square().sum(tuple(range(1, v.ndim)), keepdim=True).sqrt()


def make(kind: str, groups: int | None, shape: Sequence[int], last: bool) -> nn.Module:
    """A normalization for what has a shape.

    Args:
        kind: ``batch``, ``layer``, ``group``, ``instance`` or ``rms``.
        groups: of ``group``.
        shape: of its input, rows first.
        last: whether the channels are its last dimension; else the second.

    Raises:
        BadOption: it does not fit the shape; says why.

    Example:
        >>> made = make("layer", None, (32, 16, 8, 8), last=False)
        >>> type(made).__name__, made.num_groups, made.num_channels
        ('GroupNorm', 1, 16)
    """
    channels, positions = shape[-1 if last else 1], len(shape) - 2
    sequence = last or positions < 2  # each position by itself: an average over them would show one what comes later
    if kind == "group" and groups and channels % groups:
        fits = [n for n in range(1, channels + 1) if channels % n == 0]
        raise BadOption(f"{groups} groups do not divide {channels} channels", f"take group(n) with n one of {fits}")
    if kind == "instance" and sequence:
        what = (
            "shows each position of a sequence what comes later" if positions else "needs positions, and there are none"
        )
        raise BadOption(f"instance norm averages over positions: it {what}", "take layer or rms")
    if kind == "batch":
        return PositionBatchNorm(channels) if last and positions else CENTRED[kind][max(positions, 1) - 1](channels)
    if kind == "instance":
        return CENTRED[kind][positions - 1](channels, affine=True)
    if kind == "group":
        count = groups or 1
        return PositionGroupNorm(count, channels, last) if sequence and positions else nn.GroupNorm(count, channels)
    if not sequence:
        return nn.GroupNorm(1, channels) if kind == "layer" else ChannelRMS(channels)
    if last or not positions:
        return nn.LayerNorm(channels) if kind == "layer" else nn.RMSNorm(channels)
    return PositionGroupNorm(1, channels, last) if kind == "layer" else PositionRMSNorm(channels)
