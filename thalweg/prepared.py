"""A task made ready: its feeds, what was inferred, and what has to be said about it."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from thalweg.batch import Batch, leaves, map_leaves, pack, same
from thalweg.data import Feed, Tensors
from thalweg.device import find_device
from thalweg.errors import BadTask
from thalweg.identity import digest
from thalweg.metrics import Metric, choose
from thalweg.seeds import stream
from thalweg.sources import read_all
from thalweg.trial import METRIC_OF, Fit, try_out

if TYPE_CHECKING:
    from thalweg.task import Task

DEFAULT_EPOCHS = 5
TRIAL_ROWS = 8
COMPARED_PARAMETERS = 50_000_000  # a factory of more is not called twice to see whether seeds change its weights


@dataclass(frozen=True)
class Prepared:
    """What a task consists of once it was read and tried.

    Attributes:
        train: the training feed.
        select: the half of the validation data that chooses.
        judge: the half that gives the verdict.
        test: data used once, or None.
        fit: what the trial found out: the loss function, the kind and the classes.
        metrics: every metric by name.
        metric: the one that decides.
        direction: ``"max"`` or ``"min"``.
        batch_size: rows a batch in training.
        batches_per_epoch: batches that ``train`` gives an epoch.
        steps_per_epoch: updates an epoch: ``accumulate`` batches each, the last of an epoch may have fewer.
        steps: updates of a full run.
        epochs: passes of a full run, rounded up.
        by_epochs: whether a run's length is in passes: another batch size then takes another number of updates.
        notes: sentences on what was inferred or decided for the user.
        target_sd: standard deviation of the training targets of a regression, or None.
        judge_rows: rows of ``judge``.
        device: where model and batches lie.
        structure: names and shapes of the parameters.
    """

    train: Feed
    select: Feed
    judge: Feed
    test: Feed | None
    fit: Fit
    metrics: dict[str, Metric]
    metric: str
    direction: str
    batch_size: int
    batches_per_epoch: int
    steps_per_epoch: int
    steps: int
    epochs: int
    by_epochs: bool
    notes: tuple[str, ...]
    target_sd: float | None
    judge_rows: int
    device: torch.device
    structure: dict[str, tuple[int, ...]]

    @property
    def loss(self) -> Any:
        """The loss as a function of (output, targets); None where ``batch_loss`` or the model computes it."""
        return self.fit.loss

    @property
    def loss_name(self) -> str:
        """The loss's name."""
        return self.fit.loss_name

    @property
    def kind(self) -> str:
        """``classification``, ``binary``, ``language-model``, ``regression`` or ``other``."""
        return self.fit.kind

    @property
    def classes(self) -> int | None:
        """How many classes, or None."""
        return self.fit.classes

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(math.prod(shape) for shape in self.structure.values())

    @property
    def needs_outputs(self) -> bool:
        """Whether an evaluation needs the model's outputs, beyond the loss."""
        return self.kind in ("classification", "binary") or any(m.function is not None for m in self.metrics.values())


def prepare(task: Task) -> Prepared:
    """See `Task.prepare`; draws from no random stream but its own."""
    device = find_device(task.device)
    notes: list[str] = []
    with stream(task.seed, "prepare"):
        feeds = read_all(
            task.train, task.valid, task.test,
            shuffle=task.shuffle, seed=task.seed, transform=task.transform, device=device, notes=notes,
        )  # fmt: skip
        train = feeds["train"]
        batch_size = task.batch_size
        if train.batch_size is not None and task.batch_size == type(task).batch_size:
            batch_size = train.batch_size
        model = task.build(task.seed)
        batch = _few(train, batch_size)
        batch_size = batch.rows if train.fixed_batches and train.batch_size is None else batch_size
        structure = {name: tuple(p.shape) for name, p in model.named_parameters()}
        if not structure:
            raise BadTask("the model has no parameters", "register them as nn.Parameter or as submodules")
        if isinstance(task.model, nn.Module):
            notes.append(_of_module(task))
        targets = train.target_sample(1000)
        loss = copy.deepcopy(task.loss).to(device) if isinstance(task.loss, nn.Module) else task.loss
        given = map_leaves(Tensor.clone, batch.inputs)
        with torch.enable_grad(), task._autocast():
            fit = try_out(model.train(), batch, targets, loss, task.batch_loss)
        if not same(given, batch.inputs):  # a model that writes into its inputs must not write into the data
            for feed in feeds.values():
                feed.copies = True
    if task.batch_loss is not None and task.metric is None and task.goal is None:
        fit = replace(fit, kind="other", classes=None)  # nobody said that the outputs are logits of the targets
    notes += fit.notes
    default = METRIC_OF[fit.kind] if task.batch_loss is None and fit.own_loss is None else _careful(fit)
    metrics, metric, direction = choose(task.metric, task.goal, default)
    if task.metric is None and task.goal is None:
        notes.append(f"Metric: {metric} ({direction}).")
    batches = 0
    if task.steps is None or train.rows is not None:
        batches = train.steps_per_epoch(batch_size)
    per_epoch = math.ceil(batches / task.accumulate) if batches else 0
    epochs = task.epochs or (DEFAULT_EPOCHS if task.steps is None else 0)
    if task.epochs is None and task.steps is None:
        notes.append(f"Neither epochs nor steps given: {DEFAULT_EPOCHS} epochs.")
    steps = task.steps or epochs * per_epoch
    spread = None
    if fit.kind == "regression" and isinstance(targets, Tensor):
        spread = float(targets.double().std()) if targets.numel() > 1 else 0.0
    return Prepared(
        train=train, select=feeds["select"], judge=feeds["judge"], test=feeds.get("test"), fit=fit, metrics=metrics,
        metric=metric, direction=direction, batch_size=batch_size, batches_per_epoch=batches, steps_per_epoch=per_epoch,
        steps=steps, epochs=epochs or (math.ceil(steps / per_epoch) if per_epoch else 1),
        by_epochs=task.steps is None, notes=tuple(notes), target_sd=spread, judge_rows=feeds["judge"].count(),
        device=device, structure=structure,
    )  # fmt: skip


