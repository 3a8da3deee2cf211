"""The verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .jobs import Finalist, Findings
    from .standing import Question, Standing

SHARES = ("accuracy", "f1", "auc")  # metrics in [0, 1], shown in per cent
SEARCHED = "rate, weight decay, momentum or betas, eps and warm-up"


def show(value: float, metric: str, signed: bool = False) -> str:
    """A metric's value in words: accuracies in per cent, others with four digits.

    Example:
        >>> show(0.98123, "accuracy"), show(0.0123, "accuracy", signed=True), show(0.51234, "mse")
        ('98.1', '+1.23', '0.5123')
    """
    if math.isnan(value):
        return "–"
    if metric in SHARES:
        return f"{100 * value:+.2f}" if signed else f"{100 * value:.1f}"
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def unit(metric: str) -> str:
    """What follows a metric's values: ``" %"`` for shares."""
    return " %" if metric in SHARES else ""


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def sentences(
    won: Finalist | None,
    top: Standing | None,
    best: Standing | None,
    standings: Sequence[Standing],
    needed: int | None,
    findings: Findings,
    q: Question,
) -> tuple[str, str, str]:
    """The headline, the advice, and what was not looked at.

    Args:
        won: who beats every rival, or None.
        top: the leader's standing.
        best: what is recommended.
        standings: from best to worst.
        needed: how many more seeds would give a headline.
        findings: what the protocol saw.
        q: what was asked.
    """
    if top is None or len(standings) < 2 or len(top.seeds) < 2:
        first = _no_verdict(findings, q)
    elif won is not None:
        rivals = f"each of its {len(standings) - 1} rivals" if len(standings) > 2 else "its rival"
        first = (
            f"{top.name} is best on {q.task}: {_value(top, q)}, better than {rivals} ({len(top.seeds)} fresh seeds)."
        )
    else:
        first = _undecided(top, standings, needed, q)
    second = "Nothing is recommended." if best is None else _advice(best, standings, q)
    seeds = "seeds vary the order of the data only" if q.fixed_weights else "intervals speak of new seeds on this data"
    untried = f" Not tried: {', '.join(findings.not_tried)}." if findings.not_tried else ""
    return first, second, f"{_tuned(findings)} (effort {q.effort}); {seeds}.{untried}"


def _tuned(findings: Findings) -> str:
    """What was tuned, and how much."""
    counts = {f.settings for f in findings.finalists if f.settings}
    if not counts:
        return "Only the learning rates were tuned"
    count = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts)}"
    return f"Each optimizer was tuned over {count} settings of {SEARCHED}"


def _value(s: Standing, q: Question) -> str:
    return f"{q.metric} {show(s.mean, q.metric)}{unit(q.metric)}"


def _no_verdict(findings: Findings, q: Question) -> str:
    what = "the budget ended before" if findings.complete else "the comparison was stopped before"
    learned = [
        f"{f.entrant.name} learns best near lr {rate:.3g}" for f in findings.finalists if (rate := probe_rate(f))
    ]
    seen = f" Short probes say: {'; '.join(learned)}." if learned else ""
    return f"No verdict on {q.task}: {what} two recipes had run on two fresh seeds.{seen}"


def _undecided(top: Standing, standings: Sequence[Standing], needed: int | None, q: Question) -> str:
    rivals = [
        s
        for s in standings
        if s is not top and s.versus_best.decision in ("equivalent", "undecided") and not s.diverged
    ]
    within = f"within {show(q.delta, q.metric)}{unit(q.metric)} of {q.metric}"
    if rivals and all(s.versus_best.decision == "equivalent" for s in rivals):
        if len(rivals) == len(standings) - 1:
            return f"All {len(standings)} finalists are equivalent on {q.task}: {within}."
        return (
            f"{_list([top.name, *(s.name for s in rivals)])} are equivalent on {q.task} ({within}); the rest are worse."
        )
    more = f"; about {needed} more seeds would decide" if needed else ""
    behind = _list([s.name for s in rivals]) if rivals else "all others"
    seeds = f"({len(top.seeds)} seeds{more})"
    return (
        f"No single winner on {q.task}: {top.name} leads with {_value(top, q)}, not surely ahead of {behind} {seeds}."
    )


