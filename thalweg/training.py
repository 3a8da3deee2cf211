"""The verb ``train``: one run, its rate found first where it is not given."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import building, lengths, loop, rules
from .console import Progress, duration
from .errors import Allowed, BadStudy, check
from .recipe import Recipe
from .run import COLUMNS, Run, Trace
from .store import Store, environment

if TYPE_CHECKING:
    from .task import Task

SEED = Allowed("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool))


def train(
    task: Task | str,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    quiet: bool = False,
) -> Run:
    """Train a task once by a recipe.

    Args:
        task: what is trained, or the name of a task.
        recipe: how; None: AdamW; ``lr=None``: the rate is found by short runs and three or more full ones.
        seed: of weights, order, dropout and augmentation: the same seed gives the same losses.
        folder: where trace, recipe and weights are kept, and what was done to the model (``built.txt``); None: nowhere.
        quiet: no progress.

    Returns:
        The run: ``.model``, ``.trace``, ``.outcome``; a divergence is an outcome. Ctrl-C stops it and keeps what there is.

    Raises:
        BadTask, BadData: the task does not work.
        BadStudy: the folder holds something, or cannot be written.

    Example:
        >>> run = train("digits", Recipe("momentum", lr=0.1), quiet=True)
        >>> run.outcome.status, run.final["accuracy"] > 0.9
        ('finished', True)
    """
    from .task import Task

    check("train", "seed", seed, SEED)
    check("train", "recipe", recipe, Allowed("a thalweg.Recipe, or None", lambda v: v is None or isinstance(v, Recipe)))
    task = Task.load(task) if isinstance(task, str) else task
    check("train", "task", task, Allowed("a thalweg.Task, or the name of one", lambda v: isinstance(v, Task)))
    recipe = recipe or Recipe("adamw", weight_decay=0.01)
    data = task.prepare()
    with Progress(quiet) as progress, contextlib.ExitStack() as stack:
        for note in data.notes:
            progress.say(note)
        store = None if folder is None else Store(folder)
        if store is not None:
            if store.exists():
                raise BadStudy(f"{folder} holds a run or a study already", "give a new folder")
            head: dict[str, Any] = {"task": task.name, "source": task.source, "fingerprint": task.fingerprint()}
            head |= {"seed": seed, "metric": data.metric, "direction": data.direction, "recipe": recipe.as_dict()}
            head["steps"] = lengths.horizon(task, recipe)
            store.create(head | {"environment": environment()})
            stack.callback(store.hold())
        if recipe.lr is None:
            recipe = recipe.but(lr=find_rate(task, recipe, progress))
            progress.say(f"Learning rate found: {recipe.lr:.3g}.")
        done = "\n".join(map(str, building.built(task, recipe, seed)[1]))
        if done:
            progress.say(done)
        steps, written, last = lengths.horizon(task, recipe), 0, time.monotonic()

        def observe(step: int, traces: list[Trace]) -> None:
            nonlocal written, last
            trace = traces[0]
            if store is not None:
                store.append({"kind": "steps"} | trace.columns(written))
                written = len(trace)
            values = trace.last("select") or {}
            shown = f" · {data.metric} {values[data.metric]:.4g}" if data.metric in values else ""
            progress.at(f"{task.name} · step {step}/{steps} · loss {trace.loss[-1]:.4g}{shown}")

        run, cohort = loop.run(task, recipe, seed, observe=observe)
        if store is not None:
            _keep(store, run, written, cohort.weights())
            if done:
                (store.folder / "built.txt").write_text(f"{done}\n", encoding="utf-8")
        progress.say(f"{run.outcome} in {duration(run.seconds)}")
    return run


def _keep(store: Store, run: Run, written: int, weights: dict[str, Any]) -> None:
    if len(run.trace) > written:
        store.append({"kind": "steps"} | run.trace.columns(written))
    for evaluation in run.trace.evaluations:
        store.append({"kind": "evaluation"} | evaluation)
    run.recipe.save(store.folder / "recipe.toml")
    store.save_weights("../model", weights)
    store.write(
        "run.json",
        {"outcome": run.outcome.as_dict(), "final": run.final, "seconds": run.seconds, "columns": list(COLUMNS)},
    )
    run.folder = str(store.folder)


def find_rate(task: Task, recipe: Recipe, progress: Progress) -> float:
    """The recipe's learning rate: bracketed by short runs, chosen among three or more at the full horizon.

    Raises:
        BadOption: no rate in reach trains the task.
    """
    from .errors import BadOption
    from .study import executors, plan, work
    from .study.case import case_of
    from .study.conductor import Conductor
    from .study.jobs import Depth
    from .study.tuning import tune

    entrant = plan.Entrant(recipe.optimizer, recipe, rules.get(recipe.optimizer).rates)
    conductor = Conductor.in_memory(case_of(task), progress, executors.Sequential(work.of_task(task, None)))
    steps = tune(entrant, Depth(2, 1, 0), conductor.scale(), conductor.purse, 0)
    found = conductor.play(steps)
    if conductor.interrupted:
        raise KeyboardInterrupt
    if found.choice is None or not math.isfinite(found.choice.lr):
        raise BadOption(
            f"train: no learning rate of {recipe.optimizer} trained this task",
            "look at one run: give lr=, and see its trace",
        )
    return float(found.choice.lr)
