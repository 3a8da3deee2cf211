"""Feature transforms: fitted on training rows alone, part of the model, so that they are saved and applied with it.

Legend: N rows, D features, C channels.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .console import columns
from .errors import BadData, unknown

if TYPE_CHECKING:
    from .data import Feed
    from .task import Task

ROWS = 100_000  # that statistics are taken of
SCALES = 100.0  # between the largest and the smallest standard deviation of features: above, inputs are badly scaled
OFFSET = 10.0  # of a feature's mean from zero, in its standard deviations: the same
EXACT = 1e-5  # how near to a round number a statistic is that was made so
LEAST = 20  # training rows, below which nothing is said about leaks
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

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., D) → (N, ..., D), or (N, C, ...) → (N, C, ...)."""
        x = x if x.is_floating_point() else x.to(self.shift.dtype)
        if self.log and self.least is not None:
            x = torch.log1p((x - self.least).clamp(min=0))
        shape = (1, -1, *[1] * (x.ndim - 2)) if self.channel else (-1,)
        x = (x - self.shift.reshape(shape)) * self.scale.reshape(shape)
        return x if self.rotation is None else x @ self.rotation


def _standardize(x: Tensor) -> Features:
    mean, std = x.mean(0), x.std(0, correction=0)
    return Features(mean, _inverse(std))


def _minmax(x: Tensor) -> Features:
    low, high = x.amin(0), x.amax(0)
    return Features(low, _inverse(high - low))


def _log(x: Tensor) -> Features:
    least = x.amin(0)
    inner = _standardize(torch.log1p(x - least))
    return Features(inner.shift, inner.scale, log=True, least=least)


def _channels(x: Tensor) -> Features:
    flat = x.movedim(1, -1).flatten(0, -2)
    return Features(flat.mean(0), _inverse(flat.std(0, correction=0)), channel=True)


def _whiten(x: Tensor) -> Features:
    """PCA whitening: the covariance of the training rows becomes the identity, constant directions vanish."""
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    scale = torch.where(values > FLOOR * values.mean(), values.clamp(min=1e-300).rsqrt(), 0.0)
    return Features(mean, torch.ones_like(mean), rotation=vectors * scale)


def _inverse(size: Tensor) -> Tensor:
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
    factory = functools.partial(_built, task, _rows(task.prepare().train), default=kind)
    made = replace(task, model=factory, name=task.name)
    made._memory["prepared"] = replace(
        task.prepare(), structure={n: tuple(p.shape) for n, p in made.build(task.seed).named_parameters()}
    )
    return made


def _built(task: Task, x: Tensor, default: str, features: str | None = None, **arguments: Any) -> nn.Module:
    """The model of a task behind a transform; the same weights as without it."""
    kind = default if features is None else features
    if isinstance(task.model, nn.Module):
        model = copy.deepcopy(task.model)
        if task._kept() is None:
            from .fresh import redraw

            redraw(model)
    else:
        model = task.model(**arguments)
    return Transformed(nn.Identity() if kind == "none" else _fitted(kind, x), model)


_FITTED: dict[tuple[str, int], tuple[Tensor, Features]] = {}


def _fitted(kind: str, x: Tensor) -> Features:
    """As `fit`; done once for the same rows."""
    key = kind, id(x)
    if key not in _FITTED or _FITTED[key][0] is not x:
        _FITTED[key] = x, fit(kind, x)
    return copy.deepcopy(_FITTED[key][1])


def _rows(feed: Feed) -> Tensor:
    """The inputs of a feed, in order."""
    parts: list[Tensor] = []
    for batch in feed.batches(1024):
        if not isinstance(batch.inputs, Tensor):
            raise BadData("features: the model's inputs are not one tensor", "transform them in the data set")
        parts.append(batch.inputs)
        if sum(map(len, parts)) >= ROWS:
            break
    return torch.cat(parts)


def condition(x: Tensor) -> float:
    """λmax/λmin of the Gram matrix XᵀX/N of rows, over the directions that vary: how long the first layer's valley is.

    Example:
        >>> x = torch.tensor([[101.0, 101.0], [101.0, 99.0]])
        >>> round(condition(x)), round(condition(x - x.mean(0)))
        (40006, 1)
    """
    flat = x.double().flatten(1)
    values = torch.linalg.eigvalsh(flat.T @ flat / len(flat))
    values = values[values > FLOOR * values.max()]
    return float(values.max() / values.min()) if len(values) else math.nan


