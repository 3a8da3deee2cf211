"""What a landscape is of: a task, the run in the middle of it, and the other runs that are shown on it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import variants
from ..building import build
from ..console import Progress
from ..deadline import in_time
from ..errors import BadOption, BadStudy, BadTask
from ..recipe import Recipe
from ..run import Run, Trace
from ..store import Store, load_weights
from ..study.opening import task_of
from .trajectories import Trajectory, again, replay

if TYPE_CHECKING:
    from ..study import Study
    from ..task import Task

SAME = 1e-5  # relative, between a recorded loss and the same measured again


@dataclass(frozen=True)
class Shown:
    """A run that is to be shown: its name, recipe, seed and length, its final weights and loss where they are kept."""

    name: str
    recipe: Recipe
    seed: int
    steps: int | None
    final: dict[str, Tensor] | None = None
    recorded: float = float("nan")


@dataclass(frozen=True)
class Subject:
    """A task with the model that is looked at, and runs of that model, that one's own first."""

    task: Task
    model: nn.Module
    runs: tuple[Trajectory, ...]
    others: tuple[dict[str, Tensor], ...]
    notes: tuple[str, ...]
    folder: Path | None = None


def of_study(study: Study, task: Task | None, count: int, progress: Progress, deadline: float = math.inf) -> Subject:
    """The best recipe's first final in the middle, with the first finals of the other finalists.

    Raises:
        BadStudy: the study has no best recipe, or its task is not at hand.
    """
    if study.best is None or study.best.model_file is None:
        raise BadStudy("landscape: this study kept no trained model", "compare a task, and let it reach its finals")
    own, changed = task_of(study.folder, task or study.best.task)
    arguments, notes = study.best.arguments, list(changed)
    task = variants.of(own, arguments)
    recorded = _finals(study)
    shown = []
    standings = sorted(study.finalists, key=lambda s: s.name != study.verdict.best)
    for standing in standings:
        if standing.arguments != arguments or standing.recipe.norm != study.best.recipe.norm:
            notes.append(f"{standing.name} is not shown: its model is another one.")
            continue
        for seed in standing.seeds[:1]:
            known = recorded.get((standing.name, seed))
            steps = known["steps"] if known else study.document["steps"]
            shown.append(Shown(standing.name, standing.recipe, seed, steps, *_kept(study, known)))
    others = []
    for seed in standings[0].seeds[1:2]:  # the nearest other solution: the same recipe from other weights
        state, _ = _kept(study, recorded.get((standings[0].name, seed)))
        others += [state] if state is not None else []
    with _threads(1 if study.executor.get("name") == "processes" else None):  # sums over other threads round otherwise
        return _subject(task, shown[:count], others, notes, study.folder, progress, deadline)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Inside, so many threads; None: as many as there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def of_run(run: Run, task: Task | None, progress: Progress, deadline: float = math.inf) -> Subject:
    """A run, with the course that it took.

    Raises:
        BadTask: its task is not at hand, or it did not finish.
    """
    if task is None:
        raise BadTask("landscape: a run does not hold its task", "pass task=")
    if run.outcome.status != "finished":
        raise BadTask(f"landscape: this run {run.outcome}", "take one that finished, or its model with task=")
    final, recorded = run.model.state_dict(), float(run.final.get("loss", float("nan")))
    shown = Shown(run.recipe.optimizer, run.recipe, run.seed, len(run.trace), final, recorded)
    return _subject(task, [shown], [], [], None, progress, deadline)


def of_model(task: Task, model: nn.Module) -> Subject:
    """A model as it is, without runs."""
    return Subject(task, model, (), (), ())


def _finals(study: Study) -> dict[tuple[str, int], dict[str, Any]]:
    records = Store(study.folder).records()
    return {(r["entrant"], r["seed"]): r for r in records if r["kind"] == "end" and r["phase"] == "final"}


def _kept(study: Study, record: dict[str, Any] | None) -> tuple[dict[str, Tensor] | None, float]:
    """Weights and loss of a final that the study keeps."""
    if record is None or not record.get("model"):
        return None, float("nan")
    file = Store(study.folder).models / record["model"]
    losses = [e["loss"] for e in record["evaluations"] if e["split"] == "select"]
    return (load_weights(file) if file.exists() else None), float(losses[-1]) if losses else float("nan")


def _subject(
    task: Task,
    shown: Sequence[Shown],
    others: Sequence[dict[str, Tensor]],
    notes: list[str],
    folder: Path | None,
    progress: Progress,
    deadline: float,
) -> Subject:
    """Train the runs again; their last checkpoints are the weights that were kept."""
    if not shown:
        raise BadOption("landscape: no run to show", "let runs be at least 1")
    found = []
    for run in shown:

        def observe(step: int, traces: list[Trace], run: Shown = run) -> None:
            progress.at(f"the course of {run.name}: step {step}")

        trajectory = replay(
            task, run.recipe, run.seed, steps=run.steps, name=run.name, observe=observe, deadline=deadline
        )
        if run.final is not None:
            apart = abs(trajectory.recorded[-1] - run.recorded)
            said = f"{run.name}: trained again its final loss is {trajectory.recorded[-1]:.6g}, the study's {run.recorded:.6g}"
            own = (f"{said}; the weights at its end are the study's.",) if apart > SAME * abs(run.recorded) else ()
            states = [*trajectory.states[:-1], {k: x.cpu() for k, x in run.final.items()}]
            losses = np.append(trajectory.recorded[:-1], run.recorded)
            trajectory = replace(trajectory, states=states, recorded=losses, notes=own)
        found.append(trajectory)
        notes += trajectory.notes
    model = build(task, shown[0].recipe, shown[0].seed)
    model.load_state_dict(found[0].states[-1])
    return Subject(task, model.eval(), tuple(found), tuple(others), tuple(notes), folder)


def measured(subject: Subject, deadline: float = math.inf) -> dict[tuple[str, int], float]:
    """The losses on ``select`` of all checkpoints, measured again: by run and step."""
    found = {}
    for run in subject.runs:
        for step, state in zip(run.steps, run.states, strict=True):
            in_time(deadline)
            with torch.no_grad():
                found[run.name, step] = again(subject.task, subject.model, state)
    return found
