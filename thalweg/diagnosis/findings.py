"""A finding: one trouble, what shows it, how sure that is, and what to change; and the table of all codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..task import Task

SEVERITIES = ("error", "warning", "note")
Change = Callable[["Task", "Recipe"], "tuple[Task, Recipe]"]

# Family → codes. Their order is that of cause and effect: where two are found that are as severe, the earlier one is
# nearer to the root, and named first.
FAMILIES: dict[str, tuple[str, ...]] = {
    "data": (
        "input-non-finite", "label-range", "labels-shuffled", "leakage", "not-shuffled", "label-imbalance", "input-scale",
    ),
    "loop": (
        "loss-ascends", "loss-is-summed", "gradients-cleared", "gradients-accumulate", "parameters-not-in-optimizer",
        "update-undone", "training-in-eval-mode", "clipped-always", "weight-decay-dominates", "parameters-without-gradient",
    ),
    "architecture": (
        "graph-detached", "double-softmax", "output-range", "batch-mixing", "linear-network", "attention-saturated",
        "constant-output",
    ),
    "initialization": (
        "symmetric-units", "exploding-signal", "vanishing-signal", "saturated-units", "dead-units", "exploding-gradient",
        "vanishing-gradient", "initial-loss",
    ),
    "normalization": ("batchnorm-small-batch", "batchnorm-stale", "batchnorm-gap", "eval-not-deterministic"),
    "precision": ("update-lost-in-rounding", "gradient-underflow", "non-finite"),
    "learning rate": (
        "schedule-collapsed", "adam-epsilon", "adam-betas", "momentum-too-high", "lr-unstable", "lr-too-high", "lr-too-low",
        "edge-of-stability",
    ),
    "where am I": ("ill-conditioned", "saddle-point", "plateau", "noise-floor", "local-minimum", "not-critical"),
    "fit": ("cannot-overfit-one-batch", "overfitting", "underfitting"),
    "shift": ("covariate-shift", "label-shift", "concept-shift", "surface-moved", "not-enough-data"),
}  # fmt: skip
CODES = tuple(code for codes in FAMILIES.values() for code in codes)


@dataclass(frozen=True)
class Evidence:
    """A number that was measured.

    Attributes:
        value: what was measured.
        threshold: what it is held against; None: nothing, it is told for the reader.
        error: one standard error; None: it is exact, or is not known.
    """

    value: float
    threshold: float | None = None
    error: float | None = None

    def __str__(self) -> str:
        said = f"{self.value:.3g}" + (f" ± {self.error:.1g}" if self.error is not None else "")
        return said + (f" (against {self.threshold:.3g})" if self.threshold is not None else "")


@dataclass(frozen=True)
class Remedy:
    """What to change.

    Attributes:
        text: in words, or the line of code.
        change: fields of the recipe and their new values; None: something else than the recipe has to change.
        apply: (task, recipe) → those with the change made, so that it can be tried; None: it cannot be made from here.
    """

    text: str
    change: Mapping[str, Any] | None = None
    apply: Change | None = field(default=None, repr=False, compare=False)

    @property
    def kind(self) -> str:
        """``recipe`` or ``code``."""
        return "code" if self.change is None else "recipe"

    def applied(self, task: Task, recipe: Recipe) -> tuple[Task, Recipe] | None:
        """The task and the recipe with the change made; None where it cannot be made from here."""
        if self.apply is not None:
            return self.apply(task, recipe)
        return None if self.change is None else (task, recipe.but(**self.change))

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {"kind": self.kind, "change": None if self.change is None else dict(self.change), "text": self.text}


@dataclass(frozen=True)
class Outcome:
    """What a remedy did, over paired seeds: mean losses without and with it, and the interval of their difference.

    Example:
        >>> print(Outcome(2.3, 0.5, (-1.9, -1.7), 5, (40, 40)))
        helps: loss 2.3 → 0.5 [-1.9, -1.7], 5 paired seeds of 40 steps
    """

    before: float
    after: float
    interval: tuple[float, float]
    seeds: int
    steps: tuple[int, int]  # of a run without and with it

    @property
    def helps(self) -> bool:
        """Whether the loss is surely lower with it."""
        return self.interval[1] < 0

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        own = {"before": self.before, "after": self.after, "interval": list(self.interval), "seeds": self.seeds}
        return own | {"steps": list(self.steps)}

    def __str__(self) -> str:
        said = "helps" if self.helps else "does not help" if self.interval[0] > 0 else "no clear difference"
        low, high = self.interval
        runs = f"{self.seeds} paired seeds of {' and '.join(map(str, dict.fromkeys(self.steps)))} steps"
        return f"{said}: loss {self.before:.4g} → {self.after:.4g} [{low:+.3g}, {high:+.3g}], {runs}"


@dataclass(frozen=True)
class Finding:
    """One trouble.

    Attributes:
        code: one of `CODES`; ``docs/findings/CODE.md`` says what it means.
        severity: ``error``: it does not train as it is; ``warning``: it costs; ``note``: to be known, no trouble by itself.
        where: module, parameter, step, batch or feature; "" for the whole.
        sentence: what it is, in words.
        evidence: the numbers that show it, by name.
        confidence: that it is so, in [0, 1].
        remedy: what to change; None where there is nothing to do.
        outcome: what the remedy did, once it was tried.

    Example:
        >>> print(Finding("not-shuffled", "warning", "train", "The rows come sorted by class.", remedy=Remedy("shuffle=True")))
        warning: not-shuffled in train
          The rows come sorted by class.
          try: shuffle=True
    """

    code: str
    severity: str
    where: str
    sentence: str
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    confidence: float = 0.95
    remedy: Remedy | None = None
    outcome: Outcome | None = None

    def __post_init__(self) -> None:
        assert self.code in CODES and self.severity in SEVERITIES, (self.code, self.severity)

    def but(self, **changes: Any) -> Finding:
        """The same with some fields changed."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "sentence": self.sentence,
            "evidence": {k: {f.name: getattr(e, f.name) for f in fields(e)} for k, e in self.evidence.items()},
            "confidence": self.confidence,
            "remedy": None if self.remedy is None else self.remedy.as_dict(),
            "outcome": None if self.outcome is None else self.outcome.as_dict(),
        }

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.code}" + (f" in {self.where}" if self.where else ""), f"  {self.sentence}"]
        lines += [f"  try: {self.remedy.text}"] if self.remedy else []
        lines += [f"  tried: {self.outcome}"] if self.outcome else []
        return "\n".join(lines)


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """The most severe first; among as severe ones, the nearest to the root first; each code once a place."""
    seen = {(f.code, f.where): f for f in reversed(list(findings))}
    return sorted(seen.values(), key=lambda f: (SEVERITIES.index(f.severity), CODES.index(f.code), -f.confidence))
