"""Whether inputs are on one scale, and whether their statistics know what they should not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..console import columns
from ..errors import BadData
from .transforms import FLOOR, WIDEST, inverse, rows_of

if TYPE_CHECKING:
    from ..task import Task

SCALES = 100.0  # between the largest and the smallest standard deviation of features: above, inputs are badly scaled
OFFSET = 10.0  # of a feature's mean from zero, in its standard deviations: the same
EXACT = 1e-5  # how near to a round number a statistic is that was made so
FEATURES = 8  # that are looked at first
LEAST = 20  # training rows, below which nothing is said about leaks


def condition(x: Tensor) -> float:
    """λmax/λmin of the Gram matrix XᵀX/N of rows, over the directions that vary: how long the first layer's valley is.

    Of more than `WIDEST` features, XXᵀ/N of as many rows is taken, which has the same eigenvalues but zeros.

    Example:
        >>> x = torch.tensor([[101.0, 101.0], [101.0, 99.0]])
        >>> round(condition(x)), round(condition(x - x.mean(0)))
        (40006, 1)
    """
    flat = x.double().flatten(1)
    flat = flat[:WIDEST] if flat.shape[1] > WIDEST else flat
    gram = flat.T @ flat if flat.shape[1] <= WIDEST else flat @ flat.T
    values = torch.linalg.eigvalsh(gram / len(flat))
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
    x, parts = _parts(task)
    codes, said = [], []
    if not all(part.isfinite().all() for part in (x, *parts)):
        codes.append("input-non-finite")
        said.append("Some inputs are not finite: fill them, or leave their rows out.")
        x = x[x.isfinite().all(1)]
        parts = [part[part.isfinite().all(1)] for part in parts]
    if len(x) < 2:
        return InputReport(tuple(codes), tuple(said), (), math.nan, math.nan)
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
        condition((x - mean) * inverse(std)),
    )  # fmt: skip


def _parts(task: Task) -> tuple[Tensor, list[Tensor]]:
    """The inputs of the training rows, and of the other splits, as rows of float64 numbers."""
    data = task.prepare()
    x = rows_of(data.train)
    if not x.is_floating_point():
        raise BadData("features: the inputs are not numbers but codes", "ask only of tasks with numbers as inputs")
    feeds = [data.select, data.judge, *([data.test] if data.test is not None else [])]
    return x.double().flatten(1), [rows_of(feed).double().flatten(1) for feed in feeds]


def knows_validation(task: Task) -> str | None:
    """What about a task's inputs shows that they were scaled with statistics that know its validation data; None: nothing.

    Raises:
        BadData: the inputs are not one tensor of numbers.
    """
    x, parts = _parts(task)
    return _leak(x, [torch.cat(parts[:2]), *parts[2:]])


def _leak(x: Tensor, parts: Sequence[Tensor]) -> str | None:
    """What about the statistics of all rows is too round to be chance; ``parts``: of validation, and perhaps of test."""
    for count in range(1, len(parts) + 1):
        whole = torch.cat([x, *parts[:count]])
        if len(x) < LEAST or not _rounded(whole):
            continue
        varying = whole.std(0) > 0
        if any(_all(_standard(whole, c)[varying]) and not bool(_standard(x, c)[varying].any()) for c in (0, 1)):
            return "Every feature has mean 0 and standard deviation 1 over training and other rows together"
        # What is bounded by nature, as a pixel, meets its bounds often; what was scaled does so once.
        once = ((whole < EXACT).sum(0) == 1) & ((whole > 1 - EXACT).sum(0) == 1)
        if _all(_unit(whole)[varying]) and bool((once & ~_unit(x)).any()):
            return "Every feature spans exactly [0, 1] over training and other rows together"
        if 1 < whole.shape[1] <= WIDEST and _white(whole) < EXACT <= _white(x):
            return "The covariance is exactly the identity over training and other rows together"
    return None


def _rounded(x: Tensor) -> bool:
    """Whether the first few features that vary have a variance of 1 or span [0, 1], as all have after scaling."""
    few = x[:, (x[0] != x[-1]) | (x[0] != x[len(x) // 2])][:, :FEATURES]
    one = any(((few.std(0, correction=c) - 1).abs() < EXACT).all() for c in (0, 1))
    return not few.shape[1] or bool(one) or bool(_unit(few).all())


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
    return float((centred.T @ centred / len(x) - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)).abs().max())
