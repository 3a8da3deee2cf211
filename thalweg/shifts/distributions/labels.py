"""Whether the classes are met in other proportions now, from a model's predictions alone: black box shift estimation.

Legend: N reference rows, M incoming rows, C classes, B resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import COUNT, NOT_NEGATIVE, BadData, check
from .categories import homogeneity
from .pairs import LEVEL, Floats

RESAMPLES = 300
SURE = 2.0  # the least singular value must exceed what sampling alone makes of zero, as often
NUMBERS = 4_000_000  # of resampled weights at once


@dataclass(frozen=True, eq=False)
class LabelShift:
    """The classes' shares then and now, if only they moved: p(x | y) as before.

    Attributes:
        reference: share of each class among the reference labels, (C,).
        incoming: its estimate among the incoming rows, (C,); NaN where it was refused.
        weights: incoming / reference, (C,); 0 for a class that the reference has not; NaN where it was refused.
        intervals: of ``incoming``, (C, 2), by resampling both samples; each holds for itself.
        p: of "the predictions fall into the classes as before".
        condition: of the confusion matrix P(prediction | class): largest over least singular value.
        effect: total variation between reference and incoming; where it was refused, between the predictions.
        alarm: p < level and effect ≥ gate.
        note: why it was refused, or what to mind; empty: nothing.
    """

    reference: Floats
    incoming: Floats
    weights: Floats
    intervals: Floats
    p: float
    condition: float
    effect: float
    alarm: bool
    note: str

    @property
    def refused(self) -> bool:
        """Whether the predictions do not tell the classes' shares."""
        return bool(np.isnan(self.incoming).any())

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}


def bbse(
    reference_predictions: npt.ArrayLike, reference_labels: npt.ArrayLike, incoming_predictions: npt.ArrayLike, classes: int, *,
    level: float = 0.05, gate: float = 0.05, seed: int = 0,
) -> LabelShift:  # fmt: skip
    """Black box shift estimation: the incoming classes' shares q solve A q = μ.

    A is P(prediction | class) on the reference, μ the mean prediction on the incoming rows, so that the weights q / share
    are C⁻¹ μ with the joint confusion matrix C = A diag(share). Shares below zero are cut and the others scaled to one.
    Refused where A is singular within its sampling error: its least singular value is below twice what sampling alone
    makes of zero.

    The reference must be rows that the model was not trained on: on those it looks too sure.

    Args:
        reference_predictions: class indices (N,), or probabilities (N, C).
        reference_labels: class indices (N,).
        incoming_predictions: like the reference's.
        classes: C.
        level: false alarms; 1 − level is the intervals' confidence.
        gate: total variation, below which there is no alarm.
        seed: of the resamples.

    Raises:
        BadData: predictions or labels that are none of the C classes, or do not fit each other.

    Example:
        >>> labels = np.repeat([0, 1], 500)
        >>> seen = bbse(labels, labels, np.repeat([0, 1], [200, 800]), 2)  # a perfect model
        >>> seen.incoming, seen.weights, seen.alarm
        (array([0.2, 0.8]), array([0.4, 1.6]), True)

    Source: Z. Lipton, Y.-X. Wang, A. Smola, arXiv 1802.03916.
    """
    check("shift", "classes", classes, COUNT)
    check("shift", "level", level, LEVEL)
    check("shift", "gate", gate, NOT_NEGATIVE)
    before, now = (
        _probabilities(name, given, classes)
        for name, given in (
            ("reference_predictions", reference_predictions),
            ("incoming_predictions", incoming_predictions),
        )
    )
    labels = _indices("reference_labels", np.asarray(reference_labels), classes)
    if len(labels) != len(before):
        raise BadData(f"bbse: {len(before)} reference predictions for {len(labels)} labels", "give a label for each")
    counts = np.stack([np.bincount(side.argmax(1), minlength=classes) for side in (before, now)])
    p = homogeneity(counts).p
    share = np.bincount(labels, minlength=classes) / len(labels)
    present = np.flatnonzero(share)
    confusion = _confusion(before, labels, np.ones((1, len(labels))), present)[0]
    singular = np.linalg.svd(confusion, compute_uv=False)
    noise = _noise(before, labels, confusion, present)
    if singular[-1] > max(SURE * noise, 1e-6):
        incoming = _solve(confusion[None], now.mean(0)[None], present)[0]
        resampled = _resampled(before, labels, now, present, np.random.default_rng(seed))
        intervals = np.quantile(resampled, [level / 2, 1 - level / 2], axis=0).T
        weights = np.divide(incoming, share, out=np.zeros(classes), where=share > 0)
        moved = incoming - share
        absent = ", ".join(str(k) for k in range(classes) if not share[k])
        note = f"No reference row of class {absent}: its share is taken to be 0 now too." if absent else ""
    else:
        incoming, weights, intervals = np.full(classes, np.nan), np.full(classes, np.nan), np.full((classes, 2), np.nan)
        moved = np.subtract(*(counts / counts.sum(1, keepdims=True)))
        note = (
            "The predictions do not tell the classes apart well enough to say their shares: the confusion matrix has the least "
            f"singular value {singular[-1]:.2g}; sampling alone makes {noise:.2g} of zero."
        )
    effect = float(np.abs(moved).sum() / 2)
    alarm = bool(p < level and effect >= gate)
    condition = float(singular[0] / singular[-1]) if singular[-1] > 0 else math.inf
    return LabelShift(share, incoming, weights, intervals, p, condition, effect, alarm, note)


