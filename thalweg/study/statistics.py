"""What may be said of R recipes on N seeds: intervals, decisions, the headline.

Letters: R recipes, N seeds, P recipes in the pool; i, j one recipe each. Scores: larger is better, NaN where a run is
missing or diverged. Intervals speak of new seeds of the same task, not of new examples. ``level`` of an interval is its
confidence (.95), ``level`` of a test its share of false alarms (.05).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from thalweg.errors import COUNT, NOT_NEGATIVE, POSITIVE, Allowed, BadOption, check, optional, unknown

Array = npt.NDArray[np.float64]
Interval = tuple[float, float]
Decision = Literal["better", "worse", "equivalent", "undecided"]

CONFIDENCE = Allowed("a confidence in [0.5, 1)", lambda v: 0.5 <= v < 1)
TEST_LEVEL = Allowed("a share of false alarms in (0, 0.5]", lambda v: 0 < v <= 0.5)
RATIO = 4.0  # variances further apart than this are not pooled
PAIR_RATIO = 3.0  # for the mean variance of a pair, between (1 + RATIO)/2, one such recipe in it, and RATIO, two
SURE = 0.01  # at this level a smaller variance, or one recipe's larger one, must be shown before it is acted on


@dataclass(frozen=True, eq=False)
class Layout:
    """The additive fit score = recipe + seed + residual, made by `fit_layout`."""

    scores_RN: Array  # without the seeds on which nothing ran
    pool: tuple[int, ...]  # the recipes whose residuals are pooled
    variance: float | None  # s² of one run, pooled; None where fewer than two recipes can be
    df: int  # of s², (P-1)(N-1)
    floor: float  # the least variance of one run that is believed


@dataclass(frozen=True)
class Difference:
    """Recipe i minus recipe j on their n common seeds."""

    mean: float
    interval: Interval  # where the true difference lies, at the level asked for
    p_better: float  # P(true difference > 0) under the t distribution centred on the mean
    se: float  # standard error of the mean; infinite where it cannot be estimated
    df: int  # of the standard error
    n: int
    pooled: bool  # whether se is the pooled one; False: the paired t


def _squares(x_PN: Array) -> Array:
    """Per recipe, the sum of its squared residuals from row and column means."""
    centred_PN = x_PN - x_PN.sum(0) / x_PN.shape[0]
    residual_PN = centred_PN - centred_PN.sum(1, keepdims=True) / x_PN.shape[1]
    return np.asarray(np.einsum("pn,pn->p", residual_PN, residual_PN))


def _mean_square(x_PN: Array, floor: float) -> float:
    return max(float(_squares(x_PN).sum() / ((x_PN.shape[0] - 1) * (x_PN.shape[1] - 1))), floor)


def _variance(d_N: Array) -> float:
    centred_N = d_N - d_N.sum() / len(d_N)
    return float(centred_N @ centred_N) / (len(d_N) - 1)


def _without_noisy(x_RN: Array, pool: list[int], floor: float) -> list[int]:
    """Take out, noisiest first, recipes whose variance is surely over RATIO times that of the rest (F at SURE / P)."""
    n = x_RN.shape[1]
    while (P := len(pool)) > 2 and n > 1:
        square_P = _squares(x_RN[pool]) * P / (P - 1)  # what the residual sum of squares loses without the row
        rest_P = (square_P.sum() * (P - 1) / P - square_P) / ((P - 2) * (n - 1))
        F_P = np.maximum(square_P / (n - 1), floor) / np.maximum(rest_P, max(floor, np.finfo(float).tiny))
        worst = int(F_P.argmax())
        if F_P[worst] <= RATIO or special.fdtrc(n - 1, (P - 2) * (n - 1), F_P[worst]) >= SURE / P:
            break
        pool = pool[:worst] + pool[worst + 1 :]
    return pool


def fit_layout(scores_RN: npt.ArrayLike, resolution: float = 0.0) -> Layout:
    """Fit the two-way layout: s² = Σ (x_rn - x̄_r - x̄_n + x̄)² / ((P-1)(N-1)).

    The pool holds the recipes without a NaN, less those whose variance is surely over 4 times that of the others (F
    test, level .01 shared among the recipes): one noisy recipe would widen all intervals and narrow its own.

    Leave out seeds that some recipe has yet to run. ``resolution`` is the smallest step of a score, 1 / judge examples
    for accuracy: three equal differences of a coarse score are no certainty, so the variance of a run counts as at
    least resolution²/12, that of rounding.

    Example:
        >>> fit = fit_layout([[0.91, 0.93, 0.92], [0.90, 0.91, 0.92], [0.80, 0.83, 0.82]])
        >>> fit.df, round(fit.variance ** 0.5, 4)
        (4, 0.0067)

    Source: H. Scheffé, The Analysis of Variance, 1959, chapter 4; one recipe's variance: G. Shukla, Heredity 29, 1972.
    """
    x_RN = np.array(scores_RN, dtype=float)
    if x_RN.ndim != 2 or not x_RN.shape[0]:
        raise BadOption(f"fit_layout: scores must be recipes × seeds, got shape {x_RN.shape}", "pass one row a recipe")
    check("fit_layout", "resolution", resolution, NOT_NEGATIVE)
    x_RN[~np.isfinite(x_RN)] = np.nan
    x_RN = x_RN[:, ~np.isnan(x_RN).all(0)]
    n = x_RN.shape[1]
    # The second term keeps the rounding of doubles from deciding between runs that are equal to 1e-17.
    floor = max(resolution**2 / 12, (1e-12 * float(np.nanmax(np.abs(x_RN)))) ** 2) if n else 0.0
    complete = [int(r) for r in np.flatnonzero(~np.isnan(x_RN).any(1))] if n else []
    pool = _without_noisy(x_RN, complete, floor)
    df = max(len(pool) - 1, 0) * max(n - 1, 0)
    return Layout(x_RN, tuple(pool), _mean_square(x_RN[pool], floor) if df else None, df, floor)


def _rest(fit: Layout, i: int, j: int, common: npt.NDArray[np.bool_]) -> float | None:
    """The variance of a run outside the pair, from the other recipes of the pool; None where there are none."""
    x_RN, others = fit.scores_RN, [k for k in fit.pool if k not in (i, j)]
    if len(others) > 1:
        return _mean_square(x_RN[others], fit.floor)
    if others:  # Grubbs: var(i-k) + var(j-k) - var(i-j) = 2 var(k)
        x, y, z = x_RN[[i, j, others[0]]][:, common]
        return max((_variance(x - z) + _variance(y - z) - _variance(x - y)) / 2, fit.floor)
    return None


@functools.lru_cache(maxsize=4096)
def critical(level: float, df: int, family: int = 2) -> float:
    """The quantile of Student's t, or, for all pairs of ``family`` > 2 recipes, of the studentized range over √2."""
    if family <= 2:
        return float(special.stdtrit(df, (1 + level) / 2))
    return float(stats.studentized_range.ppf(level, family, df)) / math.sqrt(2)


