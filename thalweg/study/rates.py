"""Choosing a learning rate from what was seen at one horizon: a quadratic in log10 of the rate, and where runs diverge.

Scores: larger is better, a sequence of seeds for each rate; a rate at which any run diverged is never chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from thalweg.errors import COUNT, NOT_NEGATIVE, POSITIVE, BadOption, check

Array = npt.NDArray[np.float64]
Divergences = Mapping[float, Sequence[bool]]
CLIFF = 10.0  # a fall this many times the usual fall next to the best is no part of the parabola
NEAR = 1.0  # decades below the edge of divergence within which the lower of two equal rates is safer


@dataclass(frozen=True)
class Choice:
    """The rate chosen, and how."""

    lr: float
    predicted: float  # score at ``lr``: of the fit, or the mean where ``lr`` was tested
    fitted: bool  # whether ``lr`` is the vertex of the fit; False: a tested rate
    at_border: Literal["low", "high"] | None  # the best tested rate has no worse (or diverging) one on this side
    edge: float | None  # rate at which divergence begins
    noise: float  # standard error of the mean of a rate


def _round(rate: float) -> float:
    return float(f"{rate:.3g}")


def grid(low: float, high: float, per_decade: int) -> list[float]:
    """The rates 10^(k / per_decade) from ``low`` to ``high``, to 3 digits; started at ``low`` if it is none of them.

    Example:
        >>> grid(1e-3, 1e-1, 2)
        [0.001, 0.00316, 0.01, 0.0316, 0.1]
    """
    check("grid", "low", low, POSITIVE)
    check("grid", "high", high, POSITIVE)
    check("grid", "per_decade", per_decade, COUNT)
    # A low of 3.16e-3 means 10^-2.5: starting from the rounded value, the grid would drift (9.99e-3, 3.16e-2 ...).
    start = math.log10(low) * per_decade
    start = round(start) if abs(start - round(start)) < 0.02 else start
    count = math.floor(math.log10(high) * per_decade - start + 0.02) + 1
    return [_round(10 ** ((start + k) / per_decade)) for k in range(count)]


def edge(rates: Sequence[float], diverged_by_rate: Divergences) -> float | None:
    """Where divergence begins: √(a·b), b the lowest rate that diverges and a the highest below it, which do not.

    ``diverged_by_rate`` holds whether each run at the rate diverged. None if nothing does; b if there is no a.

    Example:
        >>> round(edge([0.01, 0.1, 1.0], {0.01: [False], 0.1: [False], 1.0: [False, True]}), 3)
        0.316
    """
    diverging = [rate for rate in rates if any(diverged_by_rate.get(rate, ()))]
    if not diverging:
        return None
    below = [rate for rate in rates if rate < min(diverging)]
    return math.sqrt(max(below) * min(diverging)) if below else min(diverging)


def _noise(scores: Sequence[Sequence[float]]) -> float:
    """Standard error of a rate's mean, its variance pooled over the rates; 0 for single runs, which do not tell."""
    arrays = [np.asarray(values, dtype=float) for values in scores]
    df = sum(len(values) - 1 for values in arrays)
    if not df:
        return 0.0
    pooled = sum(float(np.square(values - values.mean()).sum()) for values in arrays) / df
    return math.sqrt(pooled / float(np.mean([len(values) for values in arrays])))


