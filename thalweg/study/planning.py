"""How many seeds decide, and how often one may look at them while they come in."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, special, stats

from thalweg.errors import COUNT, NOT_NEGATIVE, check

from .statistics import TEST_LEVEL, Layout, critical, decide, difference, leader_of, scored, unbeaten

MOST_SEEDS = 10_000


@functools.cache
def nominal_level(look_count: int, level: float = 0.05) -> float:
    """The level 2Φ(-c) of each of K equally spaced looks, planned before the first, that keeps ``level`` over all.

    c solves P(|S_k| > c √k for any k <= K) = level, S_k a sum of k standard normals, by integrating its density look by
    look over |S_k| <= c √k. Returns .05, .0294, .0221, .0182, .0158 for K = 1 ... 5. With t tests of few seeds the
    level over all is .053 for 5 seeds a look, .056 for 3.

    Example:
        >>> round(nominal_level(4), 4)
        0.0182

    Source: S. Pocock, Biometrika 64, 1977, table 1; the integral: P. Armitage et al., J. R. Statist. Soc. A 132, 1969.
    """
    check("nominal_level", "look_count", look_count, COUNT)
    check("nominal_level", "level", level, TEST_LEVEL)
    nodes, weights = np.polynomial.legendre.leggauss(80)

    def excess(c: float) -> float:
        u, density = c * nodes, stats.norm.pdf(c * nodes)
        for k in range(2, look_count + 1):
            x = c * math.sqrt(k) * nodes
            density, u = stats.norm.pdf(x[:, None] - u) @ (density * weights * c * math.sqrt(k - 1)), x
        return level - 1 + float(density @ weights) * c * math.sqrt(look_count)

    return float(2 * special.ndtr(-optimize.brentq(excess, 0.1, 10.0)))


def _power(mean: float, sd: float, n: int, df: int, level: float) -> float:
    """P(t' > t) with t' noncentral, df and |mean|·√n/sd: the difference is found, with the right sign."""
    # Far out, SciPy's noncentral t is NaN where it should be 0.
    below = special.nctdtr(df, abs(mean) * math.sqrt(n) / sd, special.stdtrit(df, 1 - level / 2))
    return 1 - float(np.nan_to_num(below))


def _fewest(start: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest n from ``start`` to MOST_SEEDS that is enough; from there on every n is."""
    n = start + bisect.bisect_left(range(start, MOST_SEEDS + 1), True, key=enough)
    return n if n <= MOST_SEEDS else None


def seeds_needed(
    difference_mean: float, sd_of_difference: float, level: float = 0.05, power: float = 0.8
) -> int | None:
    """The fewest seeds, in all, with which the paired t test at ``level`` finds a difference: P(t' > t) >= power.

    t' is noncentral, shifted by mean·√n/sd; sd is that of a seed's difference, √2 σ for independent runs. None above
    10 000 seeds.

    Example:
        >>> seeds_needed(0.5, 0.25 * 2**0.5)
        7

    Source: J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2.
    """
    check("seeds_needed", "level", level, TEST_LEVEL)
    check("seeds_needed", "sd_of_difference", sd_of_difference, NOT_NEGATIVE)
    if not sd_of_difference or not difference_mean:
        return 2 if difference_mean else None
    return _fewest(2, lambda n: _power(difference_mean, sd_of_difference, n, n - 1, level) >= power)


def more_seeds(
    fit: Layout, i: int, j: int, delta: float = 0.0, *, level: float = 0.05, power: float = 0.8, joint: bool = True
) -> int | None:
    """How many more seeds would decide an undecided pair, if its difference and variance are as estimated.

    Decided: better or worse (noncentral t), or inside ±delta (normal), with probability ``power``; by the simultaneous
    interval of confidence 1 - level if ``joint``. 0 if it is decided, None if over 10 000 or unknown. As rough as the
    estimates that it rests on.

    Example:
        >>> from thalweg.study.statistics import fit_layout
        >>> more_seeds(fit_layout([[3.0, 4.0, 6.0, 5.0], [2.0, 4.0, 3.5, 4.5]]), 0, 1)
        8
    """
    d = difference(fit, i, j, 1 - level, joint)
    if decide(d.interval, delta) != "undecided":
        return 0
    if d.n < 2:
        return None
    sd, df_per_seed = d.se * math.sqrt(d.n), d.df // (d.n - 1)
    # The level of one pair to which Tukey's quantile amounts hardly depends on df; the quantile itself takes .1 s an n.
    own = 2 * float(special.stdtr(d.df, -critical(1 - level, d.df, len(scored(fit))))) if joint else level

    def enough(n: int) -> bool:
        df, se = df_per_seed * (n - 1), sd / math.sqrt(n)
        room = delta - float(special.stdtrit(df, 1 - own / 2)) * se
        inside = special.ndtr((room - d.mean) / se) - special.ndtr((-room - d.mean) / se) if room > 0 else 0.0
        return max(_power(d.mean, sd, n, df, own), float(inside)) >= power

    total = _fewest(d.n + 1, enough)
    return None if total is None else total - d.n


def more_seeds_for_headline(fit: Layout, level: float = 0.05, power: float = 0.8) -> int | None:
    """How many more seeds would let the leader beat every rival, the K unbeaten each with power 1 - (1 - power)/K.

    0 if there is a headline, None if over 10 000 or unknown; `more_seeds` says how.

    Example:
        >>> from thalweg.study.statistics import fit_layout
        >>> more_seeds_for_headline(fit_layout([[3.0, 4.0, 6.0, 5.0], [2.0, 4.0, 3.5, 4.5]]))
        8
    """
    if (leader := leader_of(fit)) is None:
        return None
    rivals = list(unbeaten(fit, leader, level))
    each = 1 - (1 - power) / max(len(rivals), 1)
    counts = [more_seeds(fit, leader, r, level=level, power=each, joint=False) for r in rivals]
    known = [count for count in counts if count is not None]
    return max(known, default=0) if len(known) == len(counts) else None
