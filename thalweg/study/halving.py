"""Settings of an optimizer's whole space, halved on a ladder whose rungs are complete short runs.

Legend: D numbers that are searched (the rate first).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Generator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..recipe import Recipe
from . import spaces
from .jobs import Depth, Finalist, Job, Result, Scale
from .plan import Entrant, Purse
from .tuning import SELECTION_SEED, STEP, affordable, refine, rounded

SETTINGS = (64, 32, 16, 8)  # how many an optimizer may get: the most that the budget allows for all, 16 without one
USUAL = 16
SHARES = (9, 3)  # of the full run: a ninth, a third
SHORTEST = 20  # steps that a rung has at least
KEPT = 3  # settings that reach the full horizon at least


@functools.cache
def points(dimensions: int, count: int, seed: int = 0) -> NDArray[np.float64]:
    """The first ``count`` points of a scrambled Sobol sequence in the unit cube, ``count × dimensions``.

    Fewer points of the same sequence are the first of more, and are well spread themselves.

    Example:
        >>> bool((points(3, 4) == points(3, 16)[:4]).all())
        True

    Source: I. Sobol, USSR Comput. Math. Math. Phys. 7, 1967; A. Owen's scrambling as in ``scipy.stats.qmc``.
    """
    from scipy.stats import qmc

    drawn = qmc.Sobol(dimensions, scramble=True, seed=seed).random_base2(max(1, math.ceil(math.log2(max(count, 1)))))
    found: NDArray[np.float64] = drawn[:count]
    return found


def settings(entrant: Entrant, count: int) -> list[Recipe]:
    """``count`` recipes of an entrant's space with known rates: its default setting, then quasi-random ones.

    Example:
        >>> e = Entrant("adamw", Recipe("adamw"), (1e-4, 1e-1), space=spaces.space("adamw"))
        >>> settings(e, 8)[0], settings(e, 8) == settings(e, 16)[:8]
        (Recipe('adamw', lr=0.001), True)
    """
    assert entrant.rates is not None and entrant.space is not None
    priors = {"lr": spaces.Prior(*entrant.rates), **entrant.space}
    first = entrant.recipe.but(lr=spaces.default_rate(entrant.recipe, *entrant.rates))
    drawn = points(len(priors), count)[: count - 1]
    return [first] + [
        spaces.put(
            entrant.recipe, {name: prior.at(float(u)) for (name, prior), u in zip(priors.items(), u_D, strict=True)}
        )
        for u_D in drawn
    ]


def rungs(scale: Scale) -> list[int]:
    """The lengths of the runs, from a ninth to the whole; those that are too short, or cannot be had, are left out.

    Example:
        >>> rungs(Scale(steps=420, probe=42, rows=64)), rungs(Scale(steps=50, probe=20, rows=1))
        ([46, 140, 420], [50])
    """
    if scale.probe >= scale.steps:
        return [scale.steps]
    return [scale.steps // share for share in SHARES if scale.steps // share >= SHORTEST] + [scale.steps]


def sizes(count: int, rung_count: int) -> list[int]:
    """How many settings run on each rung: a third of those of the rung below, at least three.

    Example:
        >>> sizes(16, 3), sizes(64, 3), sizes(16, 1), sizes(2, 2)
        ([16, 5, 3], [64, 21, 7], [16], [2, 2])
    """
    found = [count]
    for _ in range(rung_count - 1):
        found.append(min(found[-1], max(KEPT, round(found[-1] / 3))))
    return found


def best(results: Mapping[Recipe, Result], count: int) -> list[Recipe]:
    """The ``count`` best on ``select``, the earlier of equal ones first; those that diverged are never kept."""
    finite = [recipe for recipe, result in results.items() if math.isfinite(result.select)]
    return sorted(finite, key=lambda recipe: -results[recipe].select)[:count]


def price(entrant: Entrant, depth: Depth, scale: Scale, purse: Purse) -> float:
    """What `halve` costs, in the budget's unit, if the rate's border is not crossed; ``scale`` is the entrant's."""
    steps = rungs(scale)
    ladder = sum(n * purse.price(s, scale.rows) for n, s in zip(sizes(depth.settings, len(steps)), steps, strict=True))
    return ladder + (5 * depth.select_seeds - 1) * purse.price(scale.steps, scale.rows)


def halve(
    entrant: Entrant, depth: Depth, scale: Scale, purse: Purse, reserve: int
) -> Generator[list[Job], dict[Job, Result], Finalist]:
    """Settings up the ladder, the best third of each rung to the next; then the best one's rate, as `tuning.refine`.

    ``depth.settings`` says how many begin. All of a rung are one list of jobs, with the same weights and order. The
    runs of what is dropped enter nothing but this choice.
    """
    assert entrant.space is not None
    found, scale = Finalist(entrant, entrant.recipe), scale.of(entrant.recipe)
    steps = rungs(scale)
    alive: Sequence[Recipe] = settings(entrant, depth.settings)
    lowest = min(alive, key=lambda recipe: recipe.lr or 0.0)
    done: dict[Job, Result] = {}
    for length, most in zip(steps, sizes(depth.settings, len(steps)), strict=True):
        phase = "rate" if length == scale.steps else "rung"
        jobs = [Job.of(phase, entrant, recipe, SELECTION_SEED, length) for recipe in alive[:most]]
        done = (yield affordable(jobs, scale, purse)) if jobs else {}
        found.settings = found.settings or len(done)
        alive = best({job.recipe: result for job, result in done.items()}, most)
    if not done and purse.left <= 0:
        return found
    # Where everything diverged the search goes down from the lowest rate.
    chosen = alive[0] if alive else lowest
    space = entrant.space
    start = chosen.lr or 0.0
    first = [rounded(start / STEP), start, rounded(start * STEP)]
    yield from refine(
        found, lambda lr: spaces.at_rate(chosen, lr, space), first, depth, scale, purse, reserve, known=done
    )
    return found
