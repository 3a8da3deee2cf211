"""What a comparison will run and cost, before its first run: the protocol played with answers that decide nothing."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..console import duration
from .choosing import slowdown
from .jobs import Job, Result, Scale
from .ladder import protocol
from .plan import Entrant, Purse

WORDS = {"baseline": "baseline", "probe": "short probes", "rung": "settings", "rate": "rates", "final": "finals"}


@dataclass(frozen=True)
class Preview:
    """What is planned: no training has happened.

    Attributes:
        task: its name.
        budget: the limit.
        entrants: who enters, the baseline first.
        phases: for each phase its ``runs``, ``steps`` of all runs together, ``samples`` and expected ``seconds``.
        total: the same of all phases.
        not_tried: what the budget leaves out.
        executor: where runs would happen, and the measurement that decided it.

    """

    task: str
    budget: str
    entrants: tuple[str, ...]
    phases: dict[str, dict[str, float]]
    total: dict[str, float]
    not_tried: tuple[str, ...]
    executor: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {k: getattr(self, k) for k in self.__dataclass_fields__}

    @property
    def sentence(self) -> str:
        """The plan in a line."""
        parts = [f"{WORDS.get(name, name)} {phase['runs']:,.0f}" for name, phase in self.phases.items()]
        seconds = self.total["seconds"]
        cost = f" in about {duration(seconds)}" if seconds else ""
        return f"Plan: up to {self.total['runs']:,.0f} runs{cost} ({', '.join(parts)}); budget: {self.budget}."

    def __str__(self) -> str:
        lines = [self.sentence, f"Entrants: {', '.join(self.entrants)}.", ""]
        lines.append(f"{'':14}{'runs':>8}{'updates':>12}{'samples':>14}{'seconds':>10}")
        for name, phase in [*self.phases.items(), ("in all", self.total)]:
            row = f"{WORDS.get(name, name):14}{phase['runs']:8,.0f}{phase['steps']:12,.0f}{phase['samples']:14,.0f}"
            lines.append(row + f"{phase['seconds']:10,.1f}")
        if self.not_tried:
            lines += ["", f"Left out for want of budget: {', '.join(self.not_tried)}."]
        lines += ["", "Rates that lie at a border are followed further, and a clear winner ends it sooner."]
        return "\n".join(lines)


def preview(
    task: str,
    field: Sequence[Entrant],
    scale: Scale,
    purse: Purse,
    seeds: Sequence[int] | None,
    executor: dict[str, Any],
) -> Preview:
    """Play the protocol on a clock that only the expected times of its runs move.

    Every run of an entrant is best at the middle of its range of rates, and all entrants are equal there: no border is
    followed, nobody wins, so all planned looks are taken.

    Args:
        task: its name.
        field: the competitors.
        scale: the horizons.
        purse: the real one; nothing is taken from it.
        seeds: of the finals.
        executor: what was measured of it.

    Example:
        >>> from thalweg.study.jobs import Scale
        >>> from thalweg.study.plan import Budget, Purse, entrants
        >>> field, _ = entrants(["sgd"], None, "other", False)
        >>> planned = preview("net", field, Scale(400, 40, 64), Purse(Budget.of("30 runs"), 0.0), None, {})
        >>> planned.total["runs"], list(planned.phases)
        (29.0, ['baseline', 'probe', 'rate', 'final'])
    """
    now = [time.monotonic()]
    twin = purse.twin(lambda: now[0])
    middles = {e.name: math.log10(e.rates[0] * e.rates[1]) / 2 for e in field if e.rates}

    def answer(job: Job) -> Result:
        off = math.log10(job.recipe.lr or 1.0) - middles[job.entrant] if job.entrant in middles else 0.0
        return Result("finished", -(off**2), 0.0)

    phases: dict[str, dict[str, float]] = {}
    steps = protocol(field, scale, twin, seeds)
    jobs, findings = next(steps), None
    while findings is None:
        answers, twin.promised = {}, 0.0
        alike = collections.Counter(job.steps for job in jobs)
        for job in jobs:
            members = alike[job.steps] / executor.get("workers", 1)
            slow = slowdown(executor, members)
            seconds = purse.expected(job.steps) * slow
            if now[0] + seconds > twin.deadline:
                break
            found = {
                "runs": 1,
                "steps": job.steps,
                "samples": job.steps * scale.of(job.recipe).rows,
                "seconds": seconds,
            }
            phase = phases.setdefault(job.phase, dict.fromkeys(found, 0.0))
            for name, value in found.items():
                phase[name] += value
            now[0] += seconds
            twin.pay(1, int(found["samples"]), job.steps, seconds / slow)  # a price is that of a run in a full program
            answers[job] = answer(job)
        try:
            jobs = steps.send(answers)
        except StopIteration as end:
            findings = end.value
    names = ("runs", "steps", "samples", "seconds")
    total = {name: sum(phase[name] for phase in phases.values()) for name in names}
    entrants = tuple(e.name for e in field)
    return Preview(task, str(purse.budget), entrants, phases, total, tuple(findings.not_tried), executor)
