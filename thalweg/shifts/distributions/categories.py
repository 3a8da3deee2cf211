"""Whether two samples fall into categories in the same proportions.

Legend: 2 samples, K categories.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

EXPECTED = 5.0  # rows of the smaller sample in a category, below which it is merged with another
EXACT = 10_000  # rows of the rarest row or column of a 2 × 2 table, up to which its p-value is the exact one


class Homogeneity(NamedTuple):
    """The χ² statistic, the p-value, and the least p-value that samples with these totals can have (0: it is tiny)."""

    statistic: float
    p: float
    least: float


def homogeneity(counts_2K: npt.ArrayLike) -> Homogeneity:
    """The χ² statistic and the p-value of "both samples have the same proportions".

    Categories in which the smaller sample has fewer than five expected rows are merged, rarest first; what to merge is
    decided on the pooled counts, which the labels do not change. Two categories are tested exactly (Fisher). Of more, the
    p-value is the larger of Pearson's and the likelihood ratio's with Williams's correction: the first is too small in
    the far tail of a rare category, where a thousand features are tested at once, the second where cells are empty.

    Args:
        counts_2K: rows of each sample in each category.

    Example:
        >>> found = homogeneity([[10, 20, 30], [20, 20, 20]])
        >>> round(found.statistic, 3), round(found.p, 4)
        (5.333, 0.07)

    Source: K. Pearson, 1900; R. Fisher, 1922; D. Williams, Biometrika 63, 1976.
    """
    counts = _merged(np.asarray(counts_2K, dtype=np.float64))
    sides, totals = counts.sum(1), counts.sum(0)
    if len(totals) < 2 or not sides.all():
        return Homogeneity(0.0, 1.0, 1.0)
    rows = float(sides.sum())
    expected = np.outer(sides, totals) / rows
    statistic = float(((counts - expected) ** 2 / expected).sum())
    if len(totals) == 2 and min(sides.min(), totals.min()) <= EXACT:
        return Homogeneity(statistic, *_fisher(counts))
    from scipy.special import chdtrc, xlogy

    freedom = len(totals) - 1
    likelihood = 2 * float(xlogy(counts, counts / expected).sum())
    shrunk = 1 + ((rows / sides).sum() - 1) * ((rows / totals).sum() - 1) / (6 * rows * freedom)
    p = max(chdtrc(freedom, statistic), chdtrc(freedom, likelihood / shrunk))
    return Homogeneity(statistic, float(p), 0.0)


def _merged(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    counts = counts[:, counts.sum(0) > 0]
    totals, sides = counts.sum(0), counts.sum(1)
    share = sides.min() / max(sides.sum(), 1.0)
    if len(totals) <= 2 or totals.min() * share >= EXPECTED:
        return counts
    order = np.argsort(totals, kind="stable")
    groups: list[list[int]] = [[]]
    for k in order.tolist():
        if groups[-1] and totals[groups[-1]].sum() * share >= EXPECTED:
            groups.append([])
        groups[-1].append(k)
    if len(groups) > 1 and totals[groups[-1]].sum() * share < EXPECTED:
        rest = groups.pop()
        groups[-1] += rest
    if len(groups) == 1:
        groups = [order[:-1].tolist(), order[-1:].tolist()]
    return np.stack([counts[:, group].sum(1) for group in groups], axis=1)


def _fisher(counts_22: npt.NDArray[Any]) -> tuple[float, float]:
    """The probability of all tables with these margins that are no more likely than this one, and than the least likely."""
    from scipy.special import gammaln

    if counts_22.sum(1).argmin():
        counts_22 = counts_22[::-1]
    if counts_22.sum(0).argmin():
        counts_22 = counts_22[:, ::-1]
    n, m = counts_22.sum(1)
    c, rows = counts_22[:, 0].sum(), counts_22.sum()
    k = np.arange(max(0.0, c - m), min(n, c) + 1)
    log = -gammaln(k + 1) - gammaln(n - k + 1) - gammaln(c - k + 1) - gammaln(m - c + k + 1)
    log += gammaln(n + 1) + gammaln(m + 1) + gammaln(c + 1) + gammaln(rows - c + 1) - gammaln(rows + 1)
    found = [math.fsum(np.exp(log[log <= own + 1e-7])) for own in (log[int(counts_22[0, 0] - k[0])], log.min())]
    return min(1.0, found[0]), min(1.0, found[1])
