"""What the command ``thalweg diagnose`` does with a name: a task is examined, a script is run and watched."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook

from .. import building, task_files, tasks
from ..errors import BadOption, BadTask
from ..recipe import Recipe
from . import keeping
from .diagnosed import Diagnosis
from .diagnosing import diagnose as examine
from .script import run_script

STEPS = 300


def diagnose(
    name: str,
    *,
    recipe: Recipe | None = None,
    model: Path | None = None,
    budget: int = 200,
    verify: bool = False,
    steps: int = 0,
    save: Path | None = None,
) -> Diagnosis:
    """See ``thalweg diagnose --help``.

    Raises:
        BadOption: weights that do not fit, or something that a script does not take.
    """
    if is_study(name):
        if recipe is not None or model is not None:
            raise BadOption("diagnose: a study has its own recipe", "leave --recipe and --model out, or give its task")
        found, run = keeping.of_study(name, budget=budget)
        if verify:
            _try_first(found)
        keeping.keep(found, save or name, run, budget=budget)
        return found
    if task_files.is_script(name):
        if recipe is not None or model is not None or verify:
            raise BadOption(
                "diagnose: a script has its own model and optimizer",
                "leave --recipe, --model and --verify out, or give a task",
            )
        found = _watched(Path(name), steps or STEPS)
        if save is not None:
            keeping.keep(found, save, budget=budget)
        return found
    with _steps() as made:
        task, beside = task_files.load_with_recipe(name)
    recipe = recipe or beside
    trained = None
    if model is not None:
        trained = building.build(task, recipe or Recipe("adamw", lr=1e-3), task.seed)
        try:
            trained.load_state_dict(_weights(model))
        except RuntimeError as error:
            raise BadOption(
                f"diagnose: the weights of {model} are not this model's: {error}", "give its own"
            ) from error
    found = examine(task, recipe, model=trained, budget=budget)
    if verify:
        _try_first(found)
    found = replace(found, not_measured=(*_trained_while_loading(name, len(made)), *found.not_measured))
    if save is not None:
        keeping.keep(found, save, budget=budget)
    return found


def apart(name: str, **asked: Any) -> Diagnosis:
    """As `diagnose`; a file in a process of its own, so that nothing it does to Python or torch reaches the next one.

    Raises:
        BadOption: as `diagnose`.
        BadTask: the file ended its process.
    """
    if ".py" not in name:
        return diagnose(name, **asked)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_carried, name, asked).result()
        except BrokenProcessPool as error:
            raise BadTask(f"{name} ended its process", "run it by itself first") from error


def _carried(name: str, asked: dict[str, Any]) -> Diagnosis:
    """A diagnosis that can be sent: without the task, and without the functions that change it."""
    found = diagnose(name, **asked)
    plain = [f.but(remedy=f.remedy and replace(f.remedy, apply=None)) for f in found.findings]
    return replace(found, findings=plain, subject=None)


@contextlib.contextmanager
def _steps() -> Iterator[list[None]]:
    """One entry for each step that any optimizer makes meanwhile."""
    made: list[None] = []
    handle = register_optimizer_step_post_hook(lambda *_: made.append(None))
    try:
        yield made
    finally:
        handle.remove()


def _trained_while_loading(name: str, steps: int) -> list[dict[str, str]]:
    if not steps:
        return []
    why = f"{Path(name.rpartition('.py')[0]).name}.py trains when it is loaded ({steps} steps), which was run and not watched; "
    return [
        {"what": "that training", "why": why + 'put it under if __name__ == "__main__", or in a file without a task'}
    ]


def is_study(name: str) -> bool:
    """Whether a name is the folder of a study or of a run; a built-in task of the same name goes first."""
    return name not in tasks.TABLE and (Path(name) / "study.json").is_file()


def _try_first(found: Diagnosis) -> None:
    """Try the first remedy that can be tried."""
    graspable = (k for k, f in enumerate(found.findings) if f.severity != "note" and found.changed(k) is not None)
    first = next(graspable, None)
    if first is not None:
        found.verify(first)


def _watched(path: Path, steps: int) -> Diagnosis:
    started = time.perf_counter()
    findings, unseen, made = run_script(path, steps=steps)
    cost = {"gradient_evaluations": made, "seconds": time.perf_counter() - started}
    missing = tuple({"what": "watch", "why": said} for said in unseen)
    return Diagnosis(f"{path.name}, run and watched for {made} steps", findings, ("training loop",), missing, cost)


def _weights(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, ValueError) as error:
        raise BadOption(f"diagnose: cannot read {path}: {error}", "give a .safetensors file") from error