@dataclass(frozen=True)
class InputReport:
    """What is the matter with a task's inputs.

    Attributes:
        codes: ``input-scale``, ``input-non-finite``, ``leakage``.
        sentences: the numbers, and what helps.
        features: for the worst features: index, mean and standard deviation of the training rows.
        condition: κ of the first layer's Gram matrix of the inputs as they are.
        standardized: the same after ``standardize``.
    """

    codes: tuple[str, ...]
    sentences: tuple[str, ...]
    features: tuple[tuple[int, float, float], ...]
    condition: float
    standardized: float

    def __str__(self) -> str:
        rows = [("feature", "mean", "std"), *((str(i), f"{m:.4g}", f"{s:.4g}") for i, m, s in self.features)]
        said = list(self.sentences) or ["The inputs are in order."]
        return "\n".join(
            [*said, f"Condition {self.condition:.3g}, standardized {self.standardized:.3g}.", columns(rows)]
        )


def look(task: Task) -> InputReport:
    """Whether a task's inputs are badly scaled, or were scaled with statistics that know its validation data.

    A leak shows itself by numbers that are too round: over training and validation rows together the mean is 0 and the
    standard deviation 1, or the range [0, 1], to the last digits, and over the training rows alone they are not.

    Args:
        task: its inputs are one tensor of numbers.

    Raises:
        BadData: they are not.

    Example:
        >>> import thalweg
        >>> print(look(thalweg.Task.load("digits")).codes)
        ()
    """
    data = task.prepare()
    x = _rows(data.train)
    if not x.is_floating_point():
        raise BadData("features: the inputs are not numbers but codes", "ask only of tasks with numbers as inputs")
    x = x.double().flatten(1)
    feeds = [data.select, data.judge, *([data.test] if data.test is not None else [])]
    parts = [_rows(feed).double().flatten(1) for feed in feeds]
    codes, said = [], []
    if not all(part.isfinite().all() for part in (x, *parts)):
        codes.append("input-non-finite")
        said.append("Some inputs are not finite: fill them, or leave their rows out.")
        x = x[x.isfinite().all(1)]
        parts = [part[part.isfinite().all(1)] for part in parts]
    mean, std = x.mean(0), x.std(0, correction=0)
    varying = std > 0
    off = torch.where(varying, mean.abs() / std.clamp(min=1e-300), 0.0)
    spread = float(std[varying].max() / std[varying].min()) if bool(varying.any()) else 1.0
    worst = torch.maximum(off / OFFSET, torch.where(varying, (std / std[varying].median()).log().abs() / 2, 0.0))
    # Features of one unit differ for good reason: pixels at the border hardly vary. Only a large size is trouble then.
    large = float(x.abs().max()) if len(x) else 0.0
    if float(off.max()) > OFFSET or (spread > SCALES and large > SCALES):
        codes.append("input-scale")
        said.append(
            f"Inputs are badly scaled: standard deviations differ {spread:.3g}-fold, means lie up to {float(off.max()):.3g} "
            f"standard deviations from 0, values up to {large:.3g}; features.add(task, 'standardize') scales them."
        )
    leak = _leak(x, [torch.cat(parts[:2]), *parts[2:]])
    if leak:
        codes.append("leakage")
        said.append(f"{leak}: the statistics know the validation data; fit them on the training rows alone.")
    top = worst.argsort(descending=True)[:5].tolist()
    return InputReport(
        tuple(codes), tuple(said), tuple((i, float(mean[i]), float(std[i])) for i in top), condition(x),
        condition((x - mean) * _inverse(std)),
    )  # fmt: skip


def _leak(x: Tensor, parts: Sequence[Tensor]) -> str | None:
    """What about the statistics of all rows is too round to be chance; ``parts``: of validation, and perhaps of test."""
    for count in range(1, len(parts) + 1):
        whole = torch.cat([x, *parts[:count]])
        varying = whole.std(0) > 0
        if len(x) < LEAST or not bool(varying.any()):
            continue
        if any(_all(_standard(whole, c)[varying]) and not bool(_standard(x, c)[varying].any()) for c in (0, 1)):
            return "Every feature has mean 0 and standard deviation 1 over training and other rows together"
        many = torch.tensor([len(column.unique()) > 2 for column in whole.T]) & varying
        if _all(_unit(whole)[many]) and not _all(_unit(x)[many]):
            return "Every feature spans exactly [0, 1] over training and other rows together"
        if whole.shape[1] > 1 and _white(whole) < EXACT <= _white(x):
            return "The covariance is exactly the identity over training and other rows together"
    return None


def _all(marks: Tensor) -> bool:
    return marks.numel() > 0 and bool(marks.all())


def _standard(x: Tensor, correction: int) -> Tensor:
    """Which features have mean 0 and standard deviation 1."""
    return (x.mean(0).abs() < EXACT) & ((x.std(0, correction=correction) - 1).abs() < EXACT)


def _unit(x: Tensor) -> Tensor:
    """Which features span [0, 1]."""
    return (x.amin(0).abs() < EXACT) & ((x.amax(0) - 1).abs() < EXACT)


def _white(x: Tensor) -> float:
    """How far the covariance is from the identity."""
    centred = x - x.mean(0)
    return float((centred.T @ centred / len(x) - torch.eye(x.shape[1], dtype=x.dtype)).abs().max())
