"""Whether all features together moved: can a classifier tell the two samples apart, and how far are their kernel means?

Legend: N reference rows, M incoming rows, d features, B permutations.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import COUNT, NOT_NEGATIVE, check
from .logistic import auc, fit
from .pairs import LEVEL, Floats, pair, some_rows
from .standard import Standard, leading, products

ROWS = 20_000  # of a side, that the classifier sees; more would only tell smaller shifts from none
KERNEL_ROWS = 10_000  # of a side, that the kernel test sees
NUMBERS = 8_000_000  # of a side, that either sees
COMPONENTS = 16  # principal components, whose products are features too
PER_PRODUCT = 10  # training rows that each product takes
EXACT = 2000  # rows in all, up to which every pair's kernel is calculated
FREQUENCIES = 256  # random ones, that stand in for the kernel above
TOGETHER = 100  # permutations


@dataclass(frozen=True)
class JointTest:
    """Whether the samples differ jointly.

    Attributes:
        kind: ``classifier`` (statistic: area under the curve) or ``mmd`` (squared mean discrepancy, without bias).
        statistic: see kind.
        p: of "both sides come from one distribution".
        effect: classifier: standard deviations between two normal samples with this area; mmd: distance of the kernel
            means over the spread of the rows round them.
        alarm: p < level, and the effect at the gate where there is one.
        rows: that decided.
    """

    kind: str
    statistic: float
    p: float
    effect: float
    alarm: bool
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def classifier_test(
    reference_Nd: npt.ArrayLike, incoming_Md: npt.ArrayLike, *, level: float = 0.05, seed: int = 0, gate: float = 0.1
) -> JointTest:
    """Classifier two-sample test: trained on one half to tell the sides apart, judged on the other.

    A logistic regression on the standardized features, a feature for each that has missing values, and the products of
    the leading principal components (as many as there are rows for), so that it sees changed variances and correlations,
    not only means. Its weights have prior variance 1/features. p is that of the rank sum of the held-out scores (normal
    approximation with ties and continuity correction), which is valid however good the classifier is.

    Args:
        reference_Nd: rows that the model was made for, or its representation of them; NaN: missing.
        incoming_Md: new rows, the same features.
        level: share of false alarms.
        seed: of the halves, and of the rows where there are more than 20 000 of a side or 8 million numbers.
        gate: effect in standard deviations, below which there is no alarm: .1 is an area of .528.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(2, 600, 2))
        >>> y[:, 1] = 0.8 * y[:, 0] + 0.6 * y[:, 1]  # each feature is as before, but they are correlated
        >>> classifier_test(x, y).alarm, classifier_test(x, rng.normal(size=(600, 2))).alarm
        (True, False)

    Source: D. Lopez-Paz, M. Oquab, arXiv 1610.06545.
    """
    check("shift", "level", level, LEVEL)
    check("shift", "gate", gate, NOT_NEGATIVE)
    generator = np.random.default_rng(seed)
    z, n = _pooled(reference_Nd, incoming_Md, ROWS, generator)
    m = len(z) - n
    if min(n, m) < 2:
        return JointTest("classifier", 0.5, 1.0, 0.0, False, 0)
    train = n // 2 + m // 2
    k = min(COMPONENTS, int((math.sqrt(1 + 8 * train / PER_PRODUCT) - 1) / 2))
    if k:
        z = np.concatenate([z, products(leading(z, k, generator))], axis=1)
    first, second = generator.permutation(n), n + generator.permutation(m)
    model = fit(z[first[: n // 2]], z[second[: m // 2]], penalty=float(z.shape[1]))
    held = model.log_odds(z[first[n // 2 :]]), model.log_odds(z[second[m // 2 :]])
    area = auc(*held)
    p = _rank_sum_p(area, *held)
    from scipy.special import ndtri

    pairs = len(held[0]) * len(held[1])
    effect = math.sqrt(2) * float(ndtri(min(max(area, 0.5), 1 - 1 / (2 * pairs))))
    return JointTest("classifier", area, p, effect, p < level and effect >= gate, len(held[0]) + len(held[1]))


def _rank_sum_p(area: float, first: Floats, second: Floats) -> float:
    """Of areas as large, under all orders of the labels."""
    from scipy.special import ndtr

    n, m = len(first), len(second)
    _, ties = np.unique(np.concatenate([first, second]), return_counts=True)
    rows = n + m
    variance = n * m / 12 * (rows + 1 - float((ties**3.0 - ties).sum()) / (rows * (rows - 1)))
    return float(ndtr(-(n * m * (area - 0.5) - 0.5) / math.sqrt(variance))) if variance > 0 else 1.0


def mmd_test(
    reference_Nd: npt.ArrayLike, incoming_Md: npt.ArrayLike, *, level: float = 0.05, permutations: int = 499, seed: int = 0
) -> JointTest:  # fmt: skip
    """Maximum mean discrepancy with a Gaussian kernel, its p-value by permutation: (1 + #) / (1 + B).

    On standardized features; the kernel's width is the median distance of two rows. Up to 2000 rows in all every pair
    counts; above, 256 random frequencies stand in for the kernel, and of more than 10 000 rows a side a random part is
    looked at: the test then cannot see shifts too small to matter, which is why it has no gate.

    Args:
        reference_Nd: rows that the model was made for, or its representation of them; NaN: missing.
        incoming_Md: new rows, the same features.
        level: share of false alarms.
        permutations: B; the least p-value is 1 / (1 + B).
        seed: of the permutations, frequencies and rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, y = rng.normal(size=(2, 200, 3))
        >>> mmd_test(x, y).alarm, mmd_test(x, 1.5 * y).alarm
        (False, True)

    Source: A. Gretton et al., JMLR 13, 2012; the frequencies: A. Rahimi, B. Recht, NeurIPS 2007.
    """
    check("shift", "level", level, LEVEL)
    check("shift", "permutations", permutations, COUNT)
    generator = np.random.default_rng(seed)
    z, n = _pooled(reference_Nd, incoming_Md, KERNEL_ROWS, generator)
    m = len(z) - n
    width = _median_distance(z, generator)
    if min(n, m) < 2 or not width:
        return JointTest("mmd", 0.0, 1.0, 0.0, False, len(z))
    exact = len(z) <= EXACT
    if exact:
        half = np.exp(-_squared_distances(z) / (2 * width**2))
    else:
        angles = z @ (generator.normal(size=(z.shape[1], FREQUENCIES)) / width)
        half = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / math.sqrt(FREQUENCIES)

    def inner(u_BN: Floats, v_BN: Floats) -> Floats:
        """uᵀ K v, row by row."""
        mapped = u_BN @ half
        other = v_BN if exact else mapped if v_BN is u_BN else v_BN @ half
        found: Floats = np.einsum("bn,bn->b", mapped, other)
        return found

    sides = np.zeros((2, len(z)))
    sides[0, :n], sides[1, n:] = 1, 1
    within, between = inner(sides, sides), float(inner(sides[:1], sides[1:])[0])
    own = float(within[0] / n**2 + within[1] / m**2 - 2 * between / (n * m))
    signs = np.r_[np.full(n, 1 / n), np.full(m, -1 / m)]
    exceeded = 0
    for start in range(0, permutations, TOGETHER):
        count = min(TOGETHER, permutations - start)
        shuffled = generator.permuted(np.broadcast_to(signs, (count, len(z))), axis=1)
        exceeded += int((inner(shuffled, shuffled) >= own - 1e-12).sum())
    p = (1 + exceeded) / (1 + permutations)
    alike = (within - (n, m)) / ((n * (n - 1)), (m * (m - 1)))
    statistic = float(alike.sum()) - 2 * between / (n * m)
    spread = 1 - float(alike.mean())
    return JointTest("mmd", statistic, p, math.sqrt(max(0.0, statistic) / spread), p < level, len(z))


def _pooled(
    reference: npt.ArrayLike, incoming: npt.ArrayLike, rows: int, generator: np.random.Generator
) -> tuple[Floats, int]:
    """Both sides on common scales, one above the other, and how many rows are the reference's.

    The scales come from both sides: they do not know the labels, so every order of them stays as likely.
    """
    first, second = (some_rows(side, rows, NUMBERS, generator) for side in pair(reference, incoming))
    both = np.concatenate([first, second])
    return Standard.of(both)(both), len(first)


def _squared_distances(z: Floats) -> Floats:
    squares = np.einsum("nd,nd->n", z, z)
    found: Floats = np.maximum(squares[:, None] + squares - 2 * (z @ z.T), 0.0)
    return found


def _median_distance(z: Floats, generator: np.random.Generator) -> float:
    """Of two different rows; their root mean square where most are the same."""
    some = some_rows(z, 1000, NUMBERS, generator)
    squares = _squared_distances(some)[np.triu_indices(len(some), 1)]
    return math.sqrt(float(np.median(squares)) or float(squares.mean())) if len(squares) else 0.0