def choose(
    rates: Sequence[float],
    scores_by_rate: Mapping[float, Sequence[float]],
    diverged_by_rate: Divergences,
    edge: float | None = None,
    noise: float | None = None,
) -> Choice:
    """The vertex of a parabola in log10 of the rate through the mean scores of the best rate and its neighbours.

    The nearest five (three at least), without those below a cliff (a fall over 10 times the usual one near the best),
    which bracket the best as a diverging rate does. The vertex stays between the best rate's neighbours, and does not
    go from the best rate towards a cliff or divergence. Without a bracket, three points or a maximum, the best tested
    rate is taken. While ``edge`` (or where training collapses with finite numbers) is within a decade, the next lower
    tested rate is taken if it loses at most ``noise``.

    Args:
        rates: tested rates, in any order.
        scores_by_rate: for each rate the scores of its runs; NaN where there is none.
        diverged_by_rate: for each rate whether each run diverged.
        edge: where divergence begins; default: `edge` of the rates.
        noise: standard error of the mean score of a rate; default: pooled over the rates, 0 for single runs.

    Returns:
        The `Choice`.

    Raises:
        BadOption: no rate has a score without divergence.

    Example:
        >>> scores = {0.001: [0.80], 0.01: [0.90], 0.1: [0.84]}
        >>> choice = choose(list(scores), scores, {})
        >>> round(choice.lr, 4), round(choice.predicted, 3), choice.fitted
        (0.0133, 0.901, True)
    """
    tested = sorted(set(rates))
    diverging = {rate for rate in tested if any(diverged_by_rate.get(rate, ()))}
    finite = {rate: [s for s in scores_by_rate.get(rate, ()) if math.isfinite(s)] for rate in tested}
    usable = [rate for rate in tested if finite[rate] and rate not in diverging]
    if not usable:
        raise BadOption("choose: no rate has a score without divergence", "test lower rates")
    edge = _edge(tested, diverged_by_rate) if edge is None else edge
    noise = _noise([finite[rate] for rate in usable]) if noise is None else noise
    x = np.log10(usable)
    y = np.array([np.mean(finite[rate]) for rate in usable])
    best = int(y.argmax())
    closed = any(rate > usable[best] for rate in diverging)
    at_border: Literal["low", "high"] | None = None
    if best == 0:
        at_border = "low"
    elif best == len(usable) - 1 and not closed:
        at_border = "high"
    lr, predicted, fitted = usable[best], float(y[best]), False
    vertex = None if at_border else _vertex(x, y, best, noise)
    if vertex is not None:
        lr, predicted, fitted = float(10 ** vertex[0]), vertex[1], True
    top = predicted
    limit = _collapse(usable, y, best, noise) if edge is None else edge
    for rate, mean in [(r, m) for r, m in zip(usable[::-1], y[::-1].tolist(), strict=True) if r < lr]:
        if limit is None or math.log10(limit / lr) > NEAR or mean < top - noise:
            break
        lr, predicted, fitted = rate, mean, False
    return Choice(lr, predicted, fitted, at_border, edge, noise)


def _collapse(usable: Sequence[float], y: Array, best: int, noise: float) -> float | None:
    """Where, above the best rate, training stays finite and learns little: the score is nearer to the worst."""
    low = float(y[best]) - max(10 * noise, float(y[best] - y.min()) / 2)
    beyond = [i for i in range(best + 1, len(usable)) if y[i] < low]
    return math.sqrt(usable[beyond[0] - 1] * usable[beyond[0]]) if beyond else None


_edge = edge  # `choose` has an argument of that name


def _vertex(x: Array, y: Array, best: int, noise: float) -> tuple[float, float] | None:
    """Place and height of the maximum of the parabola near the best point; None where there is none."""
    start = max(min(best - 2, len(x) - 5), 0)
    window = range(start, min(start + 5, len(x)))
    falls = {k: float(y[best] - y[k]) for k in window if k != best}
    ordered = sorted(falls.values())
    # Of four falls of a parabola none exceeds 9 times the second smallest; of fewer, any multiple of the smallest may.
    usual = max(ordered[1] if len(ordered) > 3 else ordered[0], 2 * noise)
    keep = [k for k in window if k == best or falls[k] <= CLIFF * usual]
    if len(keep) < 3:
        return None
    a, b, c = np.polyfit(x[keep] - x[best], y[keep], 2)
    if a >= 0:
        return None
    low = x[best - 1] if best - 1 in keep else x[best]
    high = x[best + 1] if best + 1 in keep else x[best]
    at = float(np.clip(-b / (2 * a), low - x[best], high - x[best]))
    return float(x[best]) + at, float(a * at**2 + b * at + c)


