"""Feature transforms: fitted on training rows alone, part of the model, so that they are saved and applied with it.

Legend: N rows, D features, C channels.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import BadData, unknown
from ..identity import digest

if TYPE_CHECKING:
    from ..data import Feed
    from ..task import Task

ROWS, NUMBERS = 100_000, 10**8  # that statistics are taken of, at most
WIDEST = 4096  # features whose covariance is decomposed
FLOOR = 1e-12  # of a variance, over the mean variance: below it a direction is constant


class Features(nn.Module):
    """A transform of inputs: x → (x - shift) · scale, after log1p and before a rotation where it has one.

    Args:
        shift: of each feature or channel.
        scale: the same.
        rotation: (D, D) for whitening, else None.
        log: whether log(1 + x - least) is taken first.
        least: of the training rows, for ``log``.
        channel: whether numbers belong to channels, the second dimension, and not to features, the last.
    """

    shift: Tensor
    scale: Tensor
    rotation: Tensor | None
    least: Tensor | None

    def __init__(
        self,
        shift: Tensor,
        scale: Tensor,
        rotation: Tensor | None = None,
        log: bool = False,
        least: Tensor | None = None,
        channel: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)
        self.register_buffer("rotation", rotation)
        self.register_buffer("least", least)
        self.log, self.channel = log, channel

    def extra_repr(self) -> str:
        """What it does, and a number that its statistics make: two transforms that differ read differently."""
        parts = [self.shift, self.scale, *(x for x in (self.rotation, self.least) if x is not None)]
        kind = "log " * self.log + (
            "channels" if self.channel else "rotated" if self.rotation is not None else "features"
        )
        return f"{kind}, {digest([x.tolist() for x in parts])[:10]}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., D) → (N, ..., D), or (N, C, ...) → (N, C, ...)."""
        x = x if x.is_floating_point() else x.to(self.shift.dtype)
        if self.log and self.least is not None:
            x = torch.log1p((x - self.least).clamp(min=0))
        shape = (1, -1, *[1] * (x.ndim - 2)) if self.channel else (-1,)
        x = (x - self.shift.reshape(shape)) * self.scale.reshape(shape)
        if self.rotation is None:
            return x
        with torch.autocast(x.device.type, enabled=False):  # differences of small directions need all digits
            return x.to(self.rotation.dtype) @ self.rotation


def _standardize(x: Tensor) -> Features:
    mean, std = x.mean(0), x.std(0, correction=0)
    return Features(mean, inverse(std))


def _minmax(x: Tensor) -> Features:
    low, high = x.amin(0), x.amax(0)
    return Features(low, inverse(high - low))


def _log(x: Tensor) -> Features:
    least = x.amin(0)
    inner = _standardize(torch.log1p(x - least))
    return Features(inner.shift, inner.scale, log=True, least=least)


def _channels(x: Tensor) -> Features:
    flat = x.movedim(1, -1).flatten(0, -2)
    return Features(flat.mean(0), inverse(flat.std(0, correction=0)), channel=True)


def _whiten(x: Tensor) -> Features:
    """PCA whitening: the covariance of the training rows becomes the identity, constant directions vanish."""
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    scale = torch.where(values > FLOOR * values.mean(), values.clamp(min=1e-300).rsqrt(), 0.0)
    return Features(mean, torch.ones_like(mean), rotation=vectors * scale)


def inverse(size: Tensor) -> Tensor:
    """1/size; 1 for a feature that does not vary."""
    return torch.where(size > 0, 1 / size.clamp(min=1e-300), 1.0)


KINDS: dict[str, Callable[[Tensor], Features]] = {
    "standardize": _standardize,
    "minmax": _minmax,
    "log": _log,
    "channels": _channels,
    "whiten": _whiten,
}


