"""How much higher the losses of one side are than those of the other, where some rows have no loss or no finite one."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .sample import Floats


class Rise(NamedTuple):
    """A difference of mean losses, after Welch.

    Attributes:
        before: mean of one side.
        after: mean of the other.
        error: of the difference.
        freedom: degrees of freedom of the error.
        rows: of both sides that have a loss.
    """

    before: float
    after: float
    error: float
    freedom: float
    rows: tuple[int, int]

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def p(self) -> float:
        """Two-sided; where no side has any spread, that of permuted rows: of all orders at most two are as far apart."""
        from scipy.stats import t

        if not math.isfinite(self.difference) or not self.difference:
            return 1.0
        if self.error > 0:
            return float(2 * t.sf(abs(self.difference) / self.error, self.freedom))
        n, m = self.rows
        return min(1.0, math.exp(math.log(2) + math.lgamma(n + 1) + math.lgamma(m + 1) - math.lgamma(n + m + 1)))

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """Of the difference."""
        from scipy.stats import t

        half = float(t.isf(level / 2, self.freedom)) * self.error
        return self.difference - half, self.difference + half


def comparable(before_N: Floats, after_M: Floats) -> tuple[Floats, Floats]:
    """Losses that can be averaged: one that is not finite becomes a number above every finite one of both sides.

    So a side with such rows never looks better than it is; how much worse it is cannot be said. NaN stays: no loss.

    Args:
        before_N: of one side, +inf where it is not finite, NaN where there is none.
        after_M: of the other.

    Example:
        >>> comparable(np.array([1.0, 2.0, np.nan]), np.array([1.0, np.inf]))
        (array([ 1.,  2., nan]), array([1., 4.]))
    """
    both = np.concatenate([before_N, after_M])
    finite = both[np.isfinite(both)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    worst = high + (max(high - low, abs(high)) or 1.0)
    capped = [np.where(np.isinf(x), worst, x) for x in (before_N, after_M)]
    return capped[0], capped[1]


def rise(before_N: Floats, after_M: Floats) -> Rise:
    """How much higher a mean is on one side than on the other, with its error; rows without a loss (NaN) are left out.

    Args:
        before_N: see `comparable`.
        after_M: the same.

    Example:
        >>> found = rise(np.array([0.0, 2.0]), np.array([3.0, 5.0]))
        >>> found.difference, round(found.error, 3), round(found.freedom, 3)
        (3.0, 1.414, 2.0)
    """
    sides = [x[~np.isnan(x)] for x in comparable(before_N, after_M)]
    rows = (len(sides[0]), len(sides[1]))
    if min(rows) < 2:
        return Rise(math.nan, math.nan, math.inf, 1.0, rows)
    a, b = (float(x.var(ddof=1)) / len(x) for x in sides)
    freedom = (a + b) ** 2 / (a**2 / (rows[0] - 1) + b**2 / (rows[1] - 1)) if a + b > 0 else 1.0
    return Rise(float(sides[0].mean()), float(sides[1].mean()), math.sqrt(a + b), freedom, rows)
