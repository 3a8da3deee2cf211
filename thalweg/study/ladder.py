"""The protocol: what to try next, given what has been seen. It decides; it trains nothing.

Legend: R finalists, N seeds.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TypeVar

from ..recipe import Recipe
from . import halving
from . import rates as rate_choice
from .jobs import Depth, Finalist, Findings, Job, Result, Scale, contenders, winner
from .plan import Arguments, Entrant, Purse
from .planning import nominal_level
from .tuning import SELECTION_SEED, STEP, affordable, mean, rounded, tune

FINAL_SEED = 1000  # the first seed of the finals
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
    depths = _depths(waiting, len(ready), scale, purse, seeds)
    depth, count = _affordable(waiting, len(ready), scale, purse, seeds, depths)
    if count > 1 and purse.budget.kind in ("none", "seconds"):  # side by side, so that programs are full
        finals = (len(ready) + count) * (len(seeds) if seeds else depth.finals)
        ready += yield from _together([_prepare(e, depth, scale, purse, finals) for e in waiting[:count]])
        waiting = waiting[count:]
    while waiting:
        depth, count = _affordable(waiting, len(ready), scale, purse, seeds, depths)
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
    kept: dict[tuple[Recipe, Arguments], Finalist] = {}
    notes = []
    for f in finalists:
        same = kept.setdefault((f.recipe, f.entrant.arguments), f)
        if same is not f:
            notes.append(f"{f.entrant.name} ended with the recipe of {same.entrant.name}: one row stands for both.")
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
    """An entrant with its rate: found, alone or with its whole space, or, where it is fixed, run once."""
    if entrant.rates is not None:
        search = tune if entrant.space is None else halving.halve
        return (yield from search(entrant, depth, scale, purse, reserve))
    found, scale = Finalist(entrant, entrant.recipe), scale.of(entrant.recipe)
    phase = "baseline" if entrant.baseline else "rate"
    jobs = affordable([Job.of(phase, entrant, entrant.recipe, SELECTION_SEED, scale.steps)], scale, purse)
    if jobs:
        results = list((yield jobs).values())
        found.tried[entrant.recipe.lr or 0.0] = results
        found.select = mean(results)
    return found


def _depths(
    waiting: Sequence[Entrant], ready: int, scale: Scale, purse: Purse, seeds: Sequence[int] | None
) -> Sequence[Depth]:
    """`DEPTHS` with the number of settings that every entrant gets: the most that the budget allows for all of them."""
    if purse.budget.kind == "none" or all(e.space is None for e in waiting):
        return DEPTHS
    depths: Sequence[Depth] = DEPTHS
    for settings in halving.SETTINGS:
        depths = [replace(depth, settings=settings) for depth in DEPTHS]
        tried = depths[:1] if settings > halving.USUAL else depths  # more than usual only where nothing is saved
        if _affordable(waiting, ready, scale, purse, seeds, tried)[1] == len(waiting):
            break
    return depths


def _affordable(
    waiting: Sequence[Entrant],
    ready: int,
    scale: Scale,
    purse: Purse,
    seeds: Sequence[int] | None,
    plans: Sequence[Depth] = DEPTHS,
) -> tuple[Depth, int]:
    """The deepest plan for the most of the waiting entrants: fewer seeds first, then fewer entrants, then three seeds."""

    def full(entrants: Sequence[Entrant]) -> float:
        scales = [scale.of(e.recipe) for e in entrants]
        return sum(purse.price(s.steps, s.rows) for s in scales)

    def cost(depth: Depth, count: int) -> float:
        finals = len(seeds) if seeds else depth.finals
        tuning = sum(_tuning_price(e, depth, scale, purse) for e in waiting[:count])
        return tuning + finals * (full(waiting[:count]) + ready * purse.price(scale.steps, scale.rows))

    for depths in (plans[:-1], plans[-1:]):
        for count in range(len(waiting), 0, -1):
            for depth in depths:
                if cost(depth, count) <= purse.left:
                    return depth, count
    return plans[-1], 0


def _tuning_price(entrant: Entrant, depth: Depth, scale: Scale, purse: Purse) -> float:
    scale = scale.of(entrant.recipe)
    if entrant.rates is None:
        return purse.price(scale.steps, scale.rows)
    if entrant.space is not None:
        return halving.price(entrant, depth, scale, purse)
    probes = len(rate_choice.grid(*entrant.rates, depth.per_decade)) + 1
    return probes * purse.price(scale.probe, scale.rows) + 5 * depth.select_seeds * purse.price(scale.steps, scale.rows)


def _finals(
    finalists: list[Finalist],
    depth: Depth,
    scale: Scale,
    purse: Purse,
    seeds: Sequence[int] | None,
    not_tried: list[str],
) -> Generator[list[Job], dict[Job, Result], tuple[int, int]]:
    """All finalists on the same fresh seeds, in blocks; after each a look whether one beats every other.

    A race: who is beaten at a look by its leader runs on no further seeds, and stays in the table with those it has.
    """

    def price() -> float:
        """Of one seed: a run of every finalist that is in the race."""
        scales = [scale.of(f.recipe) for f in racing]
        return sum(purse.price(s.steps, s.rows) for s in scales)

    racing = finalists
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
    racing = list(finalists)
    at, look, stepped = 0, 0, 0
    while look < planned and finalists and block:
        numbers = [_seed(i, seeds) for i in range(at, at + block)]
        at += block
        done = yield [
            Job.of("final", f.entrant, f.recipe, seed, scale.of(f.recipe).steps) for seed in numbers for f in racing
        ]
        for f in racing:
            f.results |= {j.seed: r for j, r in done.items() if j.entrant == f.entrant.name and r.status != "stopped"}
        falling = [f for f in racing if f.choice and any(r.status == "diverged" for r in f.results.values())]
        still, racing = racing, list(finalists)
        if falling and stepped < 2 and purse.left >= block * price():
            stepped += 1  # a lower rate, and for all a block of seeds that it was not chosen on
            for f in finalists:
                own, lost = scale.of(f.recipe).steps, f in falling
                given_up = [(s, r) for s, r in f.results.items() if lost or r.status == "diverged"]
                f.abandoned += [(Job.of("final", f.entrant, f.recipe, s, own), r) for s, r in given_up]
                f.recipe = f.recipe.but(lr=rounded((f.recipe.lr or 0.0) / STEP)) if lost else f.recipe
                f.results = {}
            continue
        racing = still
        look += 1
        left = contenders(finalists, nominal_level(planned), scale.resolution)
        if len(left) < 2 and (
            len(finalists) < 2 or winner(finalists, nominal_level(planned), scale.resolution) is not None
        ):
            break
        racing = [f for f in racing if f in left or f.entrant.baseline]
        if purse.left < block * price():
            break
    whole = set.intersection(*(set(f.results) for f in racing)) if racing else set()
    if len(whole) >= 2:  # the budget may have ended in the middle of a seed: all are judged on the same ones
        for f in finalists:
            f.results = {seed: f.results[seed] for seed in sorted(whole) if seed in f.results}
    return look, max(1, planned)


def _seed(i: int, seeds: Sequence[int] | None) -> int:
    """The i-th seed of the finals: of the given ones, then others."""
    if not seeds:
        return FINAL_SEED + i
    return seeds[i] if i < len(seeds) else max(*seeds, FINAL_SEED) + 1 + i - len(seeds)
