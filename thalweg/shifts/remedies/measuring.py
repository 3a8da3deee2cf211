"""What helps against a shift: every remedy tried on one part of the new data and measured on the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data import Tensors
from ...errors import BadData, ThalwegError, unknown
from ...recipe import Recipe
from ...seeds import derive
from ..identical import row_keys
from ..sample import Sample
from ..targets import asked
from . import adapting
from .changes import Change, Floats, change, group_losses
from .trying import REMEDIES, Bench, NotTried, Remedied
from .undoing import undone

if TYPE_CHECKING:
    from torch import nn

    from ...task import Task

STEPS = 100  # of a fine-tuning
LEAST = 8  # new rows
HELD = 10_000  # rows that a loss is measured on, at most
MATERIAL = 0.02  # of the loss: what a remedy must bring
NOTHING = next(iter(REMEDIES))


@dataclass(frozen=True)
class Tried:
    """A remedy, and what became of it.

    Attributes:
        name: what was done.
        loss: on new rows that the remedy never saw; NaN: not measured.
        interval: of the difference to doing nothing on the same rows, at the level of `level`.
        metric: the task's, on the same rows.
        old_loss: on rows of the old data that the remedy never saw.
        old_change: difference to doing nothing on these.
        seconds: that trying it took, choice of the rate and all seeds included.
        detail: what was done, in numbers.
        recipe_diff: field → (yours, the remedy's).
        code: to do it by hand.
        rows: that the model went through, once.
        why: why it was not tried, or not measured; None: it was.
        change: the difference to doing nothing with its error.
        old: the same of the old data.
        level: of the intervals, .05: with 95 % confidence.
    """

    name: str
    loss: float = math.nan
    metric: float = math.nan
    old_loss: float = math.nan
    seconds: float = 0.0
    detail: str = ""
    recipe_diff: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    code: str = ""
    rows: int = 0
    why: str | None = None
    change: Change = field(default_factory=Change)
    old: Change = field(default_factory=Change)
    level: float = 0.05

    @property
    def interval(self) -> tuple[float, float]:
        """See the class."""
        return self.change.interval(self.level)

    @property
    def old_change(self) -> float:
        """See the class."""
        return self.old.mean

    @property
    def old_interval(self) -> tuple[float, float]:
        """Of `old_change`."""
        return self.old.interval(self.level)

    @property
    def measured(self) -> bool:
        """Whether its loss on new rows is known."""
        return math.isfinite(self.change.mean)

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {
            "name": self.name, "loss": self.loss, "change": self.change.mean, "interval": list(self.interval),
            "metric": self.metric, "old_loss": self.old_loss, "old_change": self.old_change,
            "old_interval": list(self.old_interval), "cost": {"seconds": round(self.seconds, 3), "rows": self.rows},
            "detail": self.detail, "why": self.why, "code": self.code,
            "recipe_diff": {name: list(pair) for name, pair in self.recipe_diff.items()},
        }  # fmt: skip

    def __str__(self) -> str:
        if not self.measured:
            return f"{self.name}: {self.why}" + (f" ({self.detail})" if self.detail else "")
        low, high = self.interval
        said = f"{self.name}: loss {self.loss:.4g}"
        if self.name != NOTHING:
            said += f", {self.change.mean:+.3g} [{low:+.3g}, {high:+.3g}]; on the old data {self.old_change:+.3g}"
        return said + f"; {self.seconds:.1f} s"


def try_remedies(
    task: Task,
    model: nn.Module,
    reference: Sample,
    incoming: Sample,
    *,
    kind: Any = None,
    priors: Any = None,
    ratio: Any = None,
    recipe: Recipe | None = None,
    optimizer_state: Mapping[str, Any] | None = None,
    steps: int | None = None,
    seed: int = 0,
    names: Sequence[str] | None = None,
    level: float = 0.05,
    observe: Callable[[str], None] | None = None,
) -> list[Tried]:
    """Try every remedy on a half of the new rows and measure it on the other, beside doing nothing.

    The halves are drawn; nothing that a remedy learns or chooses comes from the half that measures it. Differences are
    paired by rows; where training draws, three seeds are trained (two of a training from scratch) and vary the difference
    too. Old rows to train on are the task's, where they are not the reference itself; else half of the reference. The model
    is left as it is, to the bit, and so are the random states.

    Args:
        task: gives loss, metric and data.
        model: that new data come to.
        reference: rows as they were, that the model was not trained on.
        incoming: new rows; without labels nothing is measured on them.
        kind: what kind of shift it is, with ``code`` and ``features``; None: unknown.
        priors: the classes' shares in the new data, (C,), or what has them as ``incoming``; for rows without labels.
        ratio: of the densities of features as `Sample.flat` gives them, a `DensityRatio`; None:
            estimated where it is needed.
        recipe: how the model was trained; None: AdamW at 1e-3.
        optimizer_state: ``state_dict()`` of the optimizer that trained it, to go on with.
        steps: of a fine-tuning; None: 100.
        seed: of splits, order, dropout and draws.
        names: remedies to try, of `thalweg.shifts.remedies.trying.REMEDIES`; None: all.
        level: of the intervals.
        observe: called with the name of each remedy before it is tried.

    Returns:
        One a remedy, doing nothing first.

    Raises:
        BadData: fewer than 8 new rows, or fewer than 8 with labels that the model knows.
        BadOption: an unknown remedy.
        BadTask: the model cannot be copied.

    Example:
        >>> import torch, thalweg
        >>> task = thalweg.Task.load("digits")
        >>> run = thalweg.train(task, thalweg.Recipe("adamw", lr=3e-3), quiet=True)
        >>> reference = Sample.of(task.prepare().judge)
        >>> dark = Sample(0.4 * reference.inputs, reference.targets)
        >>> tried = try_remedies(task, run.model, reference, dark, recipe=run.recipe, names=["fine-tune everything"])
        >>> recommend(tried).name
        'fine-tune everything'
    """
    for name in names or ():
        if name not in REMEDIES:
            raise unknown("try_remedies", "remedy", name, REMEDIES)
    data = task.prepare()
    labeled = incoming.targets is not None or data.train.target_sample(1) is None
    incoming, left_out = _asked(task, incoming)
    reference, _ = _asked(task, reference)
    if incoming.rows < LEAST:
        raise BadData(f"try_remedies: {incoming.rows} new rows with known labels", f"give at least {LEAST}")
    fit, held = incoming.split(derive(seed, "shift")) if labeled else (incoming, None)
    old, old_held = _old_rows(task, reference, seed)
    bench = Bench(
        task=task, model=model, make=adapting.copies(model, data.device), reference=reference, old=old, fit=fit, labeled=labeled,
        recipe=recipe or Recipe("adamw", lr=1e-3), steps=steps or STEPS, seed=seed, kind=getattr(kind, "code", None),
        features=[str(getattr(f, "name", f)) for f in getattr(kind, "features", ())], priors=priors, ratio=ratio,
        state=optimizer_state,
    )  # fmt: skip
    scale = _Scale(task, held and _few(held, seed), _few(old_held, seed), level)
    tried: list[Tried] = []
    for name, remedy in REMEDIES.items():
        if names is not None and name not in (NOTHING, *names):
            continue
        if observe is not None:
            observe(name)
        started = time.perf_counter()
        try:
            found = remedy(bench)
        except (NotTried, ThalwegError) as error:
            tried.append(Tried(name, why=getattr(error, "message", str(error)), seconds=time.perf_counter() - started))
            continue
        tried.append(scale.weigh(name, found, time.perf_counter() - started, left_out))
    return tried


def recommend(tried: Sequence[Tried], level: float = 0.05) -> Tried:
    """The remedy to take: doing nothing, unless another is surely better.

    Sure: the interval of its difference to doing nothing, widened for as many remedies as were measured (Bonferroni), lies
    below zero, and the difference is at least 2 % of the loss. Of these the best one, and those whose difference lies in
    its interval; of them one that does not surely harm the old data, the one that goes through the fewest rows. Where
    nothing could be measured: an undone change of the pipeline, else the prior correction that was asked for.

    Args:
        tried: as `try_remedies` gives it.
        level: see above.

    Example:
        >>> rows = [Tried("nothing", 1.0, change=Change(0.0, 0.0, 9)), Tried("retrain", 0.9, change=Change(-0.1, 0.2, 9))]
        >>> recommend(rows).name
        'nothing'
    """
    nothing = tried[0]
    measured = [t for t in tried[1:] if t.measured]
    if not measured:
        done = {t.name: t for t in tried if t.code and not t.measured}
        return done.get("undo the change") or done.get("prior correction") or nothing
    least = MATERIAL * abs(nothing.loss)
    sure = [t for t in measured if t.change.interval(level / len(measured))[1] < 0 and t.change.mean <= -least]
    if not sure:
        return nothing
    best = min(sure, key=lambda t: t.change.mean)
    near = [t for t in sure if t.change.mean <= best.change.interval(level)[1]]
    return min(near, key=lambda t: (t.old.interval(level)[0] > 0, t.rows, t.change.mean))


@dataclass
class _Scale:
    """Measures remedies on rows that had no part in them."""

    task: Task
    held: Sample | None
    old: Sample
    level: float
    before: tuple[Floats | None, Floats | None] = (None, None)

    def weigh(self, name: str, found: Remedied, seconds: float, left_out: int) -> Tried:
        """A remedy's losses and differences; those of the first one, doing nothing, are what others are compared with."""
        new = None if self.held is None else undone(self.held, found.undos)
        new_SG, old_SG = (self._losses(found, sample) for sample in (new, self.old))
        if name == NOTHING:
            self.before = tuple(None if x is None else x[0] for x in (new_SG, old_SG))  # type: ignore[assignment]
        now, old = (
            Change() if losses is None or before is None else change(losses, before)
            for losses, before in zip((new_SG, old_SG), self.before, strict=True)
        )
        why = "not measured: the new rows have no labels" if new is None else None
        detail = found.detail + (f"; {left_out} new rows of ignored or unknown classes left out" if left_out else "")
        return Tried(
            name, loss=_mean(new_SG), metric=self._metric(found, new), old_loss=_mean(old_SG), seconds=seconds,
            detail=detail, recipe_diff=found.changes, code=found.code, rows=found.rows, why=why, change=now, old=old,
            level=self.level,
        )  # fmt: skip

    def _losses(self, found: Remedied, sample: Sample | None) -> Floats | None:
        if sample is None or (sample.targets is None and self.task.prepare().train.target_sample(1) is not None):
            return None
        return np.stack([group_losses(self.task, model, sample) for model in found.models])

    def _metric(self, found: Remedied, new: Sample | None) -> float:
        if new is None:
            return math.nan
        data = self.task.prepare()
        try:
            each = [self.task.evaluate(model, new.feed(data.device))[data.metric] for model in found.models]
        except ThalwegError:
            return math.nan  # a metric that these rows do not define
        return float(np.mean(each))


def _mean(losses_SG: Floats | None) -> float:
    return math.nan if losses_SG is None else float(losses_SG.mean())


def _asked(task: Task, sample: Sample) -> tuple[Sample, int]:
    """The rows whose targets count, and how many others there are."""
    if sample.targets is None:
        return sample, 0
    rows = asked(task, sample.targets, task.prepare().classes)
    return (sample, 0) if rows.all() else (sample.take(np.flatnonzero(rows)), int((~rows).sum()))


def _few(sample: Sample, seed: int) -> Sample:
    """At most `HELD` rows, in a drawn order: groups of them are then alike."""
    drawn = np.random.default_rng(derive(seed, "held")).permutation(sample.rows)[:HELD]
    return sample.take(drawn)


def _old_rows(task: Task, reference: Sample, seed: int) -> tuple[Sample, Sample]:
    """Old rows to train on, and others to measure on."""
    train = task.prepare().train
    if isinstance(train, Tensors):
        rows = Sample.of(train)
        apart = ~np.isin(row_keys(rows.inputs), row_keys(reference.inputs))
        if apart.mean() > 0.5:
            return rows.take(apart.nonzero()[0]), reference
    return reference.split(derive(seed, "shift reference"))
