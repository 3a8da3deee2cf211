"""Which features moved: a test for each, and what they say together.

Legend: N reference rows, M incoming rows, d features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import NOT_NEGATIVE, BadOption, check, one_of
from .categories import homogeneity
from .kolmogorov import distance
from .pairs import LEVEL, Floats, pair

CATEGORIES = 20  # distinct values, up to which a feature is one of categories
REPEATED = 5  # times that each of them occurs on average at least
BLOCK = 4_000_000  # numbers sorted at once


@dataclass(frozen=True)
class Summary:
    """One side of a feature. Over its finite values; NaN where there are none.

    Attributes:
        mean: of the values.
        sd: standard deviation.
        low: least value.
        high: largest value.
        median: middle value.
        missing: share of rows that are NaN.
        distinct: different values, infinite ones among them.
    """

    mean: float
    sd: float
    low: float
    high: float
    median: float
    missing: float
    distinct: int


@dataclass(frozen=True)
class FeatureTest:
    """Whether one feature moved.

    Attributes:
        name: of the feature.
        kind: ``numeric`` or ``categorical``.
        statistic: the Kolmogorov–Smirnov distance, or χ²; of the values, without the missing.
        p: of "both sides come from one distribution", of values and missing together.
        adjusted: the same, among all features.
        effect: size, in standard deviations of a normal feature that is shifted as visibly.
        alarm: adjusted < level and effect ≥ gate.
        reference: how the reference looks.
        incoming: how the incoming rows look.
    """

    name: str
    kind: str
    statistic: float
    p: float
    adjusted: float
    effect: float
    alarm: bool
    reference: Summary
    incoming: Summary

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def feature_tests(
    reference_Nd: npt.ArrayLike, incoming_Md: npt.ArrayLike, names: Sequence[str] | None = None, *,
    level: float = 0.05, method: str = "holm", gate: float = 0.1,
) -> list[FeatureTest]:  # fmt: skip
    """Whether each feature moved, with the family of all of them kept at ``level``.

    A feature of at most 20 distinct values, each five times on average, is categorical and tested by `homogeneity`; any
    other by the Kolmogorov–Smirnov distance, its p-value exact given the ties up to 4000 rows in all and the limit law at
    these ties above. Where rows are missing (NaN), their share is tested too: p = 1 − (1 − least of both)², which is exact
    because the two are independent when nothing moved. A feature that could not alarm whatever the labels, as a constant or
    a pixel that is rarely lit, is not of the family and costs the others nothing; its adjusted p-value is 1.
    No row is left out, whatever their number.

    The effect is δ = 2 Φ⁻¹((1 + D) / 2), the shift of a normal feature with the same distance D (total variation of
    categories, difference of missing shares), or |difference of means| / sd where that is more.

    Args:
        reference_Nd: rows that the model was made for; NaN: missing.
        incoming_Md: new rows, the same features.
        names: of the features; None: ``x0``, ``x1``, ...
        level: false alarms: of the whole family (``holm``), or among the alarms (``benjamini-hochberg``).
        method: how p-values are adjusted.
        gate: effect in standard deviations, below which a certain but trifling difference is no alarm.

    Raises:
        BadData: rows that cannot be compared.
        BadOption: names, level, method or gate.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> reference, incoming = rng.normal(size=(300, 3)), rng.normal(size=(300, 3)) + [0, 0, 1]
        >>> [test.alarm for test in feature_tests(reference, incoming)]
        [False, False, True]

    Source: S. Holm, Scandinavian Journal of Statistics 6, 1979; Y. Benjamini, Y. Hochberg, JRSS B 57, 1995; who is of the
    family: R. Tarone, Biometrics 46, 1990.
    """
    check("shift", "level", level, LEVEL)
    check("shift", "method", method, one_of("holm", "benjamini-hochberg"))
    check("shift", "gate", gate, NOT_NEGATIVE)
    reference, incoming = pair(reference_Nd, incoming_Md)
    d = reference.shape[1]
    names = [f"x{k}" for k in range(d)] if names is None else list(names)
    if len(names) != d:
        raise BadOption(f"shift: {len(names)} names for {d} features", "give one name per feature")
    found = []
    width = max(1, BLOCK // (len(reference) + len(incoming)))
    for start in range(0, d, width):
        block = slice(start, start + width)
        found += [
            _test(*sides) for sides in zip(_sorted(reference[:, block]), _sorted(incoming[:, block]), strict=True)
        ]
    tested = _able(np.array([one.least for one in found]), level, method)
    adjusted = np.ones(d)
    adjusted[tested] = adjust(np.array([one.p for one in found])[tested], method)
    alarms = [bool(q < level and one.effect >= gate) for one, q in zip(found, adjusted, strict=True)]
    return [
        FeatureTest(name, one.kind, one.statistic, one.p, float(q), one.effect, alarm, *one.sides)
        for name, one, q, alarm in zip(names, found, adjusted, alarms, strict=True)
    ]


def adjust(p_d: npt.ArrayLike, method: str = "holm") -> Floats:
    """p-values of a family, such that those below the level may be rejected at it.

    Args:
        p_d: of each test.
        method: ``holm`` keeps the chance of any false alarm at the level, whatever the dependence;
            ``benjamini-hochberg`` the expected share of false ones among the alarms, of tests that are independent or
            positively dependent.

    Example:
        >>> adjust([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_d, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    rank = np.arange(len(p))
    if method == "holm":
        raised = np.maximum.accumulate(p[order] * (len(p) - rank))
    else:
        raised = np.minimum.accumulate((p[order] * len(p) / (rank + 1))[::-1])[::-1]
    adjusted = np.empty(len(p))
    adjusted[order] = np.clip(raised, 0.0, 1.0)  # a p-value from a difference may be -1e-17
    return adjusted


def _able(least_d: Floats, level: float, method: str) -> npt.NDArray[np.bool_]:
    """Which tests could be below their share of the level: for the fewest k such that at most k can be below level / k."""
    if method != "holm":
        return least_d < level
    return next(able for k in range(1, len(least_d) + 1) if (able := least_d < level / k).sum() <= k)


def normal_shift(distance: float, rows: int) -> float:
    """Standard deviations by which two normal features differ whose total variation is ``distance``.

    Finite where the samples do not overlap at all: of so many rows, one less than half a row may.
    """
    from scipy.special import ndtri

    return float(2 * ndtri((1 + min(distance, 1 - 1 / (2 * rows))) / 2))


@dataclass(frozen=True)
class _Found:
    kind: str
    statistic: float
    p: float
    effect: float
    least: float
    sides: tuple[Summary, Summary]


def _sorted(rows_Nb: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.sort(np.ascontiguousarray(rows_Nb.T), axis=1)  # NaN come last


def _test(reference: npt.NDArray[Any], incoming: npt.NDArray[Any]) -> _Found:
    rows = len(reference), len(incoming)
    values = tuple(side[: np.searchsorted(side, np.nan)] for side in (reference, incoming))
    present = len(values[0]), len(values[1])
    sides = tuple(_summary(value, count) for value, count in zip(values, rows, strict=True))
    apart = distance(*values)
    distinct, total = len(apart.ends), sum(present)
    kind, statistic, effect, parts = "numeric", 0.0, 0.0, list[tuple[float, float]]()
    if all(present) and distinct > 1:
        if distinct <= CATEGORIES and total >= REPEATED * distinct:
            counts = np.diff(np.stack([apart.first, apart.ends - apart.first]), prepend=0)
            shares = counts / counts.sum(1, keepdims=True)
            kind, effect = "categorical", normal_shift(float(np.abs(shares[0] - shares[1]).sum() / 2), total)
            statistic, p, least = homogeneity(counts)
        else:
            statistic, p, effect = apart.value, apart.p(), normal_shift(apart.value, total)
            effect = max(effect, _means_apart(sides, present))
            least = 2 / math.comb(total, present[0]) if total < 50 else 0.0
        parts.append((p, least))
    elif distinct <= CATEGORIES and total >= REPEATED * distinct:
        kind = "categorical"
    if 0 < total < sum(rows):
        parts.append(homogeneity([[p, n - p] for p, n in zip(present, rows, strict=True)])[1:])
        effect = max(effect, normal_shift(abs(sides[0].missing - sides[1].missing), sum(rows)))
    p, least = (min(1.0, *of) for of in zip((1.0, 1.0), *parts, strict=True))
    if len(parts) == 2:
        p, least = (1 - (1 - x) ** 2 if x > 1e-9 else 2 * x for x in (p, least))
    return _Found(kind, statistic, p, effect, least, (sides[0], sides[1]))


def _summary(values: npt.NDArray[Any], rows: int) -> Summary:
    finite = values[np.isfinite(values)].astype(np.float64)
    distinct = int((values[1:] != values[:-1]).sum()) + 1 if len(values) else 0
    missing = 1 - len(values) / rows
    if not len(finite):
        return Summary(math.nan, math.nan, math.nan, math.nan, math.nan, missing, distinct)
    below, above = float(finite[(len(finite) - 1) // 2]), float(finite[len(finite) // 2])
    with np.errstate(over="ignore", invalid="ignore"):
        mean, sd = float(finite.mean()), float(finite.std(ddof=1)) if len(finite) > 1 else 0.0
    return Summary(mean, sd, float(finite[0]), float(finite[-1]), below + (above - below) / 2, missing, distinct)


def _means_apart(sides: tuple[Summary, ...], present: tuple[int, int]) -> float:
    """|difference of means| over the sd within the sides; 0 where there is none."""
    freedom = sum(present) - 2
    squares = sum((count - 1) * side.sd**2 for side, count in zip(sides, present, strict=True))
    if not freedom or not squares > 0:
        return 0.0
    return abs(sides[0].mean - sides[1].mean) / math.sqrt(squares / freedom)
