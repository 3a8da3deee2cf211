"""What a diagnosis says, and the trial of its remedies over paired seeds."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from .. import lengths, loop
from ..console import WIDTH, duration, unmeasured
from ..errors import BadOption
from ..seeds import RandomState
from .findings import SEVERITIES, Finding, Outcome
from .miniature import cost

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..task import Task

SHOWN = 5
SEEDS = 5
BUDGET = 6000  # gradient evaluations that a trial takes at most
FRESH = 1000  # the first seed of a trial: those of the diagnosis had a part in choosing the remedy


@dataclass
class Diagnosis:
    """What was found, how, and at which cost.

    Attributes:
        title: what was looked at.
        findings: the gravest first.
        measured: what experiments were made.
        not_measured: what was not, and why.
        cost: ``gradient_evaluations`` and ``seconds``.

    Example:
        >>> import thalweg
        >>> diagnosis = thalweg.diagnose("digits")
        >>> [f.code for f in diagnosis.findings if f.severity == "error"]
        []
    """

    title: str
    findings: list[Finding]
    measured: tuple[str, ...]
    not_measured: tuple[dict[str, str], ...]
    cost: dict[str, float]
    subject: tuple[Task, Recipe] | None = field(default=None, repr=False)

    @property
    def trouble(self) -> bool:
        """Whether there is an error or a warning."""
        return any(f.severity != "note" for f in self.findings)

    def verify(self, which: int | str = 0, *, seeds: int = SEEDS, budget: int = BUDGET) -> Finding:
        """Train with and without a finding's remedy over fresh paired seeds; its ``outcome`` says what that did.

        Args:
            which: the finding: its number in the list, or its code.
            seeds: pairs of runs.
            budget: gradient evaluations that all of them may take; runs are shortened to fit.

        Returns:
            The finding with its outcome, which takes the old one's place in ``findings``.

        Raises:
            BadOption: there is no such finding, or its remedy is a line of code that cannot be changed from here.

        Example:
            >>> import thalweg
            >>> diagnosis = thalweg.diagnose("digits", thalweg.Recipe("adamw", lr=3.0))
            >>> diagnosis.verify(seeds=3).outcome.helps
            True
        """
        k = self._number(which)
        from ..study.statistics import mean_interval

        finding, changed = self.findings[k], self.changed(k)
        if changed is None or self.subject is None:
            said = finding.remedy.text if finding.remedy is not None else "nothing"
            raise BadOption(f"verify: the remedy of {finding.code} is a line of code", f"change it by hand: {said}")
        state = RandomState.capture()
        try:
            most = max(8, budget // (2 * seeds * max(cost(*self.subject, 1), cost(*changed, 1))))
            judge = changed[0]  # a loss that was wrong is no measure
            pairs = self.subject, changed
            own, other = (min(lengths.horizon(*pair), most) for pair in pairs)
            before, after = (_losses(*pair, judge, seeds, n) for pair, n in zip(pairs, (own, other), strict=True))
            top = _measured(judge, judge.build(FRESH))
        finally:
            state.restore()
        before, after = (np.minimum(np.nan_to_num(x, nan=np.inf), top) for x in (before, after))
        low, high = mean_interval(after - before)
        outcome = Outcome(float(before.mean()), float(after.mean()), (float(low), float(high)), seeds, (own, other))
        self.findings[k] = finding.but(outcome=outcome)
        return self.findings[k]

    def changed(self, which: int) -> tuple[Task, Recipe] | None:
        """The task and the recipe with a finding's remedy; None where that is a line of code to be changed by hand."""
        remedy = self.findings[which].remedy
        return None if remedy is None or self.subject is None else remedy.applied(*self.subject)

    def _number(self, which: int | str) -> int:
        if isinstance(which, str):
            places = [k for k, f in enumerate(self.findings) if f.code == which]
            which = places[0] if places else -1
        if not 0 <= which < len(self.findings):
            raise BadOption(
                "verify: there is no such finding", f"one of {', '.join(f.code for f in self.findings) or 'none'}"
            )
        return which

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {
            "findings": [f.as_dict() for f in self.findings],
            "measured": list(self.measured),
            "not_measured": [dict(x) for x in self.not_measured],
            "cost": dict(self.cost),
        }

    def __str__(self) -> str:
        counts = [(s, sum(f.severity == s for f in self.findings)) for s in SEVERITIES]
        said = ", ".join(f"{n} {s}{'s' if n > 1 else ''}" for s, n in counts if n) or "No trouble found"
        cost = f"{self.cost['gradient_evaluations']} gradient evaluations, {duration(self.cost['seconds'])}"
        lines = [*textwrap.wrap(self.title, WIDTH), f"{said} · {cost}"]
        for finding in self.findings[:SHOWN]:
            lines += ["", *shown(finding)]
        if len(self.findings) > SHOWN:
            lines += ["", f"and {len(self.findings) - SHOWN} more: --json lists all"]
        for paragraph in unmeasured((one["what"], one["why"]) for one in self.not_measured):
            lines += ["", *paragraph]
        return "\n".join(lines)


def shown(finding: Finding) -> list[str]:
    """A finding in lines of at most 80 columns."""
    lines = [f"{finding.severity:8s}{finding.code}" + (f"   {finding.where}" if finding.where else "")]
    body = [finding.sentence]
    body += [", ".join(f"{name} {value}" for name, value in finding.evidence.items())] if finding.evidence else []
    body += [f"try: {finding.remedy.text}"] if finding.remedy else []
    body += [f"tried: {finding.outcome}"] if finding.outcome else []
    for text in body:
        lines += textwrap.wrap(text, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return [line[:WIDTH] for line in lines]


def _losses(task: Task, recipe: Recipe, judge: Task, seeds: int, steps: int) -> Any:
    """The loss on validation rows at the end of a run, a seed each; infinite for one that diverged."""
    found = []
    for k in range(seeds):
        run, _ = loop.run(task, recipe, FRESH + k, steps=steps, evaluations=0, splits=())
        if run.outcome.reason == "interrupted":
            raise KeyboardInterrupt
        found.append(_measured(judge, run.model) if run.outcome.status == "finished" else math.inf)
    return np.array(found)


def _measured(judge: Task, model: nn.Module) -> float:
    """The cross-entropy of classes, the squared error of numbers, or the loss, on validation rows."""
    data = judge.prepare()
    name = "nll" if data.kind in ("classification", "binary") else "mse" if "mse" in data.metrics else "loss"
    found = judge.evaluate(model, data.select)[name]
    return found if math.isfinite(found) else 1e30