def _advice(best: Standing, standings: Sequence[Standing], q: Question) -> str:
    base = next((s for s in standings if s.baseline), None)
    if base is None:
        return f"Take {best.name}."
    if best is base:
        what = "Keep yours" if q.own_baseline else f"Take {base.name}"
        return f"{what}: nothing tried is shown to be better."
    d = best.difference
    if math.isnan(d.mean):
        return f"Take {best.name}: {base.name} diverged."
    low, high = (show(e, q.metric, signed=True) for e in d.interval)
    materially = d.decision == "better" and min(q.sign * e for e in d.interval) > q.delta
    words = "materially better" if materially else {"undecided": "not decided"}.get(d.decision, d.decision)
    gain = "points" if unit(q.metric) else q.metric
    return (
        f"Take {best.name}: against {base.name} {show(d.mean, q.metric, signed=True)} {gain} [{low}, {high}], {words}."
    )


def methods(standings: Sequence[Standing], findings: Findings, q: Question) -> str:
    """A paragraph that a reader can quote."""
    names = ", ".join(f"{s.name} (lr {s.recipe.lr:.3g})" for s in standings)
    n = max((len(s.seeds) for s in standings), default=0)
    return (
        f"Compared on {q.task}: {names}. {_choice(findings)}chosen on a "
        f"selection set at the full horizon by a quadratic fit in log rate. Finalists were trained on {n} fresh seeds shared "
        f"by all (paired initial weights and batch order) and scored by {q.metric} on data that no choice had seen "
        f"({q.judged_on}). A recipe is called best if it beats every rival in a two-sided t test at {findings.level:.3g} each "
        f"(residual variance of the recipe × seed layout, pooled; paired where variances differ by more than 4×; "
        f"{findings.looks} of {findings.looks_planned} planned looks, Pocock's levels). Intervals of single recipes are "
        f"95 % by normal theory, those of differences simultaneous 95 % (Tukey); differences within "
        f"±{q.delta:.3g} count as equivalent."
    )


def _choice(findings: Findings) -> str:
    """How the settings were come by, up to the choice of the rate."""
    counts = {f.settings for f in findings.finalists if f.settings}
    if not counts:
        return "Each tuned optimizer's learning rate was bracketed by short runs and "
    return (
        f"Of each tuned optimizer's published search space ({SEARCHED}), {max(counts)} settings (its default and a "
        f"scrambled Sobol sequence) were trained by complete runs of growing length, the best third going on, and the best "
        f"one's learning rate was "
    )


def warnings(standings: Sequence[Standing], changes: Sequence[dict[str, Any]], delta: float) -> list[str]:
    """Sentences on what the tuning leaves in doubt: rates at the end of those tried, short runs that mislead.

    Args:
        standings: of the finalists.
        changes: of the ranking between horizons, as in the study's document.
        delta: the smallest interesting difference.
    """
    said = [s.border.sentence(s.name, s.recipe.lr or 0.0) for s in standings if s.border]
    said += [s.trend.sentence(s.name) for s in standings if s.trend and s.trend.misleads(delta)]
    for change in changes:
        if change["leader"] and change["lost"] > delta:
            (first, then), (short, long) = change["leader"], change["steps"]
            said.append(f"The ranking changes with the length: {first} leads in {short} steps, {then} in {long}.")
    return said


def probe_rate(f: Finalist) -> float | None:
    """The rate that was best in the short probes, or None."""
    finite = {lr: r.select for lr, r in f.probed.items() if math.isfinite(r.select)}
    return max(finite, key=lambda lr: finite[lr]) if finite else None