def _careful(fit: Fit) -> str:
    """The default metric where the loss is not a function of the outputs: a causal model may shift its labels."""
    return "accuracy" if fit.own_loss is not None and fit.kind in ("classification", "binary") else "loss"


def _few(feed: Feed, batch_size: int) -> Batch:
    """A few rows, for the trial; ready-made batches stay whole."""
    if isinstance(feed, Tensors):
        feed.steps_per_epoch(batch_size)  # says at once that a batch is larger than the data
        batch = next(feed.batches(min(TRIAL_ROWS, feed.rows)))
        # A view of the user's memory must not be written to by a model that works in place.
        inputs, targets = map_leaves(Tensor.clone, (batch.inputs, batch.targets))
        return Batch(inputs, targets, batch.rows, pack(inputs, targets, feed.form))
    size = feed.batch_size or min(TRIAL_ROWS, batch_size) if not feed.fixed_batches else batch_size
    batches = feed.batches(size)
    found = next(batches, None)
    batches.close()
    if found is None:
        raise BadTask("the training data give no batch", "give at least one row, and a smaller batch size")
    return found


def _of_module(task: Task) -> str:
    why = task._kept()
    if why is None:
        return "The module's weights are fresh: they are redrawn for each seed."
    return f"The module's weights are kept as they are ({why}): seeds vary the order only."


def fixed_weights(task: Task) -> bool:
    """Whether all seeds start from the same weights, so that they vary the order only; found once."""
    if "fixed" not in task._memory:
        task._memory["fixed"] = _same_start(task)
    return bool(task._memory["fixed"])


def _same_start(task: Task) -> bool:
    if isinstance(task.model, nn.Module):
        return task._kept() is not None
    if task.prepare().parameters > COMPARED_PARAMETERS:
        return False
    one, other = (list(task.build(task.seed + k).parameters()) for k in range(2))
    return len(other) == len(one) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _checksum(feed: Feed | None) -> list[Any] | None:
    """Rows, shapes, dtypes and a hash of some hundred rows spread over the data."""
    if feed is None:
        return None
    if isinstance(feed, Tensors):
        rows = torch.linspace(0, feed.rows - 1, min(feed.rows, 256)).round().long()
        few = feed.take(rows)
        tensors = leaves((few.inputs, few.targets))
    else:
        batch = next(feed.batches(feed.batch_size or 64), None)
        tensors = [] if batch is None else leaves((batch.inputs, batch.targets))
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return [feed.rows, [[list(t.shape[1:]), str(t.dtype)] for t in tensors], digest.hexdigest()]


def fingerprint(task: Task, prepared: Prepared) -> str:
    """See `Task.fingerprint`."""
    facts = {
        "name": task.name,
        "data": [_checksum(feed) for feed in (prepared.train, prepared.select, prepared.judge, prepared.test)],
        "model": prepared.structure,
        "modules": _module_text(task),
        "loss": [prepared.loss_name, digest((task.loss, task.batch_loss, task.transform))],
        "metrics": {name: digest(metric.function) for name, metric in sorted(prepared.metrics.items())},
        "goal": [prepared.metric, prepared.direction],
        "budget": [prepared.batch_size, prepared.steps, task.accumulate],
        "shuffle": prepared.train.shuffle,
        "precision": task.precision,
        "seed": task.seed,
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _module_text(task: Task) -> str:
    """The model's modules with their settings, and the numbers of weights that are kept."""
    model = task.build(task.seed)
    return digest(model) if fixed_weights(task) else hashlib.blake2b(repr(model).encode()).hexdigest()