def fit(kind: str, x: Tensor) -> Features:
    """A transform fitted on training rows, in float64.

    ``standardize``: mean 0, standard deviation 1 of every feature; ``minmax``: onto [0, 1]; ``log``: log(1 + x - min),
    then standardized; ``channels``: mean 0 and standard deviation 1 of every channel of a picture; ``whiten``: covariance
    I, by principal components.

    Args:
        kind: one of `KINDS`.
        x: training rows: (N, D), or (N, C, ...) for ``channels``.

    Raises:
        BadOption: no such kind.
        BadData: rows of another shape, too few, or with numbers that are not finite.

    Example:
        >>> transform = fit("standardize", torch.tensor([[1.0, 10.0], [3.0, 30.0]]))
        >>> transform(torch.tensor([[2.0, 40.0]]))
        tensor([[0., 2.]])
    """
    if kind not in KINDS:
        raise unknown("features", "kind", kind, list(KINDS))
    if x.ndim < (3 if kind == "channels" else 2) or (x.ndim > 2 and kind == "whiten") or len(x) < 2:
        what = "pictures (N, C, ...)" if kind == "channels" else "rows (N, D)"
        raise BadData(f"features: {kind} needs at least two {what}, got shape {tuple(x.shape)}", f"take {_other(x)}")
    if kind == "whiten" and x.shape[1] > WIDEST:
        raise BadData(
            f"features: whiten decomposes up to {WIDEST} features, these are {x.shape[1]}", "take standardize"
        )
    if not x.isfinite().all():
        bad = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
        raise BadData(f"features: training row {bad} has a number that is not finite", "fill it, or leave the row out")
    found = KINDS[kind](x.double())
    return found.to(x.dtype if x.is_floating_point() else torch.float32)


def _other(x: Tensor) -> str:
    return "channels" if x.ndim > 2 else "standardize"


class Transformed(nn.Module):
    """A model behind a transform of its inputs."""

    def __init__(self, features: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.features, self.model = features, model

    def forward(self, x: Tensor) -> Any:
        """What the model gives on the transformed inputs."""
        return self.model(self.features(x))


def add(task: Task, kind: str = "none") -> Task:
    """The task with a transform in front of its model, fitted on its training rows and nothing else.

    The model's factory takes ``features=`` beside its own arguments, so that ``axes={"model.features": ["none",
    "standardize", "whiten"]}`` compares them. Weights that are saved hold the transform.

    Args:
        task: its inputs are one tensor.
        kind: ``none`` or one of `KINDS`.

    Raises:
        BadOption, BadData: see `fit`; or the inputs are no tensor.

    Example:
        >>> import thalweg
        >>> task = add(thalweg.Task.load("digits"), "standardize")
        >>> task.build(seed=0).features.shift.shape
        torch.Size([64])
    """
    if kind != "none" and kind not in KINDS:
        raise unknown("features", "kind", kind, ["none", *KINDS])
    factory = functools.partial(_built, task, rows_of(task.prepare().train), {}, default=kind)
    made = replace(task, model=factory, name=task.name)
    made._memory["prepared"] = replace(
        task.prepare(), structure={n: tuple(p.shape) for n, p in made.build(task.seed).named_parameters()}
    )
    return made


def _built(
    task: Task, x: Tensor, fitted: dict[str, Features], default: str, features: str | None = None, **arguments: Any
) -> nn.Module:
    """The model of a task behind a transform; the same weights as without it."""
    kind = default if features is None else features
    if isinstance(task.model, nn.Module):
        model = copy.deepcopy(task.model)
        if task._kept() is None:
            from ..fresh import redraw

            redraw(model)
    else:
        model = task.model(**arguments)
    if kind != "none" and kind not in fitted:
        fitted[kind] = fit(kind, x)
    return Transformed(nn.Identity() if kind == "none" else copy.deepcopy(fitted[kind]), model)


def rows_of(feed: Feed) -> Tensor:
    """The inputs of a feed, in order; where it has more than `ROWS`, or `NUMBERS` numbers, so many in a random order."""
    found, whole = _rows(feed, None)
    return found if whole else _rows(feed, 0)[0]


def _rows(feed: Feed, seed: int | None) -> tuple[Tensor, bool]:
    parts: list[Tensor] = []
    batches = feed.batches(1024, seed=seed)
    for batch in batches:
        if not isinstance(batch.inputs, Tensor):
            raise BadData("features: the model's inputs are not one tensor", "transform them in the data set")
        parts.append(batch.inputs)
        if sum(map(len, parts)) >= ROWS or sum(part.numel() for part in parts) >= NUMBERS:
            break
    whole = next(batches, None) is None
    batches.close()
    return torch.cat(parts), whole
