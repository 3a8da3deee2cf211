"""The verdict: what may be said of the finalists, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import planning
from . import statistics as st
from .borders import borders
from .horizons import Trend
from .jobs import Finalist, Findings, score_table, winner
from .standing import Contrast, Question, Standing, standing_of
from .words import methods, sentences

CONFIDENCE = 0.95


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
    layout = st.fit_layout(score_table(scored), question.resolution) if scored else None
    ahead = (
        st.leader_of(layout) if layout is not None else None
    )  # of those on all seeds: whoever left the race is beaten
    leader = won or (scored[ahead] if ahead is not None else max(sound or scored, key=_mean, default=None))

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
            standing_of(f, contrast(f, baseline), contrast(f, leader), target, question, seconds.get(f.entrant.name)),
            border=at_border.get(f.entrant.name),
            trend=trends.get(f.entrant.name),
        )
        for f in finalists
    ]
    standings.sort(key=lambda s: _place(s, question.sign), reverse=True)
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


def _place(s: Standing, sign: int) -> float:
    """What orders the table: the difference from the leader on the seeds that both have, else the mean; diverged last."""
    if not math.isfinite(s.mean):
        return -math.inf
    return sign * (s.versus_best.mean if math.isfinite(s.versus_best.mean) else s.mean)


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