def scored(fit: Layout) -> list[int]:
    """The recipes with any score."""
    return [int(r) for r in np.flatnonzero((~np.isnan(fit.scores_RN)).any(1))]


def difference(fit: Layout, i: int, j: int, level: float = 0.95, simultaneous: bool = False) -> Difference:
    """Recipe i minus j on their common seeds: mean ± c·√(2 s²/n), c the quantile of t, or Tukey's over √2.

    s² is the pooled variance, or that of the pair, v = var(x_i - x_j)/2 (the paired t, df n-1), where variances differ
    by more than 4 times: v, a mean of two, exceeds 3 times the variance of the other recipes, or is surely (one-sided
    99 % limit) under s²/4. A small v of few seeds is mostly luck: trusted without that limit, intervals of 95 % cover
    91.6 % (7 recipes, 3 seeds). Measured against all recipes, v could not exceed R/2 times s², however noisy one is.

    ``simultaneous``: the interval holds jointly with those of all pairs (Tukey-Kramer; Games-Howell where unpooled).
    With fewer than two common seeds it is the whole line.

    Example:
        >>> d = difference(fit_layout([[3.0, 4.0, 6.0], [1.0, 3.0, 4.0]]), 0, 1)
        >>> round(d.mean, 3), tuple(round(x, 3) for x in d.interval), d.df, d.pooled
        (1.667, (0.232, 3.101), 2, False)

    Source: J. Tukey, The Problem of Multiple Comparisons, 1953; P. Games, J. Howell, J. Educational Statistics 1, 1976.
    """
    check("difference", "level", level, CONFIDENCE)
    d_N = fit.scores_RN[i] - fit.scores_RN[j]
    common = ~np.isnan(d_N)
    n = int(common.sum())
    mean = float(d_N[common].mean()) if n else math.nan
    if n < 2:
        return Difference(mean, (-math.inf, math.inf), p_better=0.5, se=math.inf, df=0, n=n, pooled=False)
    s2, df, pooled = max(_variance(d_N[common]) / 2, fit.floor), n - 1, False
    if fit.variance is not None and (rest := _rest(fit, i, j, common)) is not None:
        at_most = s2 * (n - 1) / special.chdtri(n - 1, 1 - SURE)
        if s2 <= PAIR_RATIO * rest and at_most >= fit.variance / RATIO:
            s2, df, pooled = fit.variance, fit.df, True
    se = math.sqrt(2 * s2 / n)
    half = critical(level, df, len(scored(fit)) if simultaneous else 2) * se
    p = float(special.stdtr(df, mean / se)) if se > 0 else 0.5
    return Difference(mean, (mean - half, mean + half), p, se, df, n, pooled)


def leader_of(fit: Layout) -> int | None:
    """The complete recipe with the best mean: no other can beat all. None without one, or without rivals."""
    sum_R = fit.scores_RN.sum(1)
    return int(np.nanargmax(sum_R)) if not np.isnan(sum_R).all() and len(scored(fit)) > 1 else None


