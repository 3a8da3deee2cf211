"""The verb ``shift``: did the data move, did the surface move, what kind of shift is it, and what helps?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..console import Progress
from ..errors import FLAG, Allowed, BadOption, ThalwegError, check, optional
from ..modes import evaluating
from ..recipe import Recipe
from ..seeds import RandomState
from ..task import Task
from .causes.kinds import Kind, name_kind
from .causes.looking import Look
from .monitor import Monitor
from .reading import Subject, read, subject
from .remedies.measuring import Tried, recommend, try_remedies
from .sample import Sample
from .shifted import Inputs, Shift
from .surfaces.moved import SurfaceMoved, surface_moved
from .targets import asked

LEVEL = Allowed("a number in (0, 0.5]", lambda v: isinstance(v, float) and 0 < v <= 0.5)
SEED = Allowed("a whole number >= 0", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0)
TASK = Allowed("a Task or its name", lambda v: isinstance(v, Task | str))
RECIPE = Allowed("a thalweg.Recipe", lambda v: isinstance(v, Recipe))
STATE = Allowed("an optimizer's state_dict()", lambda v: isinstance(v, Mapping) and "state" in v)
LEAST = 4  # rows of a side that can be looked at at all


def shift(
    model: Any,
    *,
    incoming: Any,
    reference: Any = None,
    loss: Any = None,
    task: Task | str | None = None,
    recipe: Recipe | None = None,
    optimizer_state: Mapping[str, Any] | None = None,
    remedies: bool = True,
    seed: int = 0,
    level: float = 0.05,
    quiet: bool = False,
) -> Shift:
    """Did the data move since a model was trained, did its loss surface, what kind of shift is it, and what helps?

    The inputs are tested feature by feature and together, the loss surface where there are labels; the kind is named by
    `name_kind`; where something moved that matters, the remedies are tried on one half of the incoming rows and measured
    on the other. The chance that anything is named although nothing moved is ``level``.

    Args:
        model: a trained module, a `Study`, a `Run`, or the folder of one.
        incoming: the new rows: a path (idx, .npz, .csv), ``(inputs, targets)``, inputs alone, a data set, a loader, a
            `Sample`. Tables are encoded as the training rows were.
        reference: rows that the model was not trained on; None: the judge half of its task's validation data.
        loss: a function of (output, targets), for a module alone, which has no task to say it; None: inferred.
        task: what the model was trained for, where that is not known.
        recipe: how it was trained, where that is not known: remedies train on by it.
        optimizer_state: ``state_dict()`` of the optimizer that trained it. With it fine-tuning is tried with the state kept
            beside anew, both surfaces show where that optimizer's own next steps lead, and how near it is to the edge of
            stability on each.
        remedies: whether they are tried.
        seed: of splits, draws and trainings.
        level: of false alarms.
        quiet: no progress.

    Returns:
        ``.kind`` (None, ``"covariate"``, ``"label"``, ``"concept"``, ``"pipeline"``, ``"new-class"``, ``"subgroup"``,
        ``"harmless"``, ``"not-enough-data"``), ``.named``, ``.inputs``, ``.surface``, ``.remedies``, ``.recommended``.

    Raises:
        BadOption: something is missing or outside what is allowed.
        BadData: rows that cannot be read or do not fit the model.
        BadStudy: a folder without a model, or whose task is unknown.

    Example:
        >>> import torch, thalweg
        >>> task = thalweg.Task.load("digits")
        >>> run = thalweg.train(task, thalweg.Recipe("adamw", lr=3e-3), quiet=True)
        >>> judge = task.prepare().judge
        >>> found = thalweg.shift(run, task=task, incoming=(255 * judge.inputs, judge.targets), remedies=False, quiet=True)
        >>> found.kind, found.named.sentence
        ('pipeline', 'A step before the model is broken: all features are ×255.')

    Source: S. Rabanser, S. Günnemann, Z. Lipton, Failing Loudly, NeurIPS 2019; Z. Lipton, Y. Wang, A. Smola, ICML 2018.
    """
    check("shift", "remedies", remedies, FLAG)
    check("shift", "level", level, LEVEL)
    check("shift", "seed", seed, SEED)
    check("shift", "task", task, optional(TASK))
    check("shift", "recipe", recipe, optional(RECIPE))
    check("shift", "optimizer_state", optimizer_state, optional(STATE))
    started, state = time.perf_counter(), RandomState.capture()
    try:
        with Progress(quiet) as progress:
            about = subject(model, reference=reference, task=task, loss=loss)
            about = about if recipe is None else replace(about, recipe=recipe)
            if optimizer_state is not None and about.recipe is None:
                raise BadOption("shift: a state of an optimizer that is not known", "give recipe=, how it was trained")
            for note in about.notes:
                progress.say(note)
            rows = read(incoming, about.task, "incoming", like=about.reference)
            look = Look(about, rows, level, seed)
            notes = list(about.notes)
            if min(look.sizes) < LEAST:
                few = Kind(
                    "not-enough-data", f"{look.sizes[1]} incoming rows are too few to compare anything.", (), 1.0
                )
                return Shift(about.title, few, None, None, (), None, look.sizes, notes, time.perf_counter() - started)
            progress.at("the inputs")
            inputs = Inputs.of(look)
            progress.at("the surface")
            notes += look.notes
            surface = _surface(look, optimizer_state, notes)
            progress.at("the kind")
            kind = name_kind(look)
            progress.say(f"{kind.code or 'no shift'}: {kind.sentence}")
            if rows.targets is None:
                notes.append(
                    "The new rows have no labels: whether the answers to the same inputs changed was not tested."
                )
            tried = _tried(look, kind, optimizer_state, progress, notes) if remedies else []
            if not remedies:
                notes.append("Remedies were not tried: remedies=False.")
            choice = recommend(tried, level) if tried else None
            seconds = time.perf_counter() - started
            return Shift(about.title, kind, inputs, surface, tuple(tried), choice, look.sizes, notes, seconds)
    finally:
        state.restore()


def _asked(sample: Sample, about: Subject) -> Sample:
    """The rows whose targets count."""
    if about.task is None or sample.targets is None:
        return sample
    rows = asked(about.task, sample.targets, about.classes)
    return sample if rows.all() else sample.take(np.flatnonzero(rows))


def _own(about: Subject, state: Mapping[str, Any] | None) -> Recipe | None:
    """The recipe of the optimizer's own next steps; None: its state is not known."""
    if about.recipe is None or about.recipe.lr is None or state is None:
        return None
    return about.recipe.but(norm="keep", init="torch", average=None, warmup=None, schedule="constant")


