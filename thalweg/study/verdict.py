"""The verdict: what may be said of the finalists, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import rules
from ..recipe import Recipe
from . import planning
from . import rates as rate_choice
from . import statistics as st
from .borders import Border, borders
from .horizons import Trend
from .jobs import Finalist, Findings, Result, score_table, winner
from .words import methods, probe_rate, sentences

CONFIDENCE = 0.95


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


@dataclass(frozen=True)
class Verdict:
    """The answer. ``winner`` is None when no finalist beats every rival at its level; ``best`` is recommended all the same.

    Example:
        >>> import thalweg
        >>> study = thalweg.compare("digits", field=["sgd"], budget="8 runs", quiet=True, folder=tmp / "study")
        >>> study.verdict.direction, study.verdict.winner in (None, "sgd", "adamw at 1e-3")
        ('max', True)
    """

    sentences: tuple[str, str, str]
    winner: str | None
    best: str | None
    equivalent: tuple[str, ...]
    materially: bool
    metric: str
    direction: str
    smallest_difference: float
    seeds_needed: int | None
    effort: str
    level: float
    looks: int
    looks_planned: int
    methods: str

    @property
    def sentence(self) -> str:
        """The headline."""
        return self.sentences[0]

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {"sentence": self.sentence} | {k: getattr(self, k) for k in self.__dataclass_fields__}


def judge(
    findings: Findings, question: Question, seconds: Mapping[str, float], trends: Mapping[str, Trend | None]
) -> tuple[Verdict, list[Standing]]:
    """Decide: headline at the looks' nominal level, table by Tukey, four decisions against ±δ, recommendation.

    Args:
        findings: what the protocol saw.
        question: what was asked.
        seconds: of a full run by finalist's name: its steps × its own step time.
        trends: by finalist's name its best rate against the horizon.

    Returns:
        The verdict, and the finalists' standings from best to worst.
    """
    finalists = [f for f in findings.finalists if f.results]
    scored = [f for f in finalists if any(math.isfinite(r.judge) for r in f.results.values())]
    at = winner(finalists, findings.level, question.resolution) if finalists else None
    won = finalists[at] if at is not None else None
    sound = [f for f in scored if not _diverged(f)]
    leader = won or max(sound or scored, key=_mean, default=None)
    layout = st.fit_layout(score_table(scored), question.resolution) if scored else None

    def contrast(one: Finalist, other: Finalist | None) -> Contrast:
        if other is None or one not in scored or other not in scored or layout is None:
            sides = (one in scored, other in scored)  # one that always diverged is worse than one that did not
            decision = (
                {(True, False): "better", (False, True): "worse"}.get(sides, "undecided") if other else "undecided"
            )
            return Contrast(math.nan, (-math.inf, math.inf), None, decision)
        if one is other:
            return Contrast(0.0, (0.0, 0.0), None, "equivalent")
        d = st.difference(layout, scored.index(one), scored.index(other), CONFIDENCE, simultaneous=True)
        decision = st.decide(d.interval, question.delta)
        ends = sorted(question.sign * end for end in d.interval)
        return Contrast(question.sign * d.mean, (ends[0], ends[1]), d.p_better, decision)

    baseline = next((f for f in finalists if f.entrant.baseline), None)
    target = _target(baseline if baseline in sound else min(sound, key=_mean, default=None), question)
    at_border = borders(finalists)
    standings = [
        replace(
            _standing(f, contrast(f, baseline), contrast(f, leader), target, question, seconds.get(f.entrant.name)),
            border=at_border.get(f.entrant.name),
            trend=trends.get(f.entrant.name),
        )
        for f in finalists
    ]
    standings.sort(key=lambda s: -math.inf if math.isnan(s.mean) else question.sign * s.mean, reverse=True)
    by_name = {s.name: s for s in standings}
    top = by_name[leader.entrant.name] if leader else None
    equivalent = [
        s for s in standings if top and s is not top and s.versus_best.decision == "equivalent" and not s.diverged
    ]
    best = _recommended(top, equivalent, won is not None, standings, question)
    others = len(scored) > 1 and layout is not None
    needed = None if won or not others or layout is None else planning.more_seeds_for_headline(layout, findings.level)
    gain = by_name[best.name].difference if best else None
    materially = bool(
        gain and best and not best.baseline and min(question.sign * e for e in gain.interval) > question.delta
    )
    verdict = Verdict(
        sentences=sentences(won, top, best, standings, needed, findings, question),
        winner=won.entrant.name if won else None,
        best=best.name if best else None,
        equivalent=tuple(s.name for s in equivalent),
        materially=materially,
        metric=question.metric,
        direction="max" if question.sign > 0 else "min",
        smallest_difference=question.delta,
        seeds_needed=needed,
        effort=question.effort,
        level=round(findings.level, 6),
        looks=findings.looks,
        looks_planned=findings.looks_planned,
        methods=methods(standings, findings, question),
    )
    return verdict, standings


def _diverged(f: Finalist) -> int:
    return sum(r.status == "diverged" for r in f.results.values())


def _mean(f: Finalist) -> float:
    values = [r.judge for r in f.results.values() if math.isfinite(r.judge)]
    return sum(values) / len(values) if values else -math.inf


def _recommended(
    top: Standing | None, equivalent: Sequence[Standing], won: bool, standings: Sequence[Standing], question: Question
) -> Standing | None:
    """The winner; else the user's own recipe if nothing is shown to be better; else the cheapest of the equivalent ones."""
    if top is None or sum(len(s.seeds) > 1 for s in standings) < 2:
        return None
    own = next((s for s in standings if s.baseline), None)
    if won and not (question.own_baseline and top.difference.decision == "equivalent"):
        return top
    if question.own_baseline and own is not None and not own.diverged and top.difference.decision != "better":
        return own

    def order(s: Standing) -> tuple[float, float, float]:
        reached = math.inf if s.samples_to_target is None else s.samples_to_target
        return reached, -(s.lr_robustness_decades or 0.0), s.bytes_per_parameter

    return min([top, *equivalent], key=order)


def _target(f: Finalist | None, question: Question) -> float | None:
    """The level whose first reaching is timed: the baseline's mean final value on ``select``, larger as better."""
    if f is None:
        return None
    values = [r.select for r in f.results.values() if math.isfinite(r.select)]
    return sum(values) / len(values) if values else None


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


def _standing(
    f: Finalist,
    difference: Contrast,
    versus_best: Contrast,
    target: float | None,
    question: Question,
    seconds: float | None,
) -> Standing:
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
