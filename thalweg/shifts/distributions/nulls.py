"""How often a test alarms where nothing moved: on random splits of the same rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import COUNT, BadData, check

Split = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float]


@dataclass(frozen=True, eq=False)
class Null:
    """What a test said of splits of the same rows.

    Attributes:
        p: its p-value on each split; of a family of features the least adjusted one.
        rows: on each side.
    """

    p: npt.NDArray[np.float64]
    rows: tuple[int, int]

    def rate(self, level: float = 0.05) -> float:
        """Share of splits with p < level."""
        return float((self.p < level).mean())

    def deviations(self, level: float = 0.05) -> float:
        """Standard deviations by which the rate is above the level; a test on discrete data may be far below."""
        return (self.rate(level) - level) / math.sqrt(level * (1 - level) / len(self.p))


def null(test: Split, rows: npt.ArrayLike, n: int, m: int | None = None, *, splits: int = 400, seed: int = 0) -> Null:
    """The test's p-values on random splits of the same rows into n and m.

    Where the rows are a model's own reference it says how far an alarm on them can be trusted. A split takes n + m of the
    rows without replacement; where there are not many times as many, the splits are alike, and the rate is of these rows.

    Args:
        test: of two samples: its p-value (a family's least adjusted one).
        rows: (N, d).
        n: rows of the first part.
        m: rows of the second; None: n.
        splits: how many.
        seed: of the splits.

    Example:
        >>> from thalweg.shifts.distributions.univariate import feature_tests
        >>> data = np.random.default_rng(0).normal(size=(4000, 5))
        >>> found = null(lambda a, b: min(t.adjusted for t in feature_tests(a, b)), data, 300, splits=100)
        >>> -3 < found.deviations() < 3
        True
    """
    m = n if m is None else m
    for name, value in (("n", n), ("m", m), ("splits", splits)):
        check("null", name, value, COUNT)
    data = np.asarray(rows)
    if len(data) < n + m:
        raise BadData(f"null: {n} + {m} rows of {len(data)}", "give more rows, or take fewer")
    found = np.empty(splits)
    for k in range(splits):
        drawn = np.random.default_rng([seed, k]).permutation(len(data))[: n + m]
        found[k] = test(data[drawn[:n]], data[drawn[n:]])
    return Null(found, (n, m))
