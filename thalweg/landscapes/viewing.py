"""The verb ``landscape``: the surface around a trained model, with the runs on it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ..console import Progress
from ..deadline import TimeOver
from ..errors import COUNT, FLAG, NOT_NEGATIVE, Allowed, BadOption, BadStudy, BadTask, check, one_of, optional, unknown
from . import around, one_axis, two_axes
from .field import ModelField
from .result import Landscape
from .subject import Subject, measured, of_model, of_run, of_study
from .views import Views, mode_of, sample

if TYPE_CHECKING:
    from ..run import Run
    from ..study import Study
    from ..task import Task

PLANES = ("pca", "random", "eigen", "three")
SLICES = ("line", "random", "gradient", "top", "bottom")
ROWS = 2000


def landscape(
    what: Study | Run | nn.Module | str | Path,
    *,
    task: Task | str | None = None,
    planes: Sequence[str] = ("pca", "random"),
    slices: Sequence[str] = SLICES,
    both: bool = False,
    batches: int = 0,
    connect: bool = False,
    walls: bool = False,
    convex: int = 0,
    resolution: int = 41,
    rows: int = ROWS,
    runs: int = 3,
    norm: str | None = None,
    refine: bool = True,
    seed: int = 0,
    folder: str | Path | None = None,
    deadline: float = math.inf,
    quiet: bool = False,
) -> Landscape:
    """Measure the loss surface around a trained model, along lines and in planes, with the runs that were trained on it.

    Slices: ``line``: from the untrained to the trained weights; ``random``: one direction of the filters' own lengths;
    ``gradient``: against it; ``top``, ``bottom``: eigenvectors of the Hessian's largest and least eigenvalue. Planes:
    ``pca``: the two directions along which the runs moved most; ``random``: two random directions; ``eigen``: the two
    eigenvectors; ``three``: through the untrained, the trained, and another trained model. Slices are evaluated on training
    and on validation rows.

    Args:
        what: a study or its folder, a run, or a model.
        task: needed for a run or a model, and for a study whose task cannot be found by its name.
        planes: of those above.
        slices: of those above.
        both: whether planes are evaluated on validation rows too, as slices always are.
        batches: so many mini-batches of the task's own size are laid over the first plane, each with its own surface.
        connect: whether the ways to the nearest other solution are looked at: straight, with its units matched, curved.
        walls: whether the walls around the model are measured, and which rates leave it.
        convex: how many chords are tried; 0: none.
        resolution: points along each axis.
        rows: of the training data, and as many of the validation data, at most.
        runs: how many finalists are shown.
        norm: what batch norms go by: ``"batch"``: the statistics of 250 rows at each point, or ``"running"``: those that
            the model in the middle holds, everywhere; None: "batch".
        refine: whether points are left out where the surface is nearly straight.
        seed: of the random directions.
        folder: where it is written; None: a study's own folder; of others nowhere.
        deadline: on the clock of `time.monotonic`; what is not evaluated by then is left out, as after Ctrl-C.
        quiet: no progress.

    Raises:
        BadOption: an argument outside what is allowed.
        BadStudy, BadTask: the study or run has no model, its task is not at hand, or the deadline is too near.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> run = thalweg.train(task, thalweg.Recipe("momentum", lr=0.1), quiet=True)
        >>> found = landscape(run, task=task, planes=["pca"], slices=["line"], resolution=9, rows=64, quiet=True)
        >>> found.planes["pca"].losses.shape, len(found.planes["pca"].marks), found.apart < 1e-5
        ((9, 9), 21, True)
    """
    for name, known in ((planes, PLANES), (slices, SLICES)):
        for one in name:
            if one not in known:
                raise unknown("landscape", "plane" if known is PLANES else "slice", one, known)
    for option, count in (("resolution", resolution), ("rows", rows), ("runs", runs)):
        check("landscape", option, count, COUNT)
    for option, amount in (("batches", batches), ("convex", convex)):
        check("landscape", option, amount, NOT_NEGATIVE)
    for option, flag in (("both", both), ("connect", connect), ("walls", walls), ("refine", refine)):
        check("landscape", option, flag, FLAG)
    check("landscape", "norm", norm, optional(one_of("running", "batch")))
    begun = time.perf_counter()
    with Progress(quiet) as progress:
        try:
            subject = _subject(what, task, runs, progress, deadline)
            data = subject.task.prepare()
            own = sample(data.train, rows, seed)
            surface = ModelField(subject.task, subject.model, own, norm or "batch", deadline)
            others = {"select": surface.over(sample(data.select, rows, seed))}
            views = Views(
                subject, surface, others, resolution, refine, seed, mode_of(surface), progress, notes=[*subject.notes]
            )
        except TimeOver:
            raise BadStudy("landscape: the time was over before a surface was begun", "fewer runs=") from None
        found: dict[str, Any] = {"connections": {}, "matched": None, "walls": None, "escapes": None, "convexity": None}
        apart, again, going = None, dict[tuple[str, int], float](), False
        try:
            apart, again = _apart(subject, progress, deadline)
            going = one_axis.see(views, slices) and two_axes.see(views, planes, both, batches, again)
        except KeyboardInterrupt:
            views.interrupted = True
        if going:
            found |= around.measure(views, connect=connect, walls=walls, convex=convex)
        views.notes += [f"Evaluated {surface.way}."] if surface.way else []
        made = Landscape(
            task=subject.task.name,
            where=_where(subject),
            loss=views.here,
            data=f"{surface.rows} training rows",
            slices=views.slices,
            planes=views.planes,
            apart=apart,
            checkpoints=len(again),
            interrupted=views.interrupted,
            notes=tuple(dict.fromkeys([*views.notes, *_warnings(views)])),
            seconds=time.perf_counter() - begun,
            folder=Path(folder) if folder is not None else subject.folder if views.slices or views.planes else None,
            **found,
        )
    if made.folder is not None:
        made.save(made.folder)
    return made


def _subject(what: Any, task: Task | str | None, runs: int, progress: Progress, deadline: float) -> Subject:
    from ..run import Run
    from ..study import Study
    from ..task import Task

    task = Task.load(task) if isinstance(task, str) else task
    check(
        "landscape",
        "task",
        task,
        Allowed("a thalweg.Task, its name, or None", lambda v: v is None or isinstance(v, Task)),
    )
    if isinstance(what, str | Path):
        what = Study.load(what)
    if isinstance(what, Study):
        return of_study(what, task, runs, progress, deadline)
    if isinstance(what, Run):
        return of_run(what, task, progress, deadline)
    if isinstance(what, nn.Module):
        if task is None:
            raise BadTask("landscape: a model alone has no loss", "pass task=")
        return of_model(task, what)
    raise BadOption(
        f"landscape: cannot look at a {type(what).__name__}", "give a study or its folder, a run, or a model with task="
    )


def _where(subject: Subject) -> str:
    if not subject.runs:
        return "the model as it is"
    run = subject.runs[0]
    return f"{run.name} at the end of training ({run.recipe}, seed {run.seed})"


def _apart(subject: Subject, progress: Progress, deadline: float) -> tuple[float | None, dict[tuple[str, int], float]]:
    """The largest difference between recorded losses and the same measured again, and all of the latter."""
    if not subject.runs:
        return None, {}
    progress.at("the checkpoints' losses once more")
    again = measured(subject, deadline)
    worst = 0.0
    for run in subject.runs:
        for step, recorded in zip(run.steps, run.recorded, strict=True):
            worst = max(worst, abs(again[run.name, step] - recorded) / max(abs(recorded), 1e-12))
    return worst, again


def _warnings(views: Views) -> list[str]:
    every = (*views.slices.values(), *views.planes.values())
    odd = [one.kind for one in every if one.complete and not np.isfinite(one.losses).all()]
    return [f"Some points have no finite loss and are empty in pictures: {', '.join(odd)}."] if odd else []
