"""What every layer does over a run: the run is trained once more, and looked at now and then on the same rows.

A run is decided by its task, recipe and seed, so that looking at it later shows the run that was. Looking changes nothing.

Legend: L layers, T looks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from . import building, loop
from .cohort import Solo
from .console import Progress, columns
from .deadline import LATE
from .errors import COUNT, Allowed, BadStudy, check
from .propagation import Signal, look
from .run import Trace
from .seeds import RandomState, stream
from .store import Store

if TYPE_CHECKING:
    from .recipe import Recipe
    from .run import Run
    from .study import Study
    from .task import Task

FILE = "layers.json"
LOOKS = 40
SAME = 1e-5  # relative, between a recorded loss and the same of the repetition


@dataclass(frozen=True)
class Quantity:
    """What is measured of a layer: its name, how it is drawn, and between which values it is usually well."""

    key: str
    label: str
    scale: str
    good: tuple[float | None, float | None] | None = None


# The limits of dead and saturated units are those from which `thalweg diagnose` speaks of them; that of updates is a rule
# of thumb (a thousandth, give or take a factor of ten: A. Karpathy, CS231n, "Babysitting the learning process").
QUANTITIES = (
    Quantity("std", "standard deviation of the activations", "log"),
    Quantity("mean", "mean of the activations", "linear"),
    Quantity("dead", "share of units that give 0 for every row", "share", (None, 0.6)),
    Quantity("saturated", "share of activations at the flat ends", "share", (None, 0.5)),
    Quantity("gradient_norm", "norm of the weight's gradient", "log"),
    Quantity("update_ratio", "length of the update over that of the weight", "log", (1e-4, 1e-2)),
    Quantity("effective_rank", "effective rank of the activations", "linear"),
)


@dataclass(frozen=True)
class Layers:
    """What the layers of a network did over a run; printing it shows a table.

    Attributes:
        task: the task's name.
        recipe: of the run, in words.
        seed: of it.
        rows: training rows that it was looked at on, the same each time.
        steps: updates before each look, (T,).
        layers: ``name``, ``kind`` and ``activation`` of each, in the order in which they act.
        values: by quantity a row a layer, (L, T); NaN where there is none.
        notes: what is to be known of it.
        complete: whether the run was followed to its end.
        seconds: that it took.
        folder: where ``layers.json`` lies, or None.
        status: how the run ended: ``finished``, ``diverged``, or ``stopped`` by Ctrl-C or the deadline.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> run = thalweg.train(task, thalweg.Recipe("sgd", lr=0.1), quiet=True)
        >>> found = thalweg.layers(run, task=task, looks=5, quiet=True)
        >>> found.steps, found.values["update_ratio"].shape
        ((0, 1, 7, 56, 420), (2, 5))
    """

    task: str
    recipe: str
    seed: int
    rows: int
    steps: tuple[int, ...]
    layers: tuple[dict[str, str | None], ...]
    values: dict[str, np.ndarray[Any, Any]]
    notes: tuple[str, ...]
    complete: bool
    seconds: float
    folder: Path | None = None
    status: str = "finished"

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read; quantities that no layer has are left out."""
        own = ("task", "recipe", "seed", "rows", "complete", "status", "seconds")
        return {key: getattr(self, key) for key in own} | {
            "steps": list(self.steps),
            "layers": [dict(layer) for layer in self.layers],
            "quantities": [
                {
                    "key": q.key, "label": q.label, "scale": q.scale, "good": None if q.good is None else list(q.good),
                    "values": [[v if math.isfinite(v) else None for v in row] for row in self.values[q.key].tolist()],
                }
                for q in QUANTITIES if np.isfinite(self.values[q.key]).any()
            ],
            "notes": list(self.notes),
        }  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write ``layers.json``.

        Args:
            folder: it is made where it is missing.

        Raises:
            BadStudy: it cannot be written.
        """
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            return Store(folder).write(FILE, self.as_dict())
        except OSError as error:
            said = f"cannot write to {folder}: {error.strerror}"
            raise BadStudy(said, "give a folder that you may write to") from None

    def __str__(self) -> str:
        shown = [q for q in QUANTITIES if q.key != "mean" and np.isfinite(self.values[q.key]).any()]
        rows = [("layer", "gives", *(q.key.replace("_", " ").removesuffix(" norm") for q in shown))]
        for k, layer in enumerate(self.layers):
            ends = (_ends(self.values[q.key][k]) for q in shown)
            rows.append((layer["name"] or "model", layer["activation"] or layer["kind"] or "", *ends))
        lines = [
            f"{self.task}: {self.recipe}, seed {self.seed}",
            f"{len(self.steps)} looks over {self.steps[-1]} steps, on {self.rows} training rows; first → last",
            "",
            columns(rows),
            *self.notes,
        ]
        return "\n".join([*lines, *([f"Written to {self.folder / FILE}."] if self.folder else [])])

    def __repr__(self) -> str:
        return str(self)


def _ends(row: np.ndarray[Any, Any]) -> str:
    """The first and the last known value of a row."""
    known = row[np.isfinite(row)]
    return f"{known[0]:.2g} → {known[-1]:.2g}" if known.size else "–"


def layers(
    what: Study | Run | str | Path,
    *,
    task: Task | str | None = None,
    looks: int = LOOKS,
    folder: str | Path | None = None,
    deadline: float = math.inf,
    quiet: bool = False,
) -> Layers:
    """What every layer does over a run: activations, dead and saturated units, gradients, updates, rank.

    The best recipe's first final is trained once more, with the same weights, order and draws, and looked at before its
    first update and then at steps that are evenly spaced in the logarithm. Looking has dropout off and batch norm by the
    batch; the run does not notice. An update ratio is that of the run's own update before the look.

    Args:
        what: a study or its folder, the folder of a run, or a run with ``task``.
        task: what was trained, where that cannot be found by its name.
        looks: how many, at most.
        folder: where ``layers.json`` is written; None: into the study's or run's own folder, where there is one.
        deadline: on the clock of `time.monotonic`; what is not seen by then is left out, as after Ctrl-C.
        quiet: no progress.

    Raises:
        BadStudy: the study has no best recipe, or its task is not at hand.
        BadOption: an argument outside what is allowed.

    Example:
        >>> import thalweg
        >>> study = thalweg.compare("digits", field=["sgd"], budget="16 runs", quiet=True, folder=tmp / "study")
        >>> found = layers(study, looks=6, quiet=True)
        >>> found.steps[-1], [layer["activation"] for layer in found.layers], (tmp / "study" / "layers.json").exists()
        (420, ['relu', None], True)
    """
    from .study.best_run import best_run
    from .task import Task

    check("layers", "looks", looks, COUNT)
    task = Task.load(task) if isinstance(task, str) else task
    allowed = Allowed("a thalweg.Task, its name, or None", lambda v: v is None or isinstance(v, Task))
    check("layers", "task", task, allowed)
    begun = time.perf_counter()
    subject = best_run(what, task)
    with Progress(quiet) as progress:

        def said(step: int) -> None:
            progress.at(f"{subject.task.name} · layers · step {step}/{subject.steps}")

        followed = follow(subject.task, subject.recipe, subject.seed, subject.steps, looks, said, deadline)
    notes = [*subject.notes]
    if followed.averaged:
        notes.append(
            "What is judged are averages of the weights over the run; the layers were looked at with those of the step."
        )
    if not followed.complete:
        notes.append(f"The run ended at step {len(followed.trace)}: {followed.ended}.")
    elif subject.final is not None and followed.trace.loss:
        now = followed.trace.loss[-1]
        if abs(now - subject.final) > SAME * abs(subject.final):
            notes.append(f"Trained again its last training loss is {now:.6g}, recorded was {subject.final:.6g}.")
    names = [layer.name for layer in followed.seen[0].layers]
    place = Path(folder) if folder is not None else subject.folder
    found = Layers(
        subject.task.name, str(subject.recipe), subject.seed, followed.seen[0].rows, tuple(followed.steps),
        tuple({"name": s.name, "kind": s.kind, "activation": s.activation} for s in followed.seen[0].layers),
        {q.key: _table(followed.seen, names, q.key) for q in QUANTITIES},
        tuple(notes), followed.complete, time.perf_counter() - begun, place, followed.status,
    )  # fmt: skip
    if place is not None:
        found.save(place)
    return found


def _table(seen: Sequence[Signal], names: Sequence[str], key: str) -> np.ndarray[Any, Any]:
    """A row a layer, a column a look."""
    by_name = [{layer.name: getattr(layer, key) for layer in report.layers} for report in seen]
    rows = [[values.get(name) for values in by_name] for name in names]
    return np.array([[math.nan if v is None else float(v) for v in row] for row in rows], dtype=np.float64)


def spaced(steps: int, looks: int) -> list[int]:
    """0, and at most ``looks`` − 1 steps up to the last one, evenly spaced in the logarithm.

    Example:
        >>> spaced(1000, 5), spaced(3, 40)
        ([0, 1, 10, 100, 1000], [0, 1, 2, 3])
    """
    if looks < 2 or steps < 1:
        return [0]
    return sorted({0, *(round(x) for x in np.geomspace(1, steps, looks - 1).tolist()), steps})


@dataclass(frozen=True)
class Followed:
    """What `follow` saw at which steps, the trace and its end, the model, and whether averages of its weights are judged."""

    steps: list[int]
    seen: list[Signal]
    trace: Trace
    complete: bool
    status: str
    ended: str
    model: nn.Module
    averaged: bool = False


def follow(
    task: Task,
    recipe: Recipe,
    seed: int,
    steps: int,
    looks: int = LOOKS,
    said: Any = lambda step: None,
    deadline: float = math.inf,
) -> Followed:
    """Train a run and look at its layers on the way; the run is the same to the bit as without.

    Args:
        task: what is trained.
        recipe: how; its ``lr`` is known.
        seed: of weights, order, dropout and augmentation.
        steps: updates.
        looks: how many, at most.
        said: called with the step before each look.
        deadline: see `layers`.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> found = follow(task, thalweg.Recipe("sgd", lr=0.1), 0, 40, looks=3)
        >>> found.steps, [layer.name for layer in found.seen[-1].layers], len(found.trace)
        ([0, 1, 40], ['0', '2'], 40)
    """
    if task.compile:  # a compiled model does not let itself be listened to
        memory, task = task._memory, replace(task, compile=False)
        task._memory.update(memory)
    data, at = task.prepare(), spaced(steps, looks)
    building.sample(task)  # the rows to look at, before the run draws its own
    before: dict[str, Tensor] = {}
    seen: list[Signal] = []
    looked: list[int] = []
    with stream(seed, "dropout"):
        solo = Solo(task, recipe, seed, steps)

        def observe(step: int, _traces: list[Trace]) -> None:
            weights = {name: p.detach() for name, p in solo.model.named_parameters()}
            if step in at:
                said(step)
                ratios = {
                    name: _length(p - before[name]) / _length(before[name]) for name, p in weights.items() if before
                }
                state = RandomState.capture()
                try:
                    report = look(task, solo.model, recipe, ratios)
                finally:
                    state.restore()
                seen.append(report)
                looked.append(step)
            before.clear()
            if step + 1 in at:
                before.update({name: p.clone() for name, p in weights.items()})

        observe(0, [])
        marks = frozenset({*at, *(step - 1 for step in at)} - {0, -1})
        feed = loop.updates(data.train, recipe.batch_size or data.batch_size, task.accumulate, seed)
        [(trace, outcome)] = loop.train(solo, feed, [loop.Course(steps, marks)], deadline=deadline, observe=observe)
    complete = outcome.status == "finished"
    ended = LATE if outcome.reason == "budget" else outcome.reason or outcome.status
    averaged = bool(solo.optimizer.averages)
    return Followed(looked, seen, trace, complete, outcome.status, ended, solo.model, averaged)


def _length(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x.double())) or math.nan
