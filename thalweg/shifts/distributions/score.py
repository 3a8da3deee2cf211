"""Score test: whether two sets of gradients, taken at the same parameters, have the same mean.

At a minimum the mean gradient is zero. Where the data move so that the minimum moves too, the mean gradient of the new
rows differs from that of held-out rows of the reference.

Legend: N reference gradients, M incoming ones, k numbers of each, q directions, B permutations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FRACTION, BadData, BadOption, check, one_of

Floats = npt.NDArray[np.float64]
ENOUGH = 10  # rows of each side for each number, and one more: from there on F is close whatever the gradients' law
PERMUTATIONS, CHUNK = 1999, 100
MOST = 2000  # rows of each side whose products with each other are held
DEPENDENT = 1e-10  # smallest eigenvalue of a correlation matrix that still counts


@dataclass(frozen=True)
class ScoreTest:
    """Whether the mean gradient is another one.

    Attributes:
        statistic: ``projected`` and ``full``: T²; ``permutation``: the estimate of ‖difference of the means‖², which has
            no bias and may be below zero.
        p: its p-value.
        kind: ``projected``, ``full`` or ``permutation``.
        rows: reference and incoming gradients that were compared.
        alarm: p < level.
        why: of the kind and of the law that p is from.
    """

    statistic: float
    p: float
    kind: str
    rows: tuple[int, int]
    alarm: bool
    why: str

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"rows": list(self.rows)}


def score_test(
    reference_gradients_Nk: npt.ArrayLike,
    incoming_gradients_Mk: npt.ArrayLike,
    *,
    kind: str = "auto",
    directions_qk: npt.ArrayLike | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> ScoreTest:
    """Whether two sets of gradients have the same mean: δ = ḡ_incoming − ḡ_reference is zero.

    ``projected`` and ``full``: T² = δᵀ (S/N + S'/M)⁻¹ δ, which for N = M is Hotelling's; its law is that of F with degrees
    of freedom that allow for unlike covariances, or, with few rows, that of permuted rows. ``permutation``:
    U = mean of gᵢᵀgⱼ + mean of g'ᵢᵀg'ⱼ − 2 · mean of gᵢᵀg'ⱼ over pairs of different rows, over its standard error, against
    permuted rows: for more numbers than rows, where no covariance can be inverted. Permuted rows give exact levels where
    both sides are drawn alike; where only the means are alike, levels hold for many rows (of ``permutation``: as many on
    both sides, or covariances in proportion).

    Args:
        reference_gradients_Nk: of rows, or of batches of as many rows each, that took no part in training.
        incoming_gradients_Mk: the same of the new data.
        kind: ``full``: all numbers; ``projected``: the numbers along the directions (without ``directions_qk`` the
            gradients are projections already); ``permutation``; ``auto`` chooses by the rows.
        directions_qk: chosen without the rows that are tested.
        level: of the alarm.
        seed: of the permutations.

    Raises:
        BadData: fewer than two rows on a side, numbers that are not finite, or too few rows for the kind.
        BadOption: an argument outside what is allowed.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = score_test(rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) + [0.5, 0, 0])
        >>> found.kind, found.alarm
        ('full', True)

    Source: F with unlike covariances: K. Krishnamoorthy, J. Yu, Statistics and Probability Letters 66, 2004; U: S. Chen,
    Y. Qin, Annals of Statistics 38, 2010; permuted rows for unlike laws: E. Chung, J. Romano, Annals of Statistics 41, 2013.
    """
    check("score_test", "kind", kind, one_of("auto", "projected", "full", "permutation"))
    check("score_test", "level", level, FRACTION)
    a, b = _rows(reference_gradients_Nk, "reference"), _rows(incoming_gradients_Mk, "incoming")
    if a.shape[1] != b.shape[1]:
        raise BadData(f"score_test: {a.shape[1]} numbers against {b.shape[1]}", "give gradients of the same parameters")
    if directions_qk is not None:
        directions = np.atleast_2d(np.asarray(directions_qk, np.float64))
        if directions.shape[1] != a.shape[1]:
            raise BadOption(
                f"score_test: directions of {directions.shape[1]} numbers, gradients of {a.shape[1]}", "a row each"
            )
        if kind in ("auto", "projected"):
            a, b = a @ directions.T, b @ directions.T
    both = np.concatenate([a, b])
    moving = both.min(0) < both.max(0)
    if not moving.any():
        return ScoreTest(
            0.0, 1.0, "full" if kind == "auto" else kind, (len(a), len(b)), False, "All gradients are equal."
        )
    center, extent = both.mean(0), (both.max(0) - both.min(0))[moving]
    wide = [(x - center)[:, moving] / extent.max() for x in (a, b)]  # keeps the proportions, which U needs
    unit = [x * (extent.max() / extent) for x in wide]
    wanted, short = ("full" if directions_qk is None else "projected") if kind == "auto" else kind, min(len(a), len(b))
    numbers = int(moving.sum())
    if wanted != "permutation":
        why = _unfit(unit, wanted == "full" and kind == "auto")
        if why and kind != "auto":
            raise BadData(f"score_test: {why}", 'use kind="permutation"')
        if not why:
            if short >= ENOUGH * (numbers + 1):
                return _by_f(unit, wanted, level)
            return _by_permutation(unit, wanted, level, seed)
    else:
        why = "asked for."
    return _by_distance(wide, float(extent.max()), level, seed, why)


def _rows(values: npt.ArrayLike, what: str) -> Floats:
    found = np.asarray(values, np.float64)
    if found.ndim != 2 or len(found) < 2 or not found.shape[1]:
        raise BadData(f"score_test: {what} gradients of shape {found.shape}", "give two rows or more of numbers")
    if not np.isfinite(found).all():
        raise BadData(f"score_test: {what} gradients are not all finite", "look at the losses of these rows first")
    return found


def _unfit(unit: list[Floats], plenty: bool) -> str:
    """Why no covariance can be inverted, or, where that is asked, why there are too few rows for F."""
    short, numbers = min(map(len, unit)), unit[0].shape[1]
    needed = ENOUGH * (numbers + 1) if plenty else numbers + 2
    if short < needed:
        return f"{short} rows on a side, {numbers} numbers need {needed}."
    inner = [np.atleast_2d(np.cov(x, rowvar=False)) / len(x) for x in unit]
    total = inner[0] + inner[1]
    own = np.sqrt(np.diag(total))
    if not own.all() or float(np.linalg.eigvalsh(total / np.outer(own, own))[0]) < DEPENDENT:
        return "the covariance is singular."
    return ""


def _by_f(unit: list[Floats], kind: str, level: float) -> ScoreTest:
    from scipy.stats import f

    (n, k), m = unit[0].shape, len(unit[1])
    parts = [np.atleast_2d(np.cov(x, rowvar=False)) / len(x) for x in unit]
    delta = unit[1].mean(0) - unit[0].mean(0)
    total = parts[0] + parts[1]
    statistic = float(delta @ np.linalg.solve(total, delta))
    spread = 0.0
    for part, rows in zip(parts, (n, m), strict=True):
        share = np.linalg.solve(total, part)
        spread += float(np.trace(share @ share) + np.trace(share) ** 2) / (rows - 1)
    degrees = (k + k * k) / spread
    p = float(f.sf(statistic * (degrees - k + 1) / (degrees * k), k, degrees - k + 1))
    why = f"{min(n, m)} rows on a side for {k} numbers: F with {k} and {degrees - k + 1:.0f} degrees of freedom."
    return ScoreTest(statistic, p, kind, (n, m), p < level, why)


def _by_permutation(unit: list[Floats], kind: str, level: float, seed: int) -> ScoreTest:
    n, m, k = len(unit[0]), len(unit[1]), unit[0].shape[1]
    x = np.concatenate(unit)
    squares = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    whole, whole_squares = x.sum(0), squares.sum(0)

    def statistics(first_Bn: Floats) -> Floats:
        """T² of some divisions of the rows; both sums of squares follow from one."""
        total, delta = np.zeros((len(first_Bn), k, k)), np.zeros((len(first_Bn), k))
        sums, moments = first_Bn @ x, first_Bn @ squares
        for rows, s, q, sign in ((n, sums, moments, -1), (m, whole - sums, whole_squares - moments, 1)):
            mean = s / rows
            inner = q.reshape(-1, k, k) / rows - mean[:, :, None] * mean[:, None, :]
            total, delta = total + inner / (rows - 1), delta + sign * mean
        found: Floats = (delta[:, None, :] @ np.linalg.pinv(total, hermitian=True) @ delta[:, :, None])[:, 0, 0]
        return found

    statistic, p = _against_permuted(statistics, n, m, seed)
    why = f"{min(n, m)} rows on a side for {k} numbers: too few for F, {PERMUTATIONS} permutations of the rows."
    return ScoreTest(statistic, p, kind, (n, m), p < level, why)


def _by_distance(wide: list[Floats], length: float, level: float, seed: int, why: str) -> ScoreTest:
    rng = np.random.default_rng(seed)
    kept = [x if len(x) <= MOST else x[np.sort(rng.permutation(len(x))[:MOST])] for x in wide]
    n, m = map(len, kept)
    x = np.concatenate(kept)
    gram = x @ x.T
    both, own = (gram, gram * gram), (gram.diagonal(), gram.diagonal() ** 2)

    def pairs(first_Bn: Floats, products: Floats, diagonal: Floats) -> tuple[Floats, Floats, Floats]:
        """Means of products over pairs of different rows: both of the first side, both of the second, one of each."""
        half = first_Bn @ products
        inner, across = (half * first_Bn).sum(1), (half * (1 - first_Bn)).sum(1)
        mine = first_Bn @ diagonal
        other = products.sum() - inner - 2 * across - (diagonal.sum() - mine)
        return (inner - mine) / (n * (n - 1)), other / (m * (m - 1)), across / (n * m)

    def distances(first_Bn: Floats) -> Floats:
        a, b, c = pairs(first_Bn, both[0], own[0])
        found: Floats = a + b - 2 * c
        return found

    def statistics(first_Bn: Floats) -> Floats:
        a, b, c = pairs(first_Bn, both[1], own[1])
        error = np.sqrt(2 * a / (n * (n - 1)) + 2 * b / (m * (m - 1)) + 4 * c / (n * m))
        return np.divide(distances(first_Bn), error, out=np.zeros(len(error)), where=error > 0)

    first = (np.arange(n + m) < n).astype(np.float64)[None]
    _, p = _against_permuted(statistics, n, m, seed)
    why = f"{why} {PERMUTATIONS} permutations of the rows."
    return ScoreTest(
        float(distances(first)[0]) * length**2, p, "permutation", (n, m), p < level, why[0].upper() + why[1:]
    )


def _against_permuted(statistics: Callable[[Floats], Floats], n: int, m: int, seed: int) -> tuple[float, float]:
    """The statistic of the rows as they are, and the share of divisions of them, this one included, with as large a one."""
    observed = float(statistics((np.arange(n + m) < n).astype(np.float64)[None])[0])
    as_large = 1
    for first in _divisions(n, m, seed):
        as_large += int((statistics(first) >= observed - 1e-9 * abs(observed)).sum())
    return observed, as_large / (PERMUTATIONS + 1)


def _divisions(n: int, m: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    for start in range(0, PERMUTATIONS, CHUNK):
        drawn = rng.random((min(CHUNK, PERMUTATIONS - start), n + m))
        yield (np.argsort(np.argsort(drawn, 1), 1) < n).astype(np.float64)
