"""What is asked about, and the rows that came in: read, encoded as the training rows were, and checked to fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .. import variants
from ..batch import leaves, map_leaves
from ..building import build
from ..data import Feed, Halves, Tensors
from ..errors import BadData, BadOption, BadStudy
from ..readers import Encoder, Table, read_file
from ..recipe import Recipe
from ..run import Run
from ..seeds import stream
from ..sources import as_feed
from ..store import Store, load_weights
from ..study import Study
from ..study.opening import task_of
from ..task import Task
from .sample import Sample


@dataclass(frozen=True, eq=False)
class Subject:
    """What is asked about.

    Attributes:
        title: its name.
        model: trained.
        task: how it was trained; None: unknown, and then nothing is known of a loss.
        reference: rows that neither its training nor its choice has seen.
        fitted: rows that it was trained on; None: unknown.
        recipe: by which it was trained, or None.
        notes: what has to be said about them.
    """

    title: str
    model: nn.Module
    task: Task | None
    reference: Sample
    fitted: Sample | None
    recipe: Recipe | None
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int | None:
        """How many classes it tells apart; None: it does not."""
        data = None if self.task is None else self.task.prepare()
        return data.classes if data is not None and data.kind in ("classification", "binary") else None

    @property
    def known(self) -> npt.NDArray[np.int64]:
        """The classes that its rows have; where the training rows cannot be read, all that the model has an output for."""
        if self.fitted is None and self.classes is not None:
            return np.arange(self.classes)
        given = [s.targets for s in (self.reference, self.fitted) if s is not None and s.targets is not None]
        return np.unique(torch.cat([t.reshape(-1).long() for t in given]).numpy()) if given else np.zeros(0, np.int64)

    def class_name(self, number: int) -> str:
        """What a class is called."""
        encoder = None if self.task is None else _encoder(self.task)
        names = None if encoder is None else encoder.classes
        return names[number] if names is not None and number < len(names) else str(number)


def subject(what: Any, *, reference: Any = None, task: Task | str | None = None, loss: Any = None) -> Subject:
    """Read what `thalweg.shift` was given.

    Args:
        what: a module, a `Study`, a `Run`, or the folder of one.
        reference: its held-out rows; None: the judge half of the task's validation data.
        task: how it was trained, where that is not known.
        loss: a function of (output, targets), for a module alone; None: inferred.

    Raises:
        BadOption: something is missing, or is nothing of these.
        BadStudy: a folder without a model, or whose task is unknown.
    """
    task = Task.load(task) if isinstance(task, str) else task
    if loss is not None and (task is not None or not isinstance(what, nn.Module)):
        raise BadOption(
            "shift: loss= is for a module alone; a task has its own", "leave it out, or give the task with this loss"
        )
    if isinstance(what, str | Path):
        return _of_folder(Path(what), reference, task)
    if isinstance(what, Study):
        return _of_folder(what.folder, reference, task or (what.best.task if what.best else None))
    if isinstance(what, Run):
        if what.folder is not None:
            return _of_folder(Path(what.folder), reference, task)
        if task is None:
            raise BadOption(
                "shift: this run does not know its task", "give task=..., or train with folder= and give that"
            )
        return _of_task(f"{what.task} · {what.recipe}", what.model, task, reference, what.recipe)
    if not isinstance(what, nn.Module):
        raise BadOption(
            f"shift: a {type(what).__name__} has no model", "give a module, a Study, a Run, or the folder of one"
        )
    title = type(what).__name__
    if task is not None:
        return _of_task(title, what, task, reference, None)
    if reference is None:
        raise BadOption("shift: a model alone has no reference", "give reference=(inputs, targets), or task=...")
    rows = read(reference, None, "reference")
    notes: tuple[str, ...] = ()
    if rows.targets is None:
        if loss is not None:
            raise BadOption("shift: a loss needs labels in the reference", "give reference=(inputs, targets)")
        notes = ("The reference has no labels: losses and classes are not looked at.",)
    else:
        feed = rows.feed()
        size = min(Task.batch_size, rows.rows)
        halves = Halves(feed, feed)
        task = Task(model=what, train=feed, valid=halves, loss=loss, device=_device(what), batch_size=size, name=title)
    return Subject(title, what, task, rows, None, None, notes)


def read(source: Any, task: Task | None, what: str, like: Sample | None = None) -> Sample:
    """Rows as the task's model gets them: tables by the encoder of the training rows, then the task's transform.

    A table for a model whose rows are vectors is read as they are, if it has as many columns of numbers.

    Args:
        source: a path (idx, .npz, .csv), ``(inputs, targets)``, inputs alone, a data set, a loader, a feed or a `Sample`.
        task: what the model was trained for; None: rows are taken as they are.
        what: the argument's name, for messages.
        like: rows of the same shape.

    Raises:
        BadData: rows that cannot be read, or of another shape.
    """
    if isinstance(source, Sample):
        return source if like is None else _fitting(source, like, what)
    encoder = None if task is None else _encoder(task)
    gaps = None
    prepared = isinstance(source, Feed)
    if isinstance(source, str | Path):
        source = read_file(source, labeled=False, target=None if encoder is None else encoder.target_name)
    if isinstance(source, tuple) and len(source) == 2 and source[1] is None:
        source = source[0]
    given = as_feed(source, what=what, shuffle=False)
    if isinstance(given, Table):
        if encoder is None:
            given = _vectors(given, what, like)
        else:
            table, given = given, encoder.apply(given, what, known=False)
            gaps = encoder.gaps(table)
    if task is not None and task.transform is not None and not prepared:
        with stream(task.seed, "prepare"):
            given = given.transformed(task.transform)
    plain = encoder if isinstance(given, Tensors) and _encoded(given, encoder) else None
    if task is not None and task.transform is not None:
        plain = None  # what the transform made are no columns
    found = Sample.of(given, encoder=plain, gaps=gaps, order=True)
    return found if like is None else _fitting(found, like, what)


def _vectors(table: Table, what: str, like: Sample | None) -> Tensors:
    """The numbers of a table as vectors like those of other rows, and its target like theirs.

    Raises:
        BadData: the other rows are no vectors of so many numbers, or a cell is no number.
    """
    inputs = None if like is None else like.inputs
    if like is None or not isinstance(inputs, Tensor) or inputs.ndim != 2 or not inputs.is_floating_point():
        raise BadData(f"{what}: a table, but the training data are none", "give arrays as the model gets them")
    if len(table.columns) != inputs.shape[1]:
        raise BadData(
            f"{what}: {len(table.columns)} columns beside the target, the model takes vectors of {inputs.shape[1]} numbers",
            "give one column a number, in their order",
        )
    try:
        values = np.stack([cells.astype(np.float64) for cells in table.columns.values()], 1)
        labels = None if not any(table.target) else table.target.astype(np.float64)
    except ValueError as error:
        raise BadData(f"{what}: a cell is no number: {error}", "fill it as it was in training") from None
    made = torch.from_numpy(values).to(inputs.dtype)
    if labels is None or like.targets is None:
        return Tensors(made, None, what=what)
    return Tensors(
        made, torch.from_numpy(labels).to(like.targets.dtype).reshape(-1, *like.targets.shape[1:]), what=what
    )


def _encoded(rows: Tensors, encoder: Encoder | None) -> bool:
    """Whether rows are what an encoder gives: its own, or as many columns as it has."""
    x = rows.inputs
    return encoder is not None and isinstance(x, Tensor) and x.ndim == 2 and x.shape[1] == len(encoder.names)


def _encoder(task: Task) -> Encoder | None:
    train = task.prepare().train
    found = train.encoder if isinstance(train, Tensors) else None
    return found if isinstance(found, Encoder) else None


def _device(model: nn.Module) -> str:
    return str(next((p.device for p in model.parameters()), torch.device("cpu")))


def _fitting(found: Sample, like: Sample, what: str) -> Sample:
    """The rows in the dtype of others, if their shapes agree; sequences may differ in length."""
    mine, theirs = leaves(found.inputs), leaves(like.inputs)
    shapes = [[tuple(t.shape[1:]) for t in side] for side in (mine, theirs)]
    tokens = all(not t.is_floating_point() and t.ndim == 2 for t in (*mine, *theirs))
    if len(mine) != len(theirs) or (shapes[0] != shapes[1] and not tokens):
        raise BadData(
            f"{what}: rows of shape {shapes[0]}, the reference has {shapes[1]}", "give rows as the model gets them"
        )
    kinds = iter([t.dtype for t in theirs])

    def same(tensor: Tensor) -> Tensor:
        dtype = next(kinds)
        return tensor.to(dtype) if tensor.is_floating_point() and dtype.is_floating_point else tensor

    targets = found.targets
    if targets is not None and like.targets is not None and targets.shape[1:] != like.targets.shape[1:]:
        raise BadData(
            f"{what}: targets of shape {tuple(targets.shape[1:])}, the reference's {tuple(like.targets.shape[1:])}",
            "give targets as in training, or none",
        )
    return Sample(
        map_leaves(same, found.inputs), targets, found.names or like.names, found.order, found.table, found.form
    )


def _of_folder(folder: Path, reference: Any, task: Task | None) -> Subject:
    head = Store(folder).head()
    task, notes = task_of(folder, task)
    try:
        if "asked" in head:
            best = Study.load(folder, task).best
            if best is None:
                raise BadStudy(
                    f"{folder} recommends nothing: it has no model", "start the comparison again to resume it"
                )
            recipe, model = best.recipe, best.model
            task = variants.of(task, best.arguments)
        else:
            recipe = Recipe.load(folder / "recipe.toml")
            model = build(task, recipe, int(head["seed"]))
            model.load_state_dict(load_weights(folder / "model.safetensors"))
            model.eval()
    except RuntimeError as error:
        raise BadStudy(f"the weights of {folder} are not those of the task's model: {error}", "give its task") from None
    return _of_task(f"{task.name} · {recipe}", model, task, reference, recipe, notes)


def _of_task(
    title: str, model: nn.Module, task: Task, reference: Any, recipe: Recipe | None, notes: tuple[str, ...] = ()
) -> Subject:
    data = task.prepare()
    held = read(data.judge, task, "judge")
    if reference is not None:
        held = read(reference, task, "reference", like=held)
    fitted = None
    if isinstance(data.train, Tensors) and data.train.transform is None:
        fitted = read(data.train, task, "train")
    return Subject(title, model, task, held, fitted, recipe, notes)