def _surface(look: Look, state: Mapping[str, Any] | None, notes: list[str]) -> SurfaceMoved | None:
    """Whether the surface moved; None, with a note that says why, where that cannot be asked."""
    about = look.subject
    if about.task is None:
        notes.append("The surface was not looked at: without a task or labels there is no loss.")
        return None
    try:
        with evaluating(about.model):
            return surface_moved(
                about.task, about.model, _asked(about.reference, about), _asked(look.incoming, about), level=look.level,
                seed=look.seed, recipe=_own(about, state), optimizer_state=state,
            )  # fmt: skip
    except ThalwegError as error:
        notes.append(f"The surface was not looked at: {error.message}.")
        return None


def _tried(
    look: Look, kind: Kind, state: Mapping[str, Any] | None, progress: Progress, notes: list[str]
) -> list[Tried]:
    about = look.subject
    if not kind.matters:
        notes.append("Remedies were not tried: there is nothing to mend.")
        return []
    if about.task is None:
        notes.append("Remedies were not tried: without a task or labels there is nothing to train by.")
        return []
    try:
        return try_remedies(
            about.task, about.model, about.reference, look.incoming, kind=kind,
            priors=_priors(look, kind), recipe=about.recipe, optimizer_state=state, seed=look.seed,
            level=look.level, observe=lambda name: progress.at(f"trying: {name}"),
        )  # fmt: skip
    except ThalwegError as error:
        notes.append(f"Remedies were not tried: {error.message}.")
        return []


def _priors(look: Look, kind: Kind) -> Any:
    """The classes' new shares: only where it is they that moved does the estimate's assumption hold."""
    if kind.code != "label" or look.shares is None or not np.isfinite(look.shares.incoming).all():
        return None
    return look.shares.incoming


shift.Monitor = Monitor  # type: ignore[attr-defined]  # thalweg.shift.Monitor: streams belong to the same question
