"""How the answer changes with the length of a run: the best rate, and the ranking of optimizers.

Short runs are cheap and prefer rates that are wrong for long ones, and sometimes other optimizers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import rates as rate_choice

if TYPE_CHECKING:
    from .jobs import Finalist, Result, Scale

Rung: TypeAlias = "Mapping[float, Sequence[Result]]"  # what came of the runs of one length, by rate
SHIFT = 0.49  # decades from which on a trend is spoken of: half a one, between rates rounded to 3 digits


@dataclass(frozen=True)
class Trend:
    """The best rate against the length of the run.

    Attributes:
        best: (steps, rate), from the shortest horizon to the longest.
        slope: decades of rate per decade of steps, a least-squares line; None for fewer than two horizons.
        lost: what the shortest horizon's rate loses at the longest, in the metric's unit; inf: it diverges there, None:
            it was not tried there.
    """

    best: tuple[tuple[int, float], ...]
    slope: float | None
    lost: float | None

    @property
    def shift(self) -> float:
        """Decades from the shortest horizon's rate to the longest's; negative: it falls."""
        return math.log10(self.best[-1][1] / self.best[0][1]) if self.best else 0.0

    def misleads(self, delta: float) -> bool:
        """Whether the rate moves by half a decade or more and the short runs' one loses more than ``delta``.

        Half a decade is one step of the grid that the probes walk, which one noisy run can move; the loss tells.
        """
        return abs(self.shift) >= SHIFT and (self.lost is None or self.lost > delta)

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        best = [{"steps": steps, "lr": lr} for steps, lr in self.best]
        return {"best": best, "slope": self.slope, "shift": self.shift, "lost": self.lost}

    @classmethod
    def of_dict(cls, entry: dict[str, Any]) -> Trend:
        """The inverse of `as_dict`."""
        best = tuple((int(e["steps"]), float(e["lr"])) for e in entry["best"])
        return cls(best, *(None if entry[k] is None else float(entry[k]) for k in ("slope", "lost")))

    def sentence(self, name: str) -> str:
        """The trend in words.

        Example:
            >>> Trend(((60, 0.3), (420, 0.1)), -0.56, 0.01).sentence("sgd")
            'The best rate of sgd falls from 0.3 in 60 steps to 0.1 in 420: short runs mislead.'
        """
        (short, before), (long, after) = self.best[0], self.best[-1]
        verb = "falls" if after < before else "rises"
        return f"The best rate of {name} {verb} from {before:.3g} in {short} steps to {after:.3g} in {long}: short runs mislead."


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Of log10 of the rate against log10 of the steps, by least squares; None with fewer than two horizons.

    Args:
        points: (steps, rate).

    Example:
        >>> round(slope([(10, 1.0), (100, 0.1), (1000, 0.01)]), 6)
        -1.0
    """
    if len({steps for steps, _ in points}) < 2:
        return None
    x, y = np.log10(np.array(points, dtype=float)).T
    x = x - x.mean()
    return float(x @ y / (x @ x))


def trend(rungs: Mapping[int, Rung], noise: float | None = None) -> Trend:
    """The best rate at each horizon, chosen as `rates.choose` chooses at the last one.

    Args:
        rungs: by steps what came of the runs; where all runs diverged there is no best rate.
        noise: standard error of the mean score of a rate.
    """
    best = []
    for steps, rung in sorted(rungs.items()):
        scores = {lr: [r.select for r in results] for lr, results in rung.items()}
        diverged = {lr: [r.status == "diverged" for r in results] for lr, results in rung.items()}
        if any(math.isfinite(s) for lr in scores if not any(diverged[lr]) for s in scores[lr]):
            best.append((steps, rate_choice.choose(list(scores), scores, diverged, noise=noise).lr))
    return Trend(tuple(best), slope(best), _lost(rungs[best[-1][0]], best[0][1]) if best else None)


def _lost(rung: Rung, lr: float) -> float | None:
    """How far the score at ``lr`` lies below the best of the tried rates.

    Between tried rates it is linear in log10, and beside one that diverged that of the nearer.
    """
    means = {rate: sum(r.select for r in results) / len(results) for rate, results in sorted(rung.items())}
    if not min(means) <= lr <= max(means):
        return None
    ends = max(rate for rate in means if rate <= lr), min(rate for rate in means if rate >= lr)
    if all(math.isfinite(means[end]) for end in ends):
        score = float(np.interp(math.log(lr), np.log(ends), [means[end] for end in ends]))
    else:
        score = means[min(ends, key=lambda end: abs(math.log(end / lr)))]
    return max(m for m in means.values() if math.isfinite(m)) - score if math.isfinite(score) else math.inf


def trend_of(f: Finalist, scale: Scale) -> Trend | None:
    """The trend of a finalist whose rate was found; None for a fixed one."""
    if f.choice is None:
        return None
    own = scale.of(f.entrant.recipe)
    probed = {lr: [result] for lr, result in f.probed.items()}
    return trend({own.probe: probed} | {own.steps: f.tried}, f.choice.noise)


def ranking_change(before: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    """What changes from one ranking to another: the leader, and which pairs swap.

    Args:
        before: names from best to worst.
        after: the same; names that are in one only are left out.

    Returns:
        ``leader`` (before, after) or None if it stays, ``swapped`` pairs (ahead before, ahead after), and Kendall's
        ``tau`` = 1 - 2 swapped / pairs, None for fewer than two names.

    Example:
        >>> ranking_change(["adam", "sgd", "lion"], ["sgd", "adam", "lion"])
        {'leader': ['adam', 'sgd'], 'swapped': [['adam', 'sgd']], 'tau': 0.333}
    """
    place = {name: k for k, name in enumerate(after)}
    common = [name for name in before if name in place]
    pairs = list(itertools.combinations(common, 2))
    swapped = [[a, b] for a, b in pairs if place[a] > place[b]]
    first = min(common, key=place.__getitem__, default=None)
    leader = [common[0], first] if common and common[0] != first else None
    return {"leader": leader, "swapped": swapped, "tau": round(1 - 2 * len(swapped) / len(pairs), 3) if pairs else None}
