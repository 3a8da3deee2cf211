"""Training on from given weights, and training anew, on other rows than the task's: always by the one loop."""

from __future__ import annotations

import copy
import fnmatch
import glob
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ... import groups, loop
from ...batch import leaves, map_leaves
from ...cohort import Solo
from ...data import Tensors
from ...errors import BadData, BadTask
from ...fresh import redraw
from ...norms.calibration import running
from ...norms.kinds import KNOWN
from ...seeds import stream
from ..sample import Flat
from ..surfaces.edge import continued

if TYPE_CHECKING:
    from ...recipe import Recipe
    from ...run import Outcome
    from ...task import Task
    from ..sample import Sample

Factory = Callable[[], nn.Module]


def copies(model: nn.Module, device: torch.device | None = None) -> Factory:
    """Makes copies of a model, on a device; where nothing of it requires a gradient, in the copies all floating numbers do.

    Raises:
        BadTask: it cannot be copied.
    """
    try:
        kept = copy.deepcopy(model).to(device)
    except Exception as error:
        raise BadTask(f"the model cannot be copied: {error}", "give one that copy.deepcopy takes") from error
    if not any(p.requires_grad for p in kept.parameters()):
        for parameter in kept.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
    return lambda: copy.deepcopy(kept)


def fresh_models(task: Task, model: nn.Module) -> Factory | None:
    """Makes models with weights drawn anew: the task's factory, or a module's own constructors; None: neither is there."""
    if not isinstance(task.model, nn.Module):
        made: Factory = task.model
        return made
    twin = copy.deepcopy(model)
    with torch.no_grad(), stream(0, "fresh"):
        for parameter in twin.parameters():
            parameter.fill_(math.nan)
        try:
            redraw(twin)
        except Exception:
            return None
    if any(bool(p.isnan().any()) for p in twin.parameters()):
        return None

    def make() -> nn.Module:
        drawn = copy.deepcopy(model)
        redraw(drawn)
        return drawn

    return make


def adapt(
    task: Task,
    make: Factory,
    rows: Sample,
    recipe: Recipe,
    steps: int,
    seed: int,
    *,
    state: Mapping[str, Any] | None = None,
    still: bool = False,
) -> tuple[nn.Module, Outcome]:
    """Train a model for some steps on some rows, by the task's loss.

    Args:
        task: gives loss, device, precision; its own training data are not touched.
        make: the model to start from, a new one each time.
        rows: what is trained on.
        recipe: how; its ``lr`` is known.
        steps: updates; the schedule spans them.
        seed: of order, dropout, and of the weights where ``make`` draws some.
        state: an optimizer's ``state_dict()``, whose moments the training starts with; None: none.
        still: whether batch norms keep their statistics.

    Returns:
        The model in evaluation mode, and how the training ended.

    Raises:
        BadData: the state belongs to other parameters.

    Example:
        >>> import thalweg
        >>> from thalweg.shifts.sample import Sample
        >>> task = thalweg.Task.load("digits")
        >>> rows = Sample.of(task.prepare().judge)
        >>> _, outcome = adapt(task, copies(task.build(0)), rows, thalweg.Recipe("adamw", lr=1e-3), 5, seed=0)
        >>> print(outcome)
        finished at step 5
    """
    data = task.prepare()
    feed = Tensors(rows.inputs, rows.targets, form=rows.form, check=False).to(data.device)
    feed.copies = data.train.copies
    size = recipe.batch_size or data.batch_size
    size = size if isinstance(size, str) else min(size, feed.rows)
    own = replace(task, model=make, compile=False)
    own._memory["prepared"] = replace(data, train=feed, batch_size=size if isinstance(size, int) else feed.rows)
    with stream(seed, "dropout"):
        solo = Solo(own, recipe, seed, steps)
        continued(solo.optimizer, state)
        for _, norm in running(solo.model) if still else ():
            norm.eval()
        batches = loop.updates(feed, size, task.accumulate, seed)
        [(_, outcome)] = loop.train(solo, batches, [loop.Course(steps)])
        solo.finish()
    if outcome.reason == "interrupted":
        raise KeyboardInterrupt
    return solo.model.eval(), outcome


def joined(one: Sample, other: Sample) -> Sample:
    """The rows of both, in the form of the first."""
    columns = list(zip(leaves((one.inputs, one.targets)), leaves((other.inputs, other.targets)), strict=True))
    if any(a.shape[1:] != b.shape[1:] for a, b in columns):
        raise BadData("old and new rows differ in length and cannot be joined", "pad them to one length")
    whole = iter([torch.cat([a, b.to(a)]) for a, b in columns])
    inputs, targets = map_leaves(lambda _: next(whole), (one.inputs, one.targets))
    table = None
    if one.table is not None and other.table is not None:
        table = Flat(np.concatenate([one.table.values, other.table.values]), one.table.names)
    return replace(one, inputs=inputs, targets=targets, table=table)


def last_layer(model: nn.Module) -> set[str]:
    """The names of the last layer's parameters.

    Example:
        >>> sorted(last_layer(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))))
        ['2.bias', '2.weight']
    """
    return {name for name, depth in groups.depths(model).items() if depth == 0}


def norm_layers(model: nn.Module) -> set[str]:
    """The names of the normalization layers' own parameters: scales and shifts.

    Example:
        >>> sorted(norm_layers(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))))
        ['1.bias', '1.weight']
    """
    chosen = [m for m in model.modules() if isinstance(m, KNOWN) or "Norm" in type(m).__name__]
    own = {id(p) for module in chosen for p in module.parameters(recurse=False)}
    return {name for name, p in model.named_parameters() if id(p) in own}


def frozen(model: nn.Module, trained: Iterable[str]) -> tuple[str, ...]:
    """Name patterns of everything that is trained now but for some parameters, for ``Recipe(freeze=...)``.

    Args:
        model: its parameters are named as in ``named_parameters()``.
        trained: names of those that stay trained.

    Example:
        >>> frozen(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), ["2.weight", "2.bias"])
        ('0.*',)
    """
    trained = set(trained)
    patterns: dict[str, None] = {}
    for name, parameter in model.named_parameters():
        if name in trained or not parameter.requires_grad:
            continue
        layer, _, _ = name.rpartition(".")
        whole = f"{glob.escape(layer)}.*"
        hits = layer and any(fnmatch.fnmatchcase(other, whole) for other in trained)
        patterns[whole if layer and not hits else glob.escape(name)] = None
    return tuple(patterns)