def _curve(rates: Sequence[float], scores: Sequence[float]) -> tuple[Array, Array]:
    """log10 of the rates in order, and the scores; NaN and infinities become NaN."""
    pairs = sorted(zip(rates, scores, strict=True))
    y = np.array([score for _, score in pairs], dtype=float)
    return np.log10([rate for rate, _ in pairs]), np.where(np.isfinite(y), y, np.nan)


def robustness(rates: Sequence[float], scores: Sequence[float], delta: float) -> float:
    """How many decades of rates around the best score within ``delta`` of it, between tested rates linear in log10.

    ``scores`` are means, NaN where runs diverged. Counts the stretch that holds the best, no farther than tested and up
    to the last rate before one that diverged: at least this wide. 0 if nothing scored.

    Example:
        >>> round(robustness([0.001, 0.01, 0.1], [0.7, 0.9, 0.8], delta=0.1), 6)
        1.5
    """
    found = stretch(rates, scores, delta)
    return 0.0 if found is None else math.log10(found[1]) - math.log10(found[0])


def stretch(rates: Sequence[float], scores: Sequence[float], delta: float) -> tuple[float, float] | None:
    """The rates between which the score is within ``delta`` of the best, as `robustness` counts them; None: no scores.

    Example:
        >>> low, high = stretch([0.001, 0.01, 0.1], [0.7, 0.9, 0.8], delta=0.1)
        >>> round(low, 5), round(high, 5)
        (0.00316, 0.1)
    """
    check("robustness", "delta", delta, NOT_NEGATIVE)
    x, y = _curve(rates, scores)
    if np.isnan(y).all():
        return None
    best = int(np.nanargmax(y))
    least = y[best] - delta

    def reach(step: int) -> float:
        k = best
        while 0 <= k + step < len(y) and y[k + step] >= least:
            k += step
        beyond = k + step
        if not 0 <= beyond < len(y) or np.isnan(y[beyond]):
            return float(x[k])
        return float(x[k] + (x[beyond] - x[k]) * (y[k] - least) / (y[k] - y[beyond]))

    return 10 ** reach(-1), 10 ** reach(1)


def expected_over_decade(
    rates: Sequence[float], scores: Sequence[float], lr: float, diverged_score: float = -math.inf
) -> float | None:
    """The expected score if the rate is off by up to a decade: the curve's mean over log10 lr ± 1, as far as tested.

    ``scores`` are means, NaN where runs diverged, which counts as ``diverged_score`` from the middle (in log10) between
    the rates on. None if ``lr`` lies outside the tested rates or fewer than two were tested.

    Example:
        >>> round(expected_over_decade([0.001, 0.01, 0.1], [0.7, 0.9, 0.8], lr=0.01), 3)
        0.825
    """
    check("expected_over_decade", "lr", lr, POSITIVE)
    x, y = _curve(rates, scores)
    at = math.log10(lr)
    if len(x) < 2 or not x[0] - 1e-9 <= at <= x[-1] + 1e-9:
        return None
    low, high = max(at - 1, float(x[0])), min(at + 1, float(x[-1]))
    total = 0.0
    for k in range(len(x) - 1):
        left, right = max(low, float(x[k])), min(high, float(x[k + 1]))
        if right <= left:
            continue
        if np.isfinite(y[k : k + 2]).all():
            total += (right - left) * float(np.interp((left + right) / 2, x[k : k + 2], y[k : k + 2]))
            continue
        middle = min(max(float(x[k] + x[k + 1]) / 2, left), right)
        for width, score in ((middle - left, y[k]), (right - middle, y[k + 1])):
            total += width * (float(score) if np.isfinite(score) else diverged_score) if width > 0 else 0.0
    return total / (high - low)
