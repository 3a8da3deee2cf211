"""An entrant's rate: bracketed by short runs, chosen among rates at the full horizon whose border is checked there."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

from ..recipe import Recipe
from . import rates as rate_choice
from .jobs import Depth, Finalist, Job, Result, Scale
from .plan import Entrant, Purse

STEP = math.sqrt(10.0)  # between neighbouring rates at the full horizon
SELECTION_SEED = 900_000_000  # the first seed of everything before the finals
EXTENSIONS = 5  # times that a grid is extended past its border


def tune(
    entrant: Entrant, depth: Depth, scale: Scale, purse: Purse, reserve: int
) -> Generator[list[Job], dict[Job, Result], Finalist]:
    """Bracket by probes, then at least three rates at the full horizon, extended while the best is at the border.

    ``reserve`` full runs are left in the purse for the finals once three rates have been run.
    """
    assert entrant.rates is not None
    found, scale = Finalist(entrant, entrant.recipe), scale.of(entrant.recipe)
    first = rate_choice.grid(*entrant.rates, depth.per_decade)
    if scale.probe < scale.steps:
        probes = first
        for _ in range(EXTENSIONS):
            jobs = [Job.of("probe", entrant, entrant.recipe.but(lr=lr), SELECTION_SEED, scale.probe) for lr in probes]
            for job, result in (yield affordable(jobs, scale, purse)).items():
                found.probed[job.recipe.lr or 0.0] = result
            border = _border({r: [v] for r, v in found.probed.items()})
            if border is None:
                break
            ends = (max(found.probed), STEP) if border == "high" else (min(found.probed), 1 / STEP)
            probes = [rounded(ends[0] * ends[1] ** n) for n in (1, 2)]
        start = _best(found.probed)
        if math.isnan(start):
            return found
        first = [rounded(start / STEP), start, rounded(start * STEP)]
    yield from refine(found, lambda lr: entrant.recipe.but(lr=lr), first, depth, scale, purse, reserve)
    return found


def refine(
    found: Finalist,
    at: Callable[[float], Recipe],
    first: Sequence[float],
    depth: Depth,
    scale: Scale,
    purse: Purse,
    reserve: int,
    known: Mapping[Job, Result] | None = None,
) -> Generator[list[Job], dict[Job, Result], None]:
    """Choose the finalist's rate at the full horizon, starting from the ``first`` rates.

    Args:
        found: the finalist that gets its rate.
        at: the recipe at a rate.
        first: rates to begin with; half decades are added while the best is at the border or fewer than three finish.
        depth: how many seeds a rate is run on; with more than one, quarters of a decade are tried around the best.
        scale: of the entrant's recipe.
        purse: what may be spent.
        reserve: full runs that are left in it once three rates have been run.
        known: results that need not be asked for.
    """
    seeds, had = range(SELECTION_SEED, SELECTION_SEED + depth.select_seeds), dict(known or {})

    def run(values: Iterable[float]) -> Generator[list[Job], dict[Job, Result], None]:
        wanted = [Job.of("rate", found.entrant, at(lr), seed, scale.steps) for lr in values for seed in seeds]
        asked = [job for job in wanted if job not in had]
        kept = reserve if len(found.tried) >= 3 else 0
        paid = affordable(asked, scale, purse, kept)
        had.update((yield paid) if asked else {})
        found.cut = len(paid) < len(asked) or purse.left <= 0
        for job in wanted:
            if job in had:
                found.tried.setdefault(job.recipe.lr or 0.0, []).append(had[job])

    wanted = list(first)
    for _ in range(EXTENSIONS + 1):
        yield from run(wanted)
        means = {r: mean(v) for r, v in found.tried.items()}
        border = _border(found.tried)
        finite = [r for r, v in means.items() if not math.isnan(v)]
        if not found.tried or purse.left <= 0:
            break
        if border == "high" or (border is None and len(finite) < 3 and max(found.tried) in finite):
            wanted = [rounded(max(found.tried) * STEP)]
        elif border == "low" or len(finite) < 3:
            wanted = [rounded(min(found.tried) / STEP)]
        else:
            break
    if depth.select_seeds > 1 and found.tried:
        best = _best({r: v[0] for r, v in found.tried.items()})
        between = [rounded(best / math.sqrt(STEP)), rounded(best * math.sqrt(STEP))]
        cut = found.cut
        yield from run([b for b in between if not math.isnan(b)])
        found.cut = cut  # the rates between were a refinement: nothing is missing at the border for want of them
    tried = {r: v for r, v in sorted(found.tried.items()) if any(x.status in ("finished", "diverged") for x in v)}
    if not any(math.isfinite(x.select) for v in tried.values() for x in v):
        return
    divergences = {r: [x.status == "diverged" for x in v] for r, v in tried.items()}
    scores = {r: [x.select for x in v] for r, v in tried.items()}
    best = max(x for values in scores.values() for x in values if math.isfinite(x))
    found.choice = rate_choice.choose(list(tried), scores, divergences, noise=scale.noise(best))
    found.recipe = at(found.choice.lr)
    found.select = found.choice.predicted


def affordable(jobs: Sequence[Job], scale: Scale, purse: Purse, reserve: int = 0) -> list[Job]:
    """As many of the jobs, all of one length, as the purse allows with ``reserve`` full runs left in it.

    Their price is promised until they are done, so that others that ask in the same round see less.
    """
    if not jobs:
        return []
    price = purse.price(jobs[0].steps, scale.rows)
    room = purse.left - (reserve * purse.price(scale.steps, scale.rows) if reserve else 0.0)
    paid = list(jobs[: max(0, math.floor(room / price))] if 0 < price and room < math.inf else jobs)
    purse.promised += len(paid) * price
    return paid


def mean(results: Iterable[Result]) -> float:
    """The mean value on ``select``; NaN if one has none, or there are none."""
    values = [r.select for r in results]
    return math.nan if not values or any(map(math.isnan, values)) else sum(values) / len(values)


def rounded(rate: float) -> float:
    """A rate to three digits."""
    return float(f"{rate:.3g}")


def _best(results: dict[float, Result]) -> float:
    finite = {r: v.select for r, v in results.items() if not math.isnan(v.select)}
    return max(finite, key=lambda r: (finite[r], -r)) if finite else math.nan


def _border(tried: dict[float, list[Result]]) -> str | None:
    """At which end of the tried rates the best lies; a rate that diverges beyond it closes that end."""
    means = {r: mean(v) for r, v in tried.items()}
    finite = [r for r, v in means.items() if not math.isnan(v)]
    if not finite:
        return "low" if tried and any(r.status == "diverged" for v in tried.values() for r in v) else None
    best = max(finite, key=lambda r: (means[r], -r))
    return "low" if best == min(tried) else "high" if best == max(tried) else None
