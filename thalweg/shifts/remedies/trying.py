"""The remedies against a shift, each carried out on a copy of the model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import lengths, rules, trial
from ...norms import recalibrate
from ...norms.calibration import running
from ...seeds import derive
from . import adapting, correcting, undoing
from .changes import group_losses

if TYPE_CHECKING:
    from torch import nn

    from ...recipe import Recipe
    from ...task import Task
    from ..sample import Sample

SEEDS, RETRAINED = 3, 2  # trainings of each kind
INNER = 0.75  # of the rows that are trained on, while the rate is chosen by the others
LONGEST = 60.0  # seconds that training anew may take: the longest of the remedies should not be most of the whole
PROBES = (2, 12)  # steps of the trainings that say how long it will take
CHOOSING = 16  # rows from which on a rate can be chosen
DRAWN_FROM = 10_000  # old rows that are weighted, at most


class NotTried(Exception):
    """Why a remedy was not tried."""


@dataclass(frozen=True)
class Remedied:
    """What a remedy made.

    Attributes:
        models: one a seed.
        rows: that the model went through, once.
        detail: what was done.
        code: to do it by hand.
        changes: of the recipe.
        undos: what is done to new rows before the model gets them.
    """

    models: list[nn.Module]
    rows: int = 0
    detail: str = ""
    code: str = ""
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    undos: list[undoing.Undo] = field(default_factory=list)


@dataclass
class Bench:
    """What the remedies work with.

    Attributes:
        task: gives loss and metric.
        model: the user's.
        make: copies of it.
        reference: rows of the old data.
        old: those to train on.
        fit: rows of the new data to train on.
        labeled: whether these have labels.
        recipe: how the model was trained.
        steps: of a fine-tuning.
        seed: of everything.
        kind: the shift's code.
        features: that are named as broken.
        priors: the classes' new shares, or None.
        ratio: of the densities, or None.
        state: the optimizer's, or None.
    """

    task: Task
    model: nn.Module
    make: adapting.Factory
    reference: Sample
    old: Sample
    fit: Sample
    labeled: bool
    recipe: Recipe
    steps: int
    seed: int
    kind: str | None
    features: list[str]
    priors: Any
    ratio: Any
    state: Mapping[str, Any] | None
    rate: float | None = None  # that was chosen for everything

    @property
    def lr(self) -> float:
        """The recipe's rate, or the middle of the range that its optimizer is searched over."""
        if self.recipe.lr is not None:
            return self.recipe.lr
        low, high = rules.get(self.recipe.optimizer).rates
        return math.sqrt(low * high)

    @property
    def low(self) -> float:
        """A tenth of it."""
        return float(f"{self.lr / 10:.6g}")

    @property
    def tuning(self) -> Recipe:
        """The recipe for training on: the model is built already, and its weights are the result themselves."""
        return self.recipe.but(norm="keep", init="torch", average=None, warmup=None, lr=self.lr)

    def rows_of(self, steps: int, sample: Sample) -> int:
        """Rows that so many updates go through."""
        size = self.recipe.batch_size or self.task.prepare().batch_size
        return steps * (sample.rows if isinstance(size, str) else min(size, sample.rows)) * self.task.accumulate

    def train(
        self, make: adapting.Factory, rows: Sample, recipe: Recipe, steps: int, seed: int, **how: Any
    ) -> nn.Module:
        """As `adapting.adapt`; a training that diverges is no remedy."""
        model, outcome = adapting.adapt(self.task, make, rows, recipe, steps, derive(self.seed, f"shift {seed}"), **how)
        if outcome.status != "finished":
            raise NotTried(f"{outcome}, at the rate {recipe.lr:.3g}")
        return model

    def pace(self, make: adapting.Factory, rows: Sample, recipe: Recipe) -> float:
        """Seconds of a step, from two trainings of a few: what each takes to begin is not counted."""
        taken = []
        for steps in PROBES:
            started = time.perf_counter()
            self.train(make, rows, recipe, steps, 0)
            taken.append(time.perf_counter() - started)
        more = taken[1] - taken[0]
        return more / (PROBES[1] - PROBES[0]) if more > 0 else taken[1] / PROBES[1]

    def need_labels(self) -> None:
        """Raises `NotTried` without them."""
        if not self.labeled:
            raise NotTried("needs labels")


def nothing(bench: Bench) -> Remedied:
    """The model as it is."""
    return Remedied([bench.make()], detail="the model as it is")


