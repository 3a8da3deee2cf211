"""What the protocol speaks of: jobs, their results, finalists and findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..identity import digest
from ..recipe import Recipe
from .plan import Arguments, Entrant
from .rates import Choice
from .statistics import fit_layout, headline, leader_of, unbeaten


@dataclass(frozen=True)
class Scale:
    """The horizons: ``steps`` of a full run, ``probe`` of a short one, ``rows`` of a step; ``resolution`` of a score.

    ``horizon`` gives steps and rows of a recipe that has a batch size of its own; ``examples`` are those that choose,
    where the score is a share of them.
    """

    steps: int
    probe: int
    rows: int
    resolution: float = 0.0
    examples: int = 0
    horizon: Callable[[Recipe], tuple[int, int]] | None = field(default=None, compare=False)

    def of(self, recipe: Recipe) -> Scale:
        """The horizons of a recipe."""
        if self.horizon is None or recipe.batch_size is None:
            return self
        steps, rows = self.horizon(recipe)
        return replace(self, steps=steps, probe=short(steps), rows=rows)

    def noise(self, share: float) -> float | None:
        """Standard error of a share of the examples, √(s(1 − s)/n); None where the score is none."""
        return math.sqrt(max(share * (1 - share), 0.0) / self.examples) if self.examples else None


def short(steps: int) -> int:
    """The steps of a probe: a tenth of the run, at least twenty."""
    return min(steps, max(20, steps // 10))


@dataclass(frozen=True)
class Job:
    """A run to do: an entrant's recipe at a rate, a seed, a horizon; ``phase`` says what for.

    ``arguments`` are those that the task's model factory gets.
    """

    phase: str
    entrant: str
    recipe: Recipe
    seed: int
    steps: int
    arguments: Arguments = ()

    @classmethod
    def of(cls, phase: str, entrant: Entrant, recipe: Recipe, seed: int, steps: int) -> Job:
        """A run of an entrant, of its variant of the task."""
        return cls(phase, entrant.name, recipe, seed, steps, entrant.arguments)

    @property
    def key(self) -> str:
        """Stable name of the run; also its name in the trace."""
        return f"{self.phase}-{variant_id(self.recipe, self.arguments)}-{self.steps}-{self.seed}"


def variant_id(recipe: Recipe, arguments: Arguments) -> str:
    """A name of a recipe on a variant of the task: the recipe's own where the task is as it was given."""
    return recipe.id + (digest(arguments)[:6] if arguments else "")


@dataclass(frozen=True)
class Result:
    """What came of a job: the goal's value with larger as better (NaN unless finished), on both halves of the data."""

    status: str
    select: float
    judge: float
    record: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass
class Finalist:
    """An entrant in the finals: its recipe with the chosen rate, its results by seed, and how the rate was found.

    ``settings`` counts those of its whole space that it was chosen from; 0 where the rate alone was tuned.
    ``cut``: the budget ended the search for its rate.
    """

    entrant: Entrant
    recipe: Recipe
    results: dict[int, Result] = field(default_factory=dict)
    abandoned: list[tuple[Job, Result]] = field(default_factory=list)
    choice: Choice | None = None
    tried: dict[float, list[Result]] = field(default_factory=dict)
    probed: dict[float, Result] = field(default_factory=dict)
    select: float = math.nan
    settings: int = 0
    cut: bool = False


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
    """How much is spent on each entrant: probes per decade, seeds for choosing a rate, seeds in the first final.

    ``settings``: how many of its whole space, where that is searched.
    """

    per_decade: int
    select_seeds: int
    finals: int
    settings: int = 16


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


def contenders(finalists: Sequence[Finalist], level: float, resolution: float = 0.0) -> list[Finalist]:
    """Those that may still turn out best: the leader, and whoever it does not beat at ``level``; all, without a leader."""
    scores = score_table(finalists)
    rows = [i for i, row in enumerate(scores) if np.isfinite(row).sum() >= 2]
    if len(rows) < 2:
        return [finalists[i] for i in rows] or list(finalists)
    fit = fit_layout(scores[rows], resolution)
    leader = leader_of(fit)
    left = range(len(rows)) if leader is None else (leader, *unbeaten(fit, leader, level))
    return [finalists[rows[i]] for i in left]


def score_table(finalists: Sequence[Finalist]) -> NDArray[np.float64]:
    """Values on ``judge``: R × N, NaN where a finalist has none on a seed."""
    seeds = sorted({seed for f in finalists for seed in f.results})
    return np.array([[f.results[s].judge if s in f.results else math.nan for s in seeds] for f in finalists]).reshape(
        len(finalists), len(seeds)
    )
