"""Performance profiles: how often a recipe is nearly the best, over several tasks.

Legend: R recipes, T tasks, K values of tau.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import BadOption

if TYPE_CHECKING:
    from .standing import Standing
    from .study import Study

RATIOS = (1.0, 1.5, 2.0, 4.0, math.inf)  # tau of the samples to the target: that many times the fewest
GAPS = (0.0, 1.0, 2.0, 5.0)  # tau of the score: that many δ behind the best


def performance_ratios(cost_RT: ArrayLike) -> NDArray[np.float64]:
    """What each recipe needs in units of the best: r = t / min over recipes of t, task by task.

    Args:
        cost_RT: what each recipe needs on each task, >= 0; inf: it never got there.

    Returns:
        R × T ratios >= 1; inf where it never got there, for all recipes where none did.

    Raises:
        BadOption: not recipes × tasks, or a cost that is negative or NaN.

    Example:
        >>> performance_ratios([[10, 40], [20, 10]]).tolist()
        [[1.0, 4.0], [2.0, 1.0]]

    Source: E. Dolan and J. Moré, Benchmarking Optimization Software with Performance Profiles, Math. Programming 91, 2002.
    """
    cost = np.asarray(cost_RT, dtype=float)
    if cost.ndim != 2 or not cost.size or not (cost >= 0).all():
        raise BadOption(
            f"performance_ratios: costs must be recipes × tasks, >= 0 or inf, got shape {cost.shape}",
            "pass one row a recipe, inf where it never got there",
        )
    best = cost.min(0, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(cost == best, 1.0, cost / best)
    return np.where(np.isfinite(cost), ratio, np.inf)


def shares(need_RT: ArrayLike, taus: Sequence[float]) -> NDArray[np.float64]:
    """The profile ρ(tau): the share of tasks on which a recipe needs at most tau; one that never got there never counts.

    Args:
        need_RT: ratios (`performance_ratios`) or gaps, inf where there is none.
        taus: where to look; inf: the share of tasks on which it got there at all.

    Returns:
        R × K shares in [0, 1].

    Example:
        >>> shares([[1.0, 4.0], [2.0, float("inf")]], [1, 2, float("inf")]).tolist()
        [[0.5, 0.5, 1.0], [0.0, 0.5, 0.5]]
    """
    need = np.asarray(need_RT, dtype=float)[:, :, None]
    counted: NDArray[np.float64] = ((need <= np.asarray(taus, dtype=float)) & np.isfinite(need)).mean(1)
    return counted


@dataclass(frozen=True)
class Profile:
    """How often each recipe is nearly the best, for the recipes that were finalists on every task.

    A description of these tasks: a share of three of them says little about a fourth.

    Attributes:
        tasks: their names.
        recipes: the finalists' names, from the best to the worst.
        ratios: by recipe and task its samples to the target over the fewest; inf: it missed the target.
        gaps: by recipe and task how many δ its mean lies behind the best; inf: it diverged.
        left_out: recipes that are not finalists on every task, with the tasks where they are not.
    """

    tasks: tuple[str, ...]
    recipes: tuple[str, ...]
    ratios: dict[str, tuple[float, ...]]
    gaps: dict[str, tuple[float, ...]]
    left_out: dict[str, tuple[str, ...]]

    def share(self, recipe: str, *, ratio: float | None = None, gap: float | None = None) -> float:
        """The share of tasks on which a recipe reaches the target within ``ratio``, or the score within ``gap``.

        Args:
            recipe: its name.
            ratio: times the fewest samples to the target.
            gap: smallest interesting differences behind the best mean.

        Raises:
            BadOption: an unknown recipe, or not exactly one of ``ratio`` and ``gap``.
        """
        if recipe not in self.recipes or (ratio is None) == (gap is None):
            raise BadOption(
                f"share: known recipes are {', '.join(self.recipes)}", "give one of them with ratio= or gap="
            )
        needs, tau = (self.ratios, ratio) if gap is None else (self.gaps, gap)
        return float(shares([needs[recipe]], [tau or 0.0])[0, 0])

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""

        def part(needs: dict[str, tuple[float, ...]], taus: Sequence[float], what: str) -> dict[str, Any]:
            found = {name: shares([need], taus)[0].tolist() for name, need in needs.items()}
            return {"tau": list(taus), what: {name: list(need) for name, need in needs.items()}, "shares": found}

        return {
            "tasks": list(self.tasks),
            "recipes": list(self.recipes),
            "samples_to_target": part(self.ratios, RATIOS, "ratios"),
            "score": part(self.gaps, GAPS, "gaps"),
            "left_out": {name: list(tasks) for name, tasks in self.left_out.items()},
        }


def profile(studies: Sequence[Study], tasks: Sequence[str]) -> Profile:
    """The profile of several studies' finalists.

    The target of a task is its study's: the level that the baseline reaches. A recipe that diverged in any of a task's
    finals has no mean there.

    Args:
        studies: one a task.
        tasks: their names.
    """
    rows = [{s.name: s for s in study.finalists} for study in studies]
    everyone = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in everyone if all(name in row for row in rows)]
    left_out = {
        name: tuple(task for task, row in zip(tasks, rows, strict=True) if name not in row)
        for name in everyone
        if name not in names
    }
    if not names:
        return Profile(tuple(tasks), (), {}, {}, left_out)
    samples = [[_missed(row[name].samples_to_target) for row in rows] for name in names]
    ratios = performance_ratios(samples)
    gaps = np.array([_gaps([row[name] for name in names], study) for row, study in zip(rows, studies, strict=True)]).T
    # First the recipe that is nearest to the best on its worst task: a profile is read for what can be relied on.
    order = sorted(range(len(names)), key=lambda k: (-shares(gaps, [1.0])[k, 0], gaps[k].max(), ratios[k].max(), k))
    return Profile(
        tuple(tasks),
        tuple(names[k] for k in order),
        {names[k]: tuple(ratios[k].tolist()) for k in order},
        {names[k]: tuple(gaps[k].tolist()) for k in order},
        left_out,
    )


def _missed(samples: float | None) -> float:
    return math.inf if samples is None else float(samples)


def _gaps(standings: Sequence[Standing], study: Study) -> list[float]:
    """How many δ each mean lies behind the best."""
    sign = 1.0 if study.verdict.direction == "max" else -1.0
    means = [sign * s.mean if all(map(math.isfinite, s.scores)) else -math.inf for s in standings]
    best, delta = max(means), study.verdict.smallest_difference
    return [
        math.inf if m == -math.inf else 0.0 if m == best else (best - m) / delta if delta else math.inf for m in means
    ]
