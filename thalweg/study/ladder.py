"""The protocol: what to try next, given what has been seen. It decides; it trains nothing.

Legend: R finalists, N seeds.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from typing import TypeVar

from ..recipe import Recipe
from . import rates as rate_choice
from .jobs import Depth, Finalist, Findings, Job, Result, Scale, winner
from .plan import Entrant, Purse
from .planning import nominal_level

STEP = math.sqrt(10.0)  # between neighbouring rates at the full horizon
FINAL_SEED = 1000  # the first seed of the finals
SELECTION_SEED = 900_000_000  # the first seed of everything before them
EXTENSIONS = 5  # times that a grid is extended past its border
LOOKS = 3


DEPTHS = (Depth(2, 2, 10), Depth(2, 1, 10), Depth(2, 1, 7), Depth(1, 1, 5), Depth(1, 1, 3))
T = TypeVar("T")


def protocol(
    field: Sequence[Entrant], scale: Scale, purse: Purse, seeds: Sequence[int] | None = None
) -> Generator[list[Job], dict[Job, Result], Findings]:
    """Baseline, bracket, rates at the full horizon, finals on fresh seeds with looks: yields jobs, is sent results.

    Args:
        field: the competitors in the order of spending; the first may be the baseline.
        scale: the horizons.
        purse: what may be spent; asked before every batch of jobs.
        seeds: of the finals; None: 10 at first, and more within the budget while undecided.

    Returns:
        (by ``StopIteration.value``) the findings; the same results lead to the same jobs, always.
    """
    not_tried: list[str] = []
    notes: list[str] = []
    waiting = list(field)
    ready: list[Finalist] = []
    if waiting and waiting[0].rates is None:
        ready.append((yield from _prepare(waiting.pop(0), DEPTHS[0], scale, purse, 0)))  # tells what a run costs
    depth, count = _affordable(waiting, len(ready), scale, purse, seeds)
    if count == len(waiting) and purse.budget.kind in ("none", "seconds"):
        finals = len(field) * (len(seeds) if seeds else depth.finals)
        ready += yield from _together([_prepare(e, depth, scale, purse, finals) for e in waiting])
        waiting = []
    while waiting:
        depth, count = _affordable(waiting, len(ready), scale, purse, seeds)
        if not count and len(ready) > 1:
            not_tried += [e.name for e in waiting]
            break
        ready.append((yield from _prepare(waiting.pop(0), depth, scale, purse, 3 * (len(ready) + 1))))
    finalists: list[Finalist] = []
    for finalist in ready:
        if finalist.entrant.rates is None or finalist.choice is not None:
            finalists.append(finalist)
        else:
            name = finalist.entrant.name
            if purse.left > 0 and finalist.tried:
                not_tried.append(f"{name} (no rate finished)")
                notes.append(f"{name}: no rate finished at the full horizon.")
            else:
                not_tried.append(f"{name} (the budget ended)")
    finalists, same = _distinct(finalists)
    notes += same
    looks, planned = yield from _finals(finalists, depth, scale, purse, seeds, not_tried)
    return Findings(finalists, nominal_level(planned), looks, planned, not_tried, notes, not purse.closed)


def _distinct(finalists: Sequence[Finalist]) -> tuple[list[Finalist], list[str]]:
    """The finalists without those whose recipe another one has, and sentences on the ones left out."""
    kept: dict[Recipe, Finalist] = {}
    notes = []
    for f in finalists:
        if f.recipe in kept:
            notes.append(
                f"{f.entrant.name} ended with the recipe of {kept[f.recipe].entrant.name}: one row stands for both."
            )
        else:
            kept[f.recipe] = f
    return list(kept.values()), notes


def _together(
    parts: Sequence[Generator[list[Job], dict[Job, Result], T]],
) -> Generator[list[Job], dict[Job, Result], list[T]]:
    """Several parts of a protocol side by side: what they ask for in a round is one batch of jobs."""
    values: dict[int, T] = {}
    answers: dict[int, dict[Job, Result] | None] = dict.fromkeys(range(len(parts)))
    while answers:
        wanted: dict[int, list[Job]] = {}
        for i, answer in answers.items():
            try:
                wanted[i] = next(parts[i]) if answer is None else parts[i].send(answer)
            except StopIteration as end:
                values[i] = end.value
        done = yield [job for jobs in wanted.values() for job in jobs]
        answers = {i: {job: done[job] for job in jobs if job in done} for i, jobs in wanted.items()}
    return [values[i] for i in range(len(parts))]


def _prepare(
    entrant: Entrant, depth: Depth, scale: Scale, purse: Purse, reserve: int
) -> Generator[list[Job], dict[Job, Result], Finalist]:
    """An entrant with its rate: found, or, where it is fixed, run once."""
    if entrant.rates is not None:
        return (yield from tune(entrant, depth, scale, purse, reserve))
    found, scale = Finalist(entrant, entrant.recipe), scale.of(entrant.recipe)
    if purse.left >= purse.price(scale.steps, scale.rows):
        phase = "baseline" if entrant.baseline else "rate"
        job = Job(phase, entrant.name, entrant.recipe, SELECTION_SEED, scale.steps)
        results = list((yield [job]).values())
        found.tried[entrant.recipe.lr or 0.0] = results
        found.select = _mean(results)
    return found


def _affordable(
    waiting: Sequence[Entrant], ready: int, scale: Scale, purse: Purse, seeds: Sequence[int] | None
) -> tuple[Depth, int]:
    """The deepest plan for the most of the waiting entrants: fewer seeds first, then fewer entrants, then three seeds."""

    def full(entrants: Sequence[Entrant]) -> float:
        scales = [scale.of(e.recipe) for e in entrants]
        return sum(purse.price(s.steps, s.rows) for s in scales)

    def cost(depth: Depth, count: int) -> float:
        finals = len(seeds) if seeds else depth.finals
        tuning = sum(_tuning_price(e, depth, scale, purse) for e in waiting[:count])
        return tuning + finals * (full(waiting[:count]) + ready * purse.price(scale.steps, scale.rows))

    for depths in (DEPTHS[:-1], DEPTHS[-1:]):
        for count in range(len(waiting), 0, -1):
            for depth in depths:
                if cost(depth, count) <= purse.left:
                    return depth, count
    return DEPTHS[-1], 0


def _tuning_price(entrant: Entrant, depth: Depth, scale: Scale, purse: Purse) -> float:
    scale = scale.of(entrant.recipe)
    if entrant.rates is None:
        return purse.price(scale.steps, scale.rows)
    probes = len(rate_choice.grid(*entrant.rates, depth.per_decade)) + 1
    return probes * purse.price(scale.probe, scale.rows) + 5 * depth.select_seeds * purse.price(scale.steps, scale.rows)


def tune(
    entrant: Entrant, depth: Depth, scale: Scale, purse: Purse, reserve: int
) -> Generator[list[Job], dict[Job, Result], Finalist]:
    """Bracket by probes, then at least three rates at the full horizon, extended while the best is at the border.

    ``reserve`` full runs are left in the purse for the finals once three rates have been run.
    """
    assert entrant.rates is not None
    found, scale = Finalist(entrant, entrant.recipe), scale.of(entrant.recipe)

    def jobs(phase: str, values: Iterable[float], seeds: Iterable[int], steps: int) -> list[Job]:
        price = purse.price(steps, scale.rows)
        wanted = [Job(phase, entrant.name, entrant.recipe.but(lr=lr), s, steps) for lr in values for s in seeds]
        room = purse.left
        if phase == "rate" and len(found.tried) >= 3:
            room -= reserve * purse.price(scale.steps, scale.rows)
        return wanted[: max(0, math.floor(room / price))] if 0 < price and room < math.inf else wanted

    probes = rate_choice.grid(*entrant.rates, depth.per_decade)
    if scale.probe < scale.steps:
        for _ in range(EXTENSIONS):
            for job, result in (yield jobs("probe", probes, [SELECTION_SEED], scale.probe)).items():
                found.probed[job.recipe.lr or 0.0] = result
            border = _border({r: [v] for r, v in found.probed.items()})
            if border is None:
                break
            ends = (max(found.probed), STEP) if border == "high" else (min(found.probed), 1 / STEP)
            probes = [_round(ends[0] * ends[1] ** n) for n in (1, 2)]
        start = _best(found.probed)
        if math.isnan(start):
            return found
        first = [_round(start / STEP), start, _round(start * STEP)]
    else:
        first = probes
    seeds = range(SELECTION_SEED, SELECTION_SEED + depth.select_seeds)
    wanted = first
    for _ in range(EXTENSIONS + 1):
        affordable = jobs("rate", wanted, seeds, scale.steps)
        for job, result in (yield affordable).items():
            found.tried.setdefault(job.recipe.lr or 0.0, []).append(result)
        found.cut = len(affordable) < len(wanted) * len(seeds) or purse.left <= 0
        means = {r: _mean(v) for r, v in found.tried.items()}
        border = _border(found.tried)
        finite = [r for r, v in means.items() if not math.isnan(v)]
        if not found.tried or purse.left <= 0:
            break
        if border == "high" or (border is None and len(finite) < 3 and max(found.tried) in finite):
            wanted = [_round(max(found.tried) * STEP)]
        elif border == "low" or len(finite) < 3:
            wanted = [_round(min(found.tried) / STEP)]
        else:
            break
    if depth.select_seeds > 1 and found.tried:
        best = _best({r: v[0] for r, v in found.tried.items()})
        between = [_round(best / math.sqrt(STEP)), _round(best * math.sqrt(STEP))]
        for job, result in (yield jobs("rate", [b for b in between if not math.isnan(b)], seeds, scale.steps)).items():
            found.tried.setdefault(job.recipe.lr or 0.0, []).append(result)
    tried = {r: v for r, v in sorted(found.tried.items()) if any(x.status in ("finished", "diverged") for x in v)}
    if not any(math.isfinite(x.select) for v in tried.values() for x in v):
        return found
    divergences = {r: [x.status == "diverged" for x in v] for r, v in tried.items()}
    scores = {r: [x.select for x in v] for r, v in tried.items()}
    best = max(x for values in scores.values() for x in values if math.isfinite(x))
    found.choice = rate_choice.choose(list(tried), scores, divergences, noise=scale.noise(best))
    found.recipe = entrant.recipe.but(lr=found.choice.lr)
    found.select = found.choice.predicted
    return found


def _finals(
    finalists: list[Finalist],
    depth: Depth,
    scale: Scale,
    purse: Purse,
    seeds: Sequence[int] | None,
    not_tried: list[str],
) -> Generator[list[Job], dict[Job, Result], tuple[int, int]]:
    """All finalists on the same fresh seeds, in blocks; after each a look whether one beats every other."""

    def price() -> float:
        """Of one seed: a run of every finalist."""
        scales = [scale.of(f.recipe) for f in finalists]
        return sum(purse.price(s.steps, s.rows) for s in scales)

    block = len(seeds) if seeds else depth.finals
    if purse.budget.kind != "none":
        while len(finalists) > 2 and purse.left < 3 * price():
            worst = min(
                (f for f in finalists if not f.entrant.baseline),
                key=lambda f: f.select if f.select == f.select else -math.inf,
            )
            finalists.remove(worst)
            not_tried.append(f"{worst.entrant.name} in the finals")
        room = max(0, math.floor(purse.left / price())) if finalists and price() > 0 else 0
        block = min(block if seeds else max(block, DEPTHS[0].finals), room)
        planned = 1 if seeds or not block else min(LOOKS, room // block)
    else:
        planned = 1 if seeds else LOOKS
    at, look, stepped = 0, 0, 0
    while look < planned and finalists and block:
        numbers = [_seed(i, seeds) for i in range(at, at + block)]
        at += block
        done = yield [
            Job("final", f.entrant.name, f.recipe, seed, scale.of(f.recipe).steps)
            for seed in numbers
            for f in finalists
        ]
        for f in finalists:
            f.results |= {j.seed: r for j, r in done.items() if j.entrant == f.entrant.name and r.status != "stopped"}
        falling = [f for f in finalists if f.choice and any(r.status == "diverged" for r in f.results.values())]
        if falling and stepped < 2 and purse.left >= block * price():
            stepped += 1  # a lower rate, and for all a block of seeds that it was not chosen on
            for f in finalists:
                if f in falling:
                    own = scale.of(f.recipe).steps
                    f.abandoned += [(Job("final", f.entrant.name, f.recipe, s, own), r) for s, r in f.results.items()]
                    f.recipe = f.recipe.but(lr=_round((f.recipe.lr or 0.0) / STEP))
                f.results = {}
            continue
        look += 1
        if len(finalists) < 2 or winner(finalists, nominal_level(planned), scale.resolution) is not None:
            break
        if purse.left < block * price():
            break
    whole = set.intersection(*(set(f.results) for f in finalists)) if finalists else set()
    if len(whole) >= 2:  # the budget may have ended in the middle of a seed: all are judged on the same ones
        for f in finalists:
            f.results = {seed: f.results[seed] for seed in sorted(whole)}
    return look, max(1, planned)


def _seed(i: int, seeds: Sequence[int] | None) -> int:
    """The i-th seed of the finals: of the given ones, then others."""
    if not seeds:
        return FINAL_SEED + i
    return seeds[i] if i < len(seeds) else max(*seeds, FINAL_SEED) + 1 + i - len(seeds)


def _mean(results: Iterable[Result]) -> float:
    values = [r.select for r in results]
    return math.nan if not values or any(map(math.isnan, values)) else sum(values) / len(values)


def _best(results: dict[float, Result]) -> float:
    finite = {r: v.select for r, v in results.items() if not math.isnan(v.select)}
    return max(finite, key=lambda r: (finite[r], -r)) if finite else math.nan


def _border(tried: dict[float, list[Result]]) -> str | None:
    """At which end of the tried rates the best lies; a rate that diverges beyond it closes that end."""
    means = {r: _mean(v) for r, v in tried.items()}
    finite = [r for r, v in means.items() if not math.isnan(v)]
    if not finite:
        return "low" if tried and any(r.status == "diverged" for v in tried.values() for r in v) else None
    best = max(finite, key=lambda r: (means[r], -r))
    return "low" if best == min(tried) else "high" if best == max(tried) else None


def _round(rate: float) -> float:
    return float(f"{rate:.3g}")
