"""A finalist's row of the table: its seeds, how it compares, what else is worth knowing of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import rules
from ..recipe import Recipe
from . import rates as rate_choice
from . import statistics as st
from .borders import Border
from .horizons import Trend
from .jobs import Finalist, Result
from .words import probe_rate


@dataclass(frozen=True)
class Question:
    """What was asked: the goal's metric, its sign (+1: larger is better), δ, and how the answer is worded."""

    task: str
    metric: str
    sign: int
    delta: float
    resolution: float
    effort: str
    own_baseline: bool
    fixed_weights: bool
    judged_on: str = "judge"
    rows_per_step: int = 1


@dataclass(frozen=True)
class Contrast:
    """A finalist against another: mean difference in the metric's unit, simultaneous 95 % interval, chance to be better."""

    mean: float
    interval: tuple[float, float]
    p_better: float | None
    decision: str

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {
            "mean": self.mean,
            "interval": list(self.interval),
            "p_better": self.p_better,
            "decision": self.decision,
        }


@dataclass(frozen=True)
class Standing:
    """One row of the table: a finalist on its seeds, against the baseline and against the leader."""

    name: str
    optimizer: str
    recipe: Recipe
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    mean: float
    interval: tuple[float, float]
    difference: Contrast
    versus_best: Contrast
    baseline: bool
    diverged: int
    diverged_where: tuple[str, ...]
    samples_to_target: float | None
    steps_to_target: float | None
    lr_robustness_decades: float | None
    lr_expected: float | None
    lr_edge: float | None
    seconds: float | None
    bytes_per_parameter: int
    gradient_evaluations: int
    best_checkpoint: float | None
    calibration: dict[str, float] = field(default_factory=dict)
    rates: tuple[tuple[float, float], ...] = ()
    probe_rate: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: int = 0
    border: Border | None = None
    trend: Trend | None = None

    @property
    def seconds_to_target(self) -> float | None:
        """The steps to the target in the recipe's own step time; None where one of them is not known."""
        if self.seconds is None or self.steps_to_target is None or not self.gradient_evaluations:
            return None
        return self.seconds * self.steps_to_target / self.gradient_evaluations

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        own = {k: getattr(self, k) for k in self.__dataclass_fields__}
        return own | {
            "recipe": self.recipe.as_dict(),
            "difference": self.difference.as_dict(),
            "versus_best": self.versus_best.as_dict(),
            "border": self.border and self.border.as_dict(),
            "trend": self.trend and self.trend.as_dict(),
        }


def _reached(result: Result, target: float, question: Question) -> tuple[float, float, bool]:
    """Samples and steps at the first evaluation on ``select`` that is as good as the target, and whether it is missing."""
    curve = [e for e in result.record.get("evaluations", ()) if e["split"] == "select" and question.metric in e]
    for e in curve:
        if question.sign * float(e[question.metric]) >= target:
            return e["samples"], e["step"], False
    return float(result.record.get("samples", 0)), float(result.record.get("steps_done", 0)), True


def _best_checkpoint(result: Result, question: Question) -> float:
    """The value on ``judge`` at the evaluation that is best on ``select``."""
    known = [e for e in result.record.get("evaluations", ()) if question.metric in e]
    curve = {split: [e for e in known if e["split"] == split] for split in ("select", "judge")}
    pairs = [
        (question.sign * float(s[question.metric]), float(j[question.metric]))
        for s, j in zip(curve["select"], curve["judge"], strict=False)
    ]
    return max(pairs)[1] if pairs else math.nan


def standing_of(
    f: Finalist,
    difference: Contrast,
    versus_best: Contrast,
    target: float | None,
    question: Question,
    seconds: float | None,
) -> Standing:
    """What is known of a finalist, with its differences from the baseline and from the leader worked out."""
    seeds = tuple(sorted(f.results))
    scores = tuple(question.sign * f.results[s].judge for s in seeds)
    finite = [s for s in scores if math.isfinite(s)]
    missing = [*f.results.items(), *((job.seed, r) for job, r in f.abandoned)]
    fallen = [
        f"seed {s}: {r.record['outcome']['reason']} (step {r.record['outcome']['step']})"
        for s, r in missing
        if r.status == "diverged"
    ]
    times = (
        [_reached(f.results[s], target, question) for s in seeds if f.results[s].record] if target is not None else []
    )
    lasts: list[dict[str, Any]] = [
        next((e for e in reversed(r.record.get("evaluations", ())) if e["split"] == "judge"), {})
        for r in f.results.values()
    ]
    calibration: dict[str, float] = {}
    for name in ("nll", "ece"):
        values = [float(e[name]) for e in lasts if name in e]
        if values:
            calibration[name] = float(np.mean(values))
    curve = {lr: [r.select for r in results] for lr, results in sorted(f.tried.items())} if f.choice else {}
    means = {lr: float(np.mean(v)) for lr, v in curve.items() if v and all(map(math.isfinite, v))}
    checkpoints = [_best_checkpoint(r, question) for r in f.results.values() if r.status == "finished"]
    full = max((r.record.get("steps_done", 0) for r in f.results.values()), default=0)
    steps = st.kaplan_meier_median([t[1] for t in times], [t[2] for t in times]) if times else None
    expected = (
        rate_choice.expected_over_decade(list(means), list(means.values()), f.recipe.lr or 0.0)
        if len(means) > 1
        else None
    )
    return Standing(
        name=f.entrant.name,
        optimizer=f.recipe.optimizer,
        recipe=f.recipe,
        seeds=seeds,
        scores=scores,
        mean=float(np.mean(finite)) if finite else math.nan,
        interval=st.mean_interval(finite) if len(finite) > 1 else (-math.inf, math.inf),
        difference=difference,
        versus_best=versus_best,
        baseline=f.entrant.baseline,
        diverged=len(fallen),
        diverged_where=tuple(fallen),
        samples_to_target=st.kaplan_meier_median([t[0] for t in times], [t[2] for t in times]) if times else None,
        steps_to_target=steps,
        lr_robustness_decades=rate_choice.robustness(list(means), list(means.values()), question.delta)
        if len(means) > 1
        else None,
        lr_expected=None if expected is None else question.sign * expected,
        lr_edge=f.choice.edge if f.choice else None,
        seconds=seconds,
        bytes_per_parameter=rules.get(f.recipe.optimizer).bytes_per_parameter(f.recipe.options),
        gradient_evaluations=full,
        best_checkpoint=float(np.mean(checkpoints)) if checkpoints else None,
        calibration=calibration,
        rates=tuple((lr, question.sign * v) for lr, v in means.items()),
        probe_rate=probe_rate(f),
        arguments=dict(f.entrant.arguments),
        settings=f.settings,
    )