def undo(bench: Bench) -> Remedied:
    """Put named columns right."""
    if bench.kind != "pipeline" or not bench.features:
        raise NotTried("no change of the inputs is named")
    found = undoing.find_undo(bench.reference, bench.fit, bench.features)
    if not found:
        raise NotTried(f"nothing brings {', '.join(bench.features[:5])} back to the reference's values")
    said = "; ".join(map(str, found))
    return Remedied([bench.make()], detail=said, code=f"# before the model: {said}", undos=found)


def recalibrated(bench: Bench) -> Remedied:
    """Compute batch norm's statistics anew over new inputs."""
    model, fit = bench.make(), bench.fit
    if not any(running(model)):
        raise NotTried("the model has no batch norm with running statistics")
    data = bench.task.prepare()
    size = min(data.batch_size, fit.rows)
    used = recalibrate(model, fit.feed(data.device).batches(size), lambda m, batch: trial.call(m, batch.inputs))
    return Remedied(
        [model], min(fit.rows, used * size), f"batch norm's statistics over {used} new batches; no labels needed",
        "thalweg.norms.recalibrate(model, new_batches)",
    )  # fmt: skip


def prior_corrected(bench: Bench) -> Remedied:
    """Take the classes' new shares into the outputs."""
    why = correcting.applies(bench.task)
    if why is not None:
        raise NotTried(why)
    if bench.old.targets is None:
        raise NotTried("the reference has no labels")
    classes = bench.task.prepare().classes or 2
    before_C = correcting.shares(bench.old.targets, classes)
    if bench.labeled and bench.fit.targets is not None:
        after_C, source = correcting.shares(bench.fit.targets, classes), "new labels"
    elif bench.priors is not None:
        known_C = np.asarray(getattr(bench.priors, "incoming", bench.priors), dtype=np.float64)
        after_C, source = np.clip(known_C, 0.5 / bench.fit.rows, None), "the model's predictions (BBSE)"
        after_C = after_C / after_C.sum()
    else:
        raise NotTried("needs labels, or the new shares of the classes")
    model = correcting.Corrected(bench.make(), before_C, after_C).eval()
    largest = int(np.abs(after_C - before_C).argmax())
    return Remedied(
        [model], 0, f"outputs + log(new/old shares), from {source}; most: class {largest} "
        f"{before_C[largest]:.2g} → {after_C[largest]:.2g}", "logits = logits + torch.log(new_shares / old_shares)",
    )  # fmt: skip