def _indices(name: str, given: npt.NDArray[Any], classes: int) -> npt.NDArray[np.int64]:
    found = given.astype(np.int64) if given.ndim == 1 and given.dtype.kind in "biuf" else np.full(1, -1)
    if not len(found) or found.min() < 0 or found.max() >= classes or (found != given).any():
        raise BadData(
            f"bbse: {name} must be class indices from 0 to {classes - 1}", "count classes from 0; one per row"
        )
    return found


def _probabilities(name: str, given: npt.ArrayLike, classes: int) -> Floats:
    found = np.asarray(given)
    if found.ndim == 1:
        return np.eye(classes)[_indices(name, found, classes)]
    if found.ndim != 2 or found.shape[1] != classes or not len(found):
        raise BadData(
            f"bbse: {name} must be (rows,) or (rows, {classes}), got shape {found.shape}", "give one row each"
        )
    probabilities = found.astype(np.float64)
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(1), 1, atol=1e-3):
        raise BadData(f"bbse: {name} must be probabilities: rows ≥ 0 that sum to 1", "apply softmax to logits first")
    return probabilities


def _confusion(before: Floats, labels: npt.NDArray[np.int64], weights_BN: Floats, present: npt.NDArray[Any]) -> Floats:
    """P(prediction | class) of each weighting of the reference rows: (B, C, classes present)."""
    made = np.zeros((len(weights_BN), before.shape[1], len(present)))
    for k, label in enumerate(present):
        of = labels == label
        total = weights_BN[:, of].sum(1, keepdims=True)
        made[:, :, k] = weights_BN[:, of] @ before[of] / np.maximum(total, 1e-300)
    return made


def _noise(before: Floats, labels: npt.NDArray[np.int64], confusion: Floats, present: npt.NDArray[Any]) -> float:
    """About the largest singular value of the sampling error: the longest row's and the longest column's length.

    Each class's variance is of n + 1 rows, so that a class of one row is not taken for certain.
    """
    variance = np.empty_like(confusion)
    for k, label in enumerate(present):
        of = before[labels == label]
        square = (of**2).mean(0) - confusion[:, k] ** 2
        variance[:, k] = (np.maximum(square, 0) + 1 / (len(of) + 1) ** 2) / len(of)
    return math.sqrt(variance.sum(0).max()) + math.sqrt(variance.sum(1).max())


def _solve(confusion: Floats, mean: Floats, present: npt.NDArray[Any]) -> Floats:
    """The q of each A q = μ in the least squares sense, cut at zero and scaled to one: (B, C)."""
    found = np.maximum(np.einsum("bkc,bc->bk", np.linalg.pinv(confusion), mean), 0)
    shares = np.zeros(mean.shape)
    shares[:, present] = found / np.maximum(found.sum(1, keepdims=True), 1e-300)
    return shares


def _resampled(
    before: Floats,
    labels: npt.NDArray[np.int64],
    now: Floats,
    present: npt.NDArray[Any],
    generator: np.random.Generator,
) -> Floats:
    """The q of resampled rows, within each class of the reference and among the incoming: (B, C)."""
    found: list[Floats] = []
    some = max(1, NUMBERS // (len(before) + len(now)))
    while (done := sum(map(len, found))) < RESAMPLES:
        count = min(some, RESAMPLES - done)
        weights = np.zeros((count, len(before)))
        for label in present:
            of = np.flatnonzero(labels == label)
            weights[:, of] = _weights(count, len(of), generator)
        mean = _weights(count, len(now), generator) @ now / len(now)
        found.append(_solve(_confusion(before, labels, weights, present), mean, present))
    return np.concatenate(found)


def _weights(count: int, rows: int, generator: np.random.Generator) -> Floats:
    """How often each row is drawn, of as many draws as there are rows."""
    drawn = generator.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)
