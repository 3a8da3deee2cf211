"""What the command ``thalweg diagnose`` does with a name: a task is examined, a script is run and watched."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .. import building, task_files, tasks
from ..errors import BadOption
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
        keeping.keep(found, save or name, seed=run.seed, budget=budget)
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
    if save is not None:
        keeping.keep(found, save, budget=budget)
    return found


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