def weighted(bench: Bench) -> Remedied:
    """Train on with old rows drawn as often as the density ratio says."""
    if bench.old.targets is None and bench.task.prepare().fit.loss is not None:
        raise NotTried("the reference has no labels")
    from ..distributions.ratio import density_ratio

    every = -(-bench.old.rows // DRAWN_FROM)
    old = bench.old.take(range(0, bench.old.rows, every))
    features = old.flat().values
    if bench.ratio is None:
        weights = density_ratio(features, bench.fit.flat().values, seed=bench.seed).weights_N
    else:
        weights = np.asarray(bench.ratio.of(features), dtype=np.float64)
    share = float(weights.sum() ** 2 / (weights @ weights) / len(weights))
    rows, models = bench.rows_of(bench.steps, old), []
    for k in range(SEEDS):
        random = np.random.default_rng(derive(bench.seed, f"weighted {k}"))
        drawn = random.choice(len(weights), min(rows, len(weights)), p=weights / weights.sum())
        recipe = bench.tuning.but(lr=bench.low)
        models.append(bench.train(bench.make, old.take(drawn), recipe, bench.steps, k))
    return Remedied(
        models, rows, f"{bench.steps} steps at lr {bench.low:.3g} on old rows drawn by the density ratio "
        f"(worth {share:.0%} of them); no new labels needed",
        "rows = rng.choice(len(x), len(x), p=weights / weights.sum())  # then train on x[rows], y[rows]",
        bench.recipe.diff(bench.recipe.but(lr=bench.low)),
    )  # fmt: skip


def tuned(bench: Bench, trained: set[str] | None, *, keep: bool = False, still: bool = False) -> Remedied:
    """Train on with new rows: some parameters, or None: all of them; the rate is chosen on a part of these rows."""
    bench.need_labels()
    freeze = () if trained is None else adapting.frozen(bench.model, trained)
    if trained is not None and not freeze:
        raise NotTried("that is everything that is trained")
    if keep and bench.state is None:
        raise NotTried("the optimizer's state is not known")
    recipe = bench.tuning.but(freeze=(*bench.recipe.freeze, *freeze) or None)
    how = {"still": still, "state": bench.state if keep else None}
    rate = (bench.rate if keep else None) or _rate(bench, recipe, how)
    if trained is None:
        bench.rate = rate
    recipe = recipe.but(lr=rate)
    models = [bench.train(bench.make, bench.fit, recipe, bench.steps, k, **how) for k in range(SEEDS)]
    detail = f"{bench.steps} steps at lr {rate:.3g} on {bench.fit.rows} new rows, {SEEDS} seeds"
    detail += "; batch norms keep their statistics" if still and any(running(bench.model)) else ""
    called = (
        f"dataclasses.replace(task, model=lambda: copy.deepcopy(model), train=new, epochs=None, steps={bench.steps})"
    )
    return Remedied(
        models, bench.rows_of(bench.steps, bench.fit), detail, f"thalweg.train({called}, thalweg.{recipe!r})",
        bench.recipe.diff(recipe),
    )  # fmt: skip


def _rate(bench: Bench, recipe: Recipe, how: dict[str, Any]) -> float:
    """The recipe's rate or a tenth of it: what is better on a quarter of the rows, after training on the others."""
    if bench.fit.rows < CHOOSING:
        return bench.low
    inner, judging = bench.fit.split(derive(bench.seed, "rate"), INNER)
    losses = {}
    for rate in (bench.low, bench.lr):
        try:
            model = bench.train(bench.make, inner, recipe.but(lr=rate), bench.steps, 0, **how)
            losses[rate] = float(group_losses(bench.task, model, judging).mean())
        except NotTried:
            continue
    return min(losses, key=lambda rate: losses[rate] if math.isfinite(losses[rate]) else math.inf, default=bench.low)


def last_layer(bench: Bench) -> Remedied:
    """Fine-tune the last layer."""
    return tuned(bench, adapting.last_layer(bench.model), still=True)


def norm_layers(bench: Bench) -> Remedied:
    """Fine-tune scales and shifts of the normalization layers, whose statistics follow."""
    names = adapting.norm_layers(bench.model)
    if not names:
        raise NotTried("the model has no normalization layers with parameters")
    return tuned(bench, names)


def everything(bench: Bench) -> Remedied:
    """Fine-tune everything, the optimizer's state anew."""
    return tuned(bench, None)


def everything_on(bench: Bench) -> Remedied:
    """Fine-tune everything, the optimizer's state kept."""
    return tuned(bench, None, keep=True)


def retrained(bench: Bench) -> Remedied:
    """Train anew on old and new rows, or where the labels' meaning moved on the new ones."""
    bench.need_labels()
    if bench.kind != "concept" and bench.old.targets is None and bench.fit.targets is not None:
        raise NotTried("the reference has no labels")
    make = adapting.fresh_models(bench.task, bench.model)
    if make is None:
        raise NotTried("the model's weights cannot be drawn anew: give the task a factory")
    recipe = bench.recipe.but(lr=bench.lr)
    if make is not bench.task.model:
        recipe = recipe.but(norm="keep", init="torch")
    rows = bench.fit if bench.kind == "concept" else adapting.joined(bench.old, bench.fit)
    steps = lengths.horizon(bench.task, recipe)
    expected = 0.0 if steps <= PROBES[1] else bench.pace(make, rows, recipe) * steps * RETRAINED
    if expected > LONGEST:
        raise NotTried(f"{RETRAINED} trainings of {steps} steps would take about {expected:.0f} s")
    models = [bench.train(make, rows, recipe, steps, k) for k in range(RETRAINED)]
    said = "the new rows alone, for what the labels mean has moved" if rows is bench.fit else "old and new rows"
    return Remedied(
        models, bench.rows_of(steps, rows), f"from scratch, {steps} steps on {said} ({rows.rows}), {RETRAINED} seeds",
        f"thalweg.train(dataclasses.replace(task, train=rows), thalweg.{recipe!r})",
    )  # fmt: skip


REMEDIES: dict[str, Callable[[Bench], Remedied]] = {
    "nothing": nothing,
    "undo the change": undo,
    "recalibrate batch norm": recalibrated,
    "prior correction": prior_corrected,
    "fine-tune the last layer": last_layer,
    "fine-tune the norms": norm_layers,
    "fine-tune everything": everything,
    "fine-tune everything, state kept": everything_on,
    "importance weighting": weighted,
    "retrain": retrained,
}
