"""Normalization layers by name and shape. Legend: N rows, T positions, C channels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..errors import BadOption, unknown

KINDS = ("keep", "none", "batch", "layer", "group", "instance", "rms", "weight")
GROUPS = 8  # of channels, where no number is given
CENTRED: dict[str, Sequence[type[nn.Module]]] = {  # they take a bias of each channel away again
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


class ChannelsLast(nn.Module):
    """A normalization of channels for (N, T, C): ``norm`` sees (N, C, T)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., C) → (N, ..., C)."""
        normed: Tensor = self.norm(x.flatten(1, -2).transpose(1, 2)).transpose(1, 2)
        return normed.reshape(x.shape)


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
    if kind == "group" and groups and channels % groups:
        fits = [n for n in range(1, channels + 1) if channels % n == 0]
        raise BadOption(f"{groups} groups do not divide {channels} channels", f"take group(n) with n one of {fits}")
    if kind == "instance" and not positions:
        raise BadOption("instance norm needs positions to average over, and there are none", "take layer or batch")
    if kind in ("layer", "rms") and (last or not positions):
        return nn.LayerNorm(channels) if kind == "layer" else nn.RMSNorm(channels)
    if kind == "rms":
        return ChannelRMS(channels)
    dims = 1 if last or not positions else positions
    if kind in CENTRED:
        made: nn.Module = CENTRED[kind][dims - 1](channels, affine=True)
    else:
        made = nn.GroupNorm((groups or 1) if kind == "group" else 1, channels)
    return ChannelsLast(made) if last and positions else made
