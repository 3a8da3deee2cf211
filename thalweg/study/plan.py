"""What a comparison may spend and who enters it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .. import rules
from ..errors import Allowed, BadOption, check
from ..recipe import Recipe
from . import spaces

FIELD = ("adamw", "momentum", "nesterov", "adam", "sgd", "rmsprop", "adagrad")  # in the order of spending
UNTUNED = Recipe("adamw", lr=1e-3, weight_decay=0.01)
BUDGET = Allowed(
    "seconds (90, '90s', '5m', '1h'), samples ('2e6 samples') or runs ('60 runs'), more than 0, or None",
    lambda v: v is None or _parse(v) is not None,
)
_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
FINE_TUNING_RATES = (1e-6, 1e-4)
Arguments = tuple[tuple[str, Any], ...]  # names and values


@dataclass(frozen=True)
class Budget:
    """A hard limit: ``kind`` is ``seconds``, ``samples``, ``runs`` or ``none``."""

    kind: str
    amount: float

    @classmethod
    def of(cls, value: Any) -> Budget:
        """Read what a user wrote.

        Raises:
            BadOption: not a budget.

        Example:
            >>> Budget.of("5m")
            Budget(kind='seconds', amount=300.0)
            >>> Budget.of("60 runs")
            Budget(kind='runs', amount=60.0)
        """
        check("compare", "budget", value, BUDGET, "write budget='5m', '2e6 samples' or '60 runs'")
        parsed = None if value is None else _parse(value)
        return parsed or cls("none", math.inf)

    def part(self, count: float) -> float | str | None:
        """A ``count``-th of it, as a user writes it.

        Example:
            >>> Budget.of("60 runs").part(3), Budget.of("1m").part(2), Budget.of(None).part(2)
            ('20 runs', 30.0, None)
        """
        amount = self.amount / count
        return {
            "none": None,
            "seconds": amount,
            "runs": f"{max(1.0, amount):.0f} runs",
            "samples": f"{amount:.6g} samples",
        }[self.kind]

    def __str__(self) -> str:
        return "no limit" if self.kind == "none" else f"{self.amount:.6g} {self.kind}"


def _parse(value: Any) -> Budget | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Budget("seconds", float(value)) if 0 < value < math.inf else None
    match = (
        re.fullmatch(r"\s*([0-9.]+(?:e[+]?[0-9]+)?)\s*([a-z]*)\s*", str(value).lower())
        if isinstance(value, str)
        else None
    )
    if not match:
        return None
    try:
        amount = float(match[1])
    except ValueError:
        return None
    unit = match[2]
    if not 0 < amount < math.inf:
        return None
    if unit in ("second", "seconds"):
        return Budget("seconds", amount)
    if unit in _UNITS:
        return Budget("seconds", amount * _UNITS[unit])
    kind = unit if unit.endswith("s") else unit + "s"
    return Budget(kind, amount) if kind in ("samples", "runs") else None


class Purse:
    """What is left of a budget, and what a job will cost.

    Args:
        budget: the hard limit.
        started: when the study began, on the clock of `time.monotonic`; earlier parts of it that were interrupted count.
        reserve: seconds kept for what comes after the last run.
        clock: tells the time.
    """

    def __init__(
        self, budget: Budget, started: float, reserve: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget, self.started, self.reserve, self.clock = budget, started, reserve, clock
        self.runs, self.samples = 0, 0
        self.closed = False
        self.credit = 0.0  # seconds of runs of an earlier part that are still to be asked for: they cost nothing again
        self.promised = 0.0  # for jobs that are asked for in this round
        self._steps, self._training = 0, 0.0
        self._expected = 0.0

    def expect(self, step_seconds: float) -> None:
        """A first estimate of the wall-clock seconds per step, all workers together."""
        self._expected = step_seconds

    def expected(self, steps: int) -> float:
        """Wall-clock seconds of a run of so many steps: its share of the time of all workers."""
        return steps * (self._training / self._steps if self._steps else self._expected)

    def twin(self, clock: Callable[[], float]) -> Purse:
        """Another one with as much in it, that goes by another clock."""
        other = Purse(self.budget, self.started, self.reserve, clock)
        other.expect(self.expected(1))
        return other

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the study began."""
        return self.clock() - self.started

    @property
    def deadline(self) -> float:
        """When training must end, on the clock of `time.monotonic`."""
        return self.started + self.budget.amount - self.reserve if self.budget.kind == "seconds" else math.inf

    @property
    def left(self) -> float:
        """In the budget's own unit; nothing once the purse is closed (Ctrl-C)."""
        if self.closed:
            return 0.0
        if self.budget.kind == "seconds":
            return self.deadline - self.clock() + self.credit - self.promised
        spent = {"runs": self.runs, "samples": self.samples}.get(self.budget.kind, 0)
        return self.budget.amount - spent - self.promised

    def price(self, steps: int, batch_rows: int) -> float:
        """The cost of a job of so many steps, in the budget's unit; 0 steps: a loop that counts none, priced by the run."""
        if self.budget.kind == "seconds":
            if not steps:
                return self._training / self.runs if self.runs else self._expected
            return self.expected(steps)
        if self.budget.kind == "samples":
            return float(steps * batch_rows) or (self.samples / self.runs if self.runs else 1.0)
        return 1.0

    def pay(self, runs: int, samples: int, steps: int, seconds: float) -> None:
        """Book a round of finished jobs: their number, samples and steps, and the seconds that they took of all workers."""
        self.promised = 0.0
        self.runs += runs
        self.samples += samples
        self._steps += steps
        self._training += seconds


