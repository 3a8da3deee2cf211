"""Whether rows drift over their own order, as they do in the course of time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..sample import Floats
from .joint import classifier_test

LEAST = 100  # rows in which an order is looked for
BLOCKS = (
    0.5  # of the changes of class that a random order has; sorted rows have fewer, also by a class that is predicted
)
VISIBLE = 0.6  # area under the curve of telling the first half from the second, from which drift is named


@dataclass(frozen=True)
class Drift:
    """How well the first half of rows is told from the second.

    Attributes:
        auc: area under the curve of a classifier that had no part in these rows.
        p: of "the order means nothing".
        alarm: whether they drift.
        blocks: the rows are sorted by a quantity or come in blocks of a class, which is no drift.
    """

    auc: float
    p: float
    alarm: bool
    blocks: bool


def drift(
    features_Md: Floats, labels_M: npt.NDArray[Any] | None, *, level: float = 0.05, seed: int = 0
) -> Drift | None:
    """Compare the first half of rows with the second; None for too few.

    Args:
        features_Md: of the rows, in their order.
        labels_M: classes or targets; sorted ones are no drift.
        level: of the alarm.
        seed: of the classifier's folds.
    """
    rows = len(features_Md)
    if rows < LEAST:
        return None
    found = classifier_test(features_Md[: rows // 2], features_Md[rows // 2 :], level=level, seed=seed)
    blocks = labels_M is not None and sorted_by(labels_M.astype(np.float64))
    alarm = found.alarm and found.statistic >= VISIBLE and not blocks
    return Drift(float(found.statistic), float(found.p), bool(alarm), blocks)


def sorted_by(values: Floats) -> bool:
    """Whether rows come sorted by a quantity, or in blocks of a class, rather than in the course of time.

    Example:
        >>> sorted_by(np.repeat([0.0, 1.0, 2.0], 50)), sorted_by(np.random.default_rng(0).normal(size=150))
        (True, False)
    """
    values = values[~np.isnan(values)]
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2 or len(values) < 10:
        return False
    if len(distinct) <= max(2, len(values) // 10):
        changes = float(np.mean([a != b for a, b in pairwise(values.tolist())]))
        return changes < BLOCKS * (1 - float(((counts / len(values)) ** 2).sum()))
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return abs(float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])) > 0.95