def unbeaten(fit: Layout, leader: int, level: float) -> Iterator[int]:
    """The rivals that the leader does not beat at ``level``, each by its own interval."""
    rivals = (r for r in scored(fit) if r != leader)
    return (r for r in rivals if difference(fit, leader, r, 1 - level).interval[0] <= 0)


def headline(fit: Layout, level: float = 0.05) -> int | None:
    """The row of the recipe that beats every rival in a two-sided test at ``level`` each, or None.

    The claim is an intersection (better than A and better than B ...), so each test keeps the full level:
    P(false headline) <= level. With several looks, pass `nominal_level`. A recipe with a NaN cannot be the headline, as
    its mean leaves its failures out; rivals without any score are left out.

    Example:
        >>> headline(fit_layout([[0.91, 0.93, 0.92], [0.88, 0.89, 0.90], [0.80, 0.83, 0.82]]))
        0

    Source: R. Berger, Technometrics 24, 1982 (intersection-union tests).
    """
    check("headline", "level", level, TEST_LEVEL)
    leader = leader_of(fit)
    return None if leader is None or any(True for _ in unbeaten(fit, leader, level)) else leader


def decide(interval: Interval, delta: float = 0.0) -> Decision:
    """The first that fits: equivalent if the interval lies in [-delta, delta], better if above 0, worse if below.

    A sure difference that is surely smaller than ``delta``, the smallest interesting one, is thus equivalent.
    *Materially* better is a lower end above ``delta``.

    Example:
        >>> [decide(x, 0.2) for x in [(0.1, 0.9), (0.1, 0.2), (-0.1, 0.3), (-0.5, -0.1)]]
        ['better', 'equivalent', 'undecided', 'worse']
    """
    check("decide", "delta", delta, NOT_NEGATIVE)
    low, high = interval
    if -delta <= low and high <= delta:
        return "equivalent"
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def mean_interval(values: npt.ArrayLike, level: float = 0.95) -> Interval:
    """The t interval of one recipe's mean, x̄ ± t·s/√n over the values that are not NaN; n < 2: the whole line.

    To be labelled "normal theory": skewed scores are covered less often than ``level`` says.

    Example:
        >>> tuple(round(x, 3) for x in mean_interval([1.0, 2.0, 3.0]))
        (-0.484, 4.484)
    """
    check("mean_interval", "level", level, CONFIDENCE)
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    if len(x) < 2:
        return -math.inf, math.inf
    half = critical(level, len(x) - 1) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def kaplan_meier_median(times: npt.ArrayLike, censored: npt.ArrayLike) -> float | None:
    """The first time at which the Kaplan-Meier curve Π (1 - d_k/n_k) is at most 1/2; None where it stays above.

    ``times`` are samples or steps to the target, or, where ``censored``, those seen without reaching it.

    Example:
        >>> kaplan_meier_median([10, 20, 30, 30], [False, False, True, True]), kaplan_meier_median([9, 9], [True, True])
        (20.0, None)

    Source: E. Kaplan and P. Meier, J. American Statistical Association 53, 1958.
    """
    times_N, censored_N = np.asarray(times, dtype=float), np.asarray(censored, dtype=bool)
    if not len(times_N):
        return None
    curve = stats.ecdf(stats.CensoredData.right_censored(times_N, censored_N)).sf
    reached = np.flatnonzero(curve.probabilities <= 0.5 + 1e-9)
    return float(curve.quantiles[reached[0]]) if len(reached) else None


def smallest_difference(
    metric: str, judge_rows: int | None = None, target_sd: float | None = None, reference: float | None = None
) -> float:
    """The default δ, the smallest difference of a metric that is of interest, in units of the metric.

    accuracy, f1, auc, ece: max(.002, 1 / judge_rows). nll, loss: .01 nats. r2: .01. mae, rmse: .01 std(y). mse, and
    loss where ``target_sd`` = std(y) is given: .01 var(y). perplexity: .01 of ``reference``, the baseline's.

    Example:
        >>> smallest_difference("accuracy", 10_000), smallest_difference("accuracy", 100)
        (0.002, 0.01)
    """
    power = {"mae": 1, "rmse": 1, "mse": 2, "loss": 2 if target_sd is not None else 0, "nll": 0, "r2": 0}
    if metric in power:
        check("smallest_difference", "target_sd", target_sd, NOT_NEGATIVE if power[metric] else optional(NOT_NEGATIVE))
        return float(0.01 * (target_sd or 0.0) ** power[metric])
    if metric in ("accuracy", "f1", "auc", "ece"):
        check("smallest_difference", "judge_rows", judge_rows, COUNT)
        return max(0.002, 1 / (judge_rows or 1))
    if metric != "perplexity":
        raise unknown("smallest_difference", "metric", metric, [*power, "accuracy", "f1", "auc", "ece", "perplexity"])
    check("smallest_difference", "reference", reference, POSITIVE)
    return 0.01 * (reference or 0.0)