@dataclass(frozen=True)
class Entrant:
    """A competitor: a recipe whose rate is found within ``rates`` first, or fixed (``rates`` None).

    Attributes:
        name: shown in the verdict, unique.
        recipe: its ``lr`` is None when it is to be found.
        rates: lowest and highest rate that probes start from.
        baseline: the reference that the others are compared with.
        arguments: of the task's model factory: the variant of the task that it trains.
        space: what is searched beside the rate; None: the rate alone is found.
    """

    name: str
    recipe: Recipe
    rates: tuple[float, float] | None
    baseline: bool = False
    arguments: Arguments = ()
    space: spaces.Space | None = field(default=None, compare=False)


def entrants(
    field: Any, baseline: Recipe | None, kind: str, pretrained: bool, effort: str = "quick"
) -> tuple[list[Entrant], list[str]]:
    """The competitors in the order of spending, the baseline first, and sentences on the presets used.

    Args:
        field: names (``"adamw"``, ``"adamw-constant"`` for a constant rate) and recipes; ``"all"``: every optimizer for
            batches; None: `FIELD`.
        baseline: the user's recipe; None: AdamW at 1e-3, untuned.
        kind: of the task: a language model gets clipping at norm 1 and β2 = .95.
        pretrained: whether the weights are a trained network's: rates start from 1e-6 to 1e-4.
        effort: ``fair``: what a recipe does not say itself is searched, for the baseline the rate alone.

    Raises:
        BadOption: an unknown name, an empty field, or two entrants with one name.
    """
    if field == "all":
        field = [name for name in rules.TABLE if not rules.get(name).full_batch]
    if field is not None and (isinstance(field, str) or not hasattr(field, "__iter__")):
        raise BadOption(
            f"compare: field must be a list of names and recipes, got {field!r}",
            "write field=['adamw', 'sgd'], or field='all'",
        )
    chosen = list(FIELD if field is None else field)
    if not chosen:
        raise BadOption("compare: field is empty", "name at least one optimizer, or leave field out")
    notes = []
    preset: dict[str, Any] = {}
    if kind == "language-model":
        preset = {"clip_norm": 1.0}
        notes.append("Preset for language models: gradients clipped at norm 1, β2 .95.")
    if pretrained:
        notes.append("Preset for fine-tuning: the search for rates starts from 1e-6 to 1e-4.")
    first = baseline or UNTUNED
    label = f"{first.optimizer} (yours)" if baseline else "adamw at 1e-3"
    named = [Entrant(label, first, _rates(first, pretrained) if first.lr is None else None, baseline=True)]
    for item in chosen:
        if isinstance(item, Recipe):
            same = sum(e.name.split("#")[0] == item.optimizer for e in named)
            name, recipe, said = item.optimizer + (f"#{same + 1}" if same else ""), item, item
        elif isinstance(item, str):
            name = item.lower()
            rule, _, tail = name.partition("-")
            if tail not in ("", "constant"):
                raise BadOption(
                    f"compare: unknown entrant {item!r}",
                    "write an optimizer's name, or NAME-constant for a constant rate",
                )
            options = dict(preset)
            if rules.get(rule).full_batch:
                raise BadOption(
                    f"compare: {rule} is for gradients of the whole data set",
                    "leave it out, or run it with tw.minimize",
                )
            if kind == "language-model" and len(rules.get(rule).defaults.get("betas", ())) == 2:
                options["betas"] = (0.9, 0.95)
            if rule == "adamw":
                options["weight_decay"] = 0.01
            recipe = Recipe(rule, schedule=tail or "linear", **options)
            said = Recipe(rule, schedule=recipe.schedule)  # presets are where a search begins
        else:
            raise BadOption(f"compare: field holds {item!r}", "give names of optimizers and thalweg.Recipe objects")
        found = _rates(recipe, pretrained) if recipe.lr is None else None
        named.append(Entrant(name, recipe, found, space=spaces.of(said) if effort == "fair" and found else None))
    names = [e.name for e in named]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise BadOption(f"compare: {twice!r} enters twice", "name each entrant once")
    return named, notes


def _rates(recipe: Recipe, pretrained: bool) -> tuple[float, float]:
    return FINE_TUNING_RATES if pretrained else rules.get(recipe.optimizer).rates
