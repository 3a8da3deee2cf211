"""The protocol: what to try next, given what has been seen. It decides; it trains nothing.

Legend: R finalists, N seeds.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..recipe import Recipe
from . import rates as rate_choice
from .plan import Entrant, Purse
from .statistics import fit_layout, headline, nominal_level

STEP = math.sqrt(10.0)  # between neighbouring rates at the full horizon
FINAL_SEED = 1000  # the first seed of the finals; selection uses 0, 1, ...
EXTENSIONS = 5  # times that a grid is extended past its border
LOOKS = 3


@dataclass(frozen=True)
class Job:
    """A run to do: an entrant's recipe at a rate, a seed, a horizon; ``phase`` says what for."""

    phase: str
    entrant: str
    recipe: Recipe
    seed: int
    steps: int

    @property
    def key(self) -> str:
        """Stable name of the run; also its name in the trace."""
        return f"{self.phase}-{self.recipe.id}-{self.steps}-{self.seed}"


@dataclass(frozen=True)
class Result:
    """What came of a job: the goal's value with larger as better (NaN unless finished), on both halves of the data."""

    status: str
    select: float
    judge: float
    record: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass
class Finalist:
    """An entrant in the finals: its recipe with the chosen rate, its results by seed, and how the rate was found."""

    entrant: Entrant
    recipe: Recipe
    results: dict[int, Result] = field(default_factory=dict)
    abandoned: list[tuple[Job, Result]] = field(default_factory=list)
    choice: rate_choice.Choice | None = None
    tried: dict[float, list[Result]] = field(default_factory=dict)
    probed: dict[float, Result] = field(default_factory=dict)
    select: float = math.nan


@dataclass
class Findings:
    """All that the protocol saw."""

    finalists: list[Finalist]
    level: float
    looks: int
    looks_planned: int
    not_tried: list[str]
    notes: list[str]
    complete: bool = True

    def scores_RN(self) -> NDArray[np.float64]:
        """Values on ``judge``, a row per finalist and a column per seed; NaN where there is none."""
        return score_table(self.finalists)


@dataclass(frozen=True)
class Depth:
    """How much is spent on each entrant: probes per decade, seeds for choosing a rate, seeds in the first final."""

    per_decade: int
    select_seeds: int
    finals: int


DEPTHS = (Depth(2, 2, 10), Depth(2, 1, 10), Depth(2, 1, 7), Depth(1, 1, 5), Depth(1, 1, 3))
Steps = Generator[list[Job], dict[Job, Result], Any]


@dataclass(frozen=True)
class Scale:
    """The horizons: ``steps`` of a full run, ``probe`` of a short one, ``rows`` of a step; ``resolution`` of a score."""

    steps: int
    probe: int
    rows: int
    resolution: float = 0.0


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
    depth, enter = _affordable(field, scale, purse, seeds)
    finalists: list[Finalist] = []
    not_tried = [e.name for e in field if e not in enter]
    notes: list[str] = []
    for entrant in enter:
        waiting = [f for f in finalists]
        price = purse.price(scale.steps, scale.rows)
        reserve = (len(waiting) + 1) * 3 * price
        if entrant.rates is None:
            finalist = Finalist(entrant, entrant.recipe)
            job = Job("baseline" if entrant.baseline else "rate", entrant.name, entrant.recipe, 0, scale.steps)
            if purse.left >= price:
                finalist.tried[entrant.recipe.lr or 0.0] = list((yield [job]).values())
                finalist.select = _mean(finalist.tried[entrant.recipe.lr or 0.0])
        elif len(finalists) >= 2 and purse.left < reserve + _tuning_price(entrant, depth, scale, purse):
            not_tried.append(entrant.name)
            continue
        else:
            finalist = yield from tune(entrant, depth, scale, purse, reserve)
            if finalist.choice is None:
                not_tried.append(f"{entrant.name} (no rate was found within the budget)" if not finalist.probed else f"{entrant.name} at other rates")
                notes.append(f"{entrant.name}: no rate reached the full horizon.")
                continue
        finalists.append(finalist)
    looks, planned = yield from _finals(finalists, depth, scale, purse, seeds, not_tried)
    complete = not purse.closed
    return Findings(finalists, nominal_level(planned), looks, planned, not_tried, notes, complete)


def _affordable(
    field: Sequence[Entrant], scale: Scale, purse: Purse, seeds: Sequence[int] | None
) -> tuple[Depth, list[Entrant]]:
    """The deepest plan for the most entrants: fewer seeds first, then fewer entrants, then three seeds."""
    full = purse.price(scale.steps, scale.rows)

    def cost(depth: Depth, enter: Sequence[Entrant]) -> float:
        finals = len(seeds) if seeds else depth.finals
        tuned = sum(_tuning_price(e, depth, scale, purse) if e.rates else full for e in enter)
        return tuned + len(enter) * finals * full

    for depths in (DEPTHS[:-1], DEPTHS[-1:]):
        for count in range(len(field), 1, -1):
            for depth in depths:
                if cost(depth, field[:count]) <= purse.left:
                    return depth, list(field[:count])
    return DEPTHS[-1], list(field[:2])


