"""What a budget buys: the best value after so many runs, as it came and as it would come in random order."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from ..errors import Allowed, check
from .jobs import Result

BAND = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10))  # quantiles: lower end, median, upper end
TUNING = ("baseline", "rate")  # the phases whose runs have full length and choose something
SHARES = Allowed("shares in (0, 1]", lambda v: bool(v) and all(0 < q <= 1 for q in v))


def best_of_some(values: Sequence[float], quantiles: Sequence[float | Fraction]) -> list[list[float]]:
    """Quantiles of the largest of n of N values drawn without replacement, for n = 1 ... N; exact, nothing is drawn.

    The largest of n is at most the k-th smallest value in C(k, n) of the C(N, n) draws, so the quantile q is the
    smallest value with C(k, n) / C(N, n) >= q.

    Args:
        values: one a run, larger as better; NaN (a run that diverged) counts as less than any number.
        quantiles: shares in (0, 1]; as fractions they are exact.

    Returns:
        For each n its quantiles, -inf where so large a share of the draws holds diverged runs only.

    Raises:
        BadOption: a quantile outside (0, 1].

    Example:
        >>> best_of_some([0.7, 0.9, 0.8], [0.1, 0.5, 0.9])
        [[0.7, 0.8, 0.9], [0.8, 0.9, 0.9], [0.9, 0.9, 0.9]]

    Source: J. Dodge et al., Show Your Work: Improved Reporting of Experimental Results, EMNLP 2019, who give the mean,
    with replacement.
    """
    check("best_of_some", "quantiles", quantiles, SHARES)
    ordered = sorted(-math.inf if math.isnan(v) else v for v in values)
    count = len(ordered)

    def place(n: int, share: Fraction) -> int:
        wanted = math.ceil(share * math.comb(count, n))
        return bisect.bisect_left(range(1, count), wanted, key=lambda k: math.comb(k, n))

    return [[ordered[place(n, Fraction(q))] for q in quantiles] for n in range(1, count + 1)]


def band(values: Sequence[float], samples: Sequence[float], sign: int = 1) -> list[dict[str, Any]]:
    """The best of the first n of these runs in random order: median and the range from 10 to 90 %, for each n.

    Args:
        values: of the runs, larger as better; NaN: diverged.
        samples: training rows that each run used; n runs cost n times their mean.
        sign: -1 gives the values back with the other sign, for metrics that fall.

    Returns:
        Entries ``{"runs", "samples", "median", "low", "high"}``, None where there is most likely no value yet.

    Example:
        >>> band([0.7, 0.9, 0.8], [100, 100, 400])[1]
        {'runs': 2, 'samples': 400.0, 'median': 0.9, 'low': 0.8, 'high': 0.9}
    """
    each = sum(samples) / len(samples) if samples else 0.0
    entries = []
    for n, quantiles in enumerate(best_of_some(values, BAND), 1):
        low, median, high = (sign * v if math.isfinite(v) else None for v in quantiles)
        low, high = (low, high) if sign > 0 else (high, low)
        entries.append({"runs": n, "samples": n * each, "median": median, "low": low, "high": high})
    return entries


def report(runs: Iterable[Result], sign: int) -> dict[str, Any]:
    """The keys of a study's document: ``best_so_far``, each gain as it came, and ``best_so_far_band``.

    Both look at runs of full length that choose something, by their value on ``select``. In the series ``runs`` and
    ``samples`` count all that was spent until then, probes too; ``full_runs`` is the place on the band's axis.

    Args:
        runs: of a study, in order.
        sign: +1 when larger values of the metric are better.
    """
    best, samples = math.nan, 0
    series: list[dict[str, Any]] = []
    full: list[Result] = []
    for count, run in enumerate(runs, 1):
        samples += run.record.get("samples", 0)
        if run.record["phase"] not in TUNING or run.status not in ("finished", "diverged"):
            continue
        full.append(run)
        if math.isfinite(run.select) and not run.select <= best:
            best = run.select
            series.append(
                {
                    "runs": count,
                    "samples": samples,
                    "value": sign * best,
                    "entrant": run.record["entrant"],
                    "full_runs": len(full),
                }
            )
    spent = [run.record.get("samples", 0) for run in full]
    return {"best_so_far": series, "best_so_far_band": band([run.select for run in full], spent, sign)}