def _tuning_price(entrant: Entrant, depth: Depth, scale: Scale, purse: Purse) -> float:
    if entrant.rates is None:
        return purse.price(scale.steps, scale.rows)
    probes = len(rate_choice.grid(*entrant.rates, depth.per_decade)) + 1
    return probes * purse.price(scale.probe, scale.rows) + 5 * depth.select_seeds * purse.price(scale.steps, scale.rows)


def tune(
    entrant: Entrant, depth: Depth, scale: Scale, purse: Purse, reserve: float
) -> Generator[list[Job], dict[Job, Result], Finalist]:
    """Bracket by probes, then at least three rates at the full horizon, extended while the best is at the border."""
    assert entrant.rates is not None
    found = Finalist(entrant, entrant.recipe)

    def jobs(phase: str, values: Iterable[float], seeds: Iterable[int], steps: int) -> list[Job]:
        price = purse.price(steps, scale.rows)
        wanted = [Job(phase, entrant.name, entrant.recipe.but(lr=lr), s, steps) for lr in values for s in seeds]
        room = purse.left - (reserve if phase == "rate" and len(found.tried) >= 3 else 0.0)
        return wanted[: max(0, math.floor(room / price))] if 0 < price and room < math.inf else wanted

    probes = rate_choice.grid(*entrant.rates, depth.per_decade)
    if scale.probe < scale.steps:
        for _ in range(EXTENSIONS):
            for job, result in (yield jobs("probe", probes, [0], scale.probe)).items():
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
    seeds = range(depth.select_seeds)
    wanted = first
    for _ in range(EXTENSIONS + 1):
        for job, result in (yield jobs("rate", wanted, seeds, scale.steps)).items():
            found.tried.setdefault(job.recipe.lr or 0.0, []).append(result)
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
    if not any(x.status == "finished" for v in tried.values() for x in v):
        return found
    divergences = {r: [x.status == "diverged" for x in v] for r, v in tried.items()}
    found.choice = rate_choice.choose(list(tried), {r: [x.select for x in v] for r, v in tried.items()}, divergences)
    found.recipe = entrant.recipe.but(lr=found.choice.lr)
    found.select = found.choice.predicted
    return found


def _finals(
    finalists: list[Finalist], depth: Depth, scale: Scale, purse: Purse, seeds: Sequence[int] | None, not_tried: list[str]
) -> Generator[list[Job], dict[Job, Result], tuple[int, int]]:
    """All finalists on the same fresh seeds, in blocks; after each a look whether one beats every other."""
    price = purse.price(scale.steps, scale.rows)
    block = len(seeds) if seeds else depth.finals
    if purse.budget.kind != "none":
        while len(finalists) > 2 and purse.left < 3 * len(finalists) * price:
            worst = min((f for f in finalists if not f.entrant.baseline), key=lambda f: (f.select if f.select == f.select else -math.inf))
            finalists.remove(worst)
            not_tried.append(f"{worst.entrant.name} in the finals")
        room = max(0, math.floor(purse.left / (len(finalists) * price))) if finalists and price > 0 else 0
        block = min(block, room)
        planned = 1 if seeds or not block else min(LOOKS, room // block)
    else:
        planned = 1 if seeds else LOOKS
    at, look, stepped = 0, 0, 0
    while look < planned and finalists and block:
        numbers = [seeds[i] if seeds and i < len(seeds) else FINAL_SEED + i for i in range(at, at + block)]
        at += block
        done = yield [Job("final", f.entrant.name, f.recipe, seed, scale.steps) for seed in numbers for f in finalists]
        for f in finalists:
            f.results |= {j.seed: r for j, r in done.items() if j.entrant == f.entrant.name and r.status != "stopped"}
        falling = [f for f in finalists if f.choice and any(r.status == "diverged" for r in f.results.values())]
        if falling and stepped < 2 and purse.left >= len(finalists) * block * price:
            stepped += 1  # a lower rate, and for all a block of seeds that it was not chosen on
            for f in finalists:
                if f in falling:
                    f.abandoned += [(Job("final", f.entrant.name, f.recipe, s, scale.steps), r) for s, r in f.results.items()]
                    f.recipe = f.recipe.but(lr=_round((f.recipe.lr or 0.0) / STEP))
                f.results = {}
            continue
        look += 1
        if len(finalists) < 2 or winner(finalists, nominal_level(planned), scale.resolution) is not None:
            break
        if purse.left < len(finalists) * block * price:
            break
    return look, max(1, planned)


def winner(finalists: Sequence[Finalist], level: float, resolution: float = 0.0) -> int | None:
    """The finalist that never diverged and beats every rival at ``level``; a rival with less than two values is beaten."""
    scores = score_table(finalists)
    rows = [i for i, row in enumerate(scores) if np.isfinite(row).sum() >= 2]
    if not rows or len(finalists) < 2:
        return None
    if len(rows) == 1:
        best: int | None = 0
    else:
        best = headline(fit_layout(scores[rows], resolution), level)
    if best is None or any(r.status == "diverged" for r in finalists[rows[best]].results.values()):
        return None
    return rows[best]


def score_table(finalists: Sequence[Finalist]) -> NDArray[np.float64]:
    """Values on ``judge``: R × N, NaN where a finalist has none on a seed."""
    seeds = sorted({seed for f in finalists for seed in f.results})
    return np.array([[f.results[s].judge if s in f.results else math.nan for s in seeds] for f in finalists]).reshape(len(finalists), len(seeds))


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
