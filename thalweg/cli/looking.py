"""The commands that look: ``diagnose``, ``experiment``, ``explain``, ``doctor``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..arguments import numbers_of, recipe_of
from ..errors import BadOption, ThalwegError
from .app import Json, Quiet, app, show, tell


@app.command
def diagnose(
    *task: str,
    recipe: str | None = None,
    model: Path | None = None,
    budget: int = 200,
    verify: Annotated[bool, Parameter(negative="")] = False,
    signal: Annotated[bool, Parameter(negative="")] = False,
    steps: int = 0,
    save: Path | None = None,
    json_: Json = False,
) -> int:
    """Why does it not train, and what helps? Exits with 1 where there is trouble.

    Args:
        task: name of a built-in task, path/to/file.py:task, a study's folder (its task with its best recipe, kept there
            for the page), or a training script, which is run for some steps and watched; several: one after the other,
            each file in a process of its own.
        recipe: a .toml file, or e.g. adamw,lr=3e-4; nothing: the file's own "recipe", else AdamW at 1e-3.
        model: weights of a trained model (.safetensors): where is it, and what is the matter with it?
        budget: gradient evaluations that the experiments may take.
        verify: try the first finding's remedy over paired seeds.
        signal: only what every layer gives and which gradient it gets, against theory.
        steps: with --signal, also after so many updates; of a script, how many are watched.
        save: write findings.json into this folder.
        json_: one JSON document on standard output.
    """
    from .. import task_files
    from ..diagnosis import commands

    if not task:
        raise BadOption("diagnose: name a task", "thalweg diagnose digits, or thalweg diagnose path/to/file.py")
    if signal:
        from ..propagation import signal as report

        found: Any = [report(task_files.load(name), recipe_of(recipe), steps=steps) for name in task]
    else:
        asked: dict[str, Any] = {
            "recipe": recipe_of(recipe),
            "model": model,
            "budget": budget,
            "verify": verify,
            "steps": steps,
            "save": save,
        }
        several = len(task) > 1
        if several and save is not None:
            raise BadOption("diagnose: --save keeps the findings of one name", "give one name, or leave --save out")
        found = [_one(commands.apart if several else commands.diagnose, name, several, asked) for name in task]
    if json_:
        show(found[0].as_dict() if len(found) == 1 else {"diagnoses": [f.as_dict() for f in found]})
    else:
        print("\n\n".join(map(str, found)))
    if any(isinstance(f, _Refused) for f in found):
        return 2
    return int(not signal and any(f.trouble for f in found))


@dataclass
class _Refused:
    """One of several names that could not be looked at; the others are."""

    name: str
    error: ThalwegError
    trouble: bool = True

    def as_dict(self) -> dict[str, Any]:
        said = {"code": self.error.code, "message": self.error.message, "hint": self.error.hint}
        return {"name": self.name, "error": said}

    def __str__(self) -> str:
        return f"{self.name}\nerror: {self.error}"


def _one(look: Callable[..., Any], name: str, several: bool, asked: dict[str, Any]) -> Any:
    try:
        return look(name, **asked)
    except ThalwegError as error:
        if not several:
            raise
        return _Refused(name, error)


@app.command
def experiment(
    what: Literal["init-scale", "batch-size"],
    task: str,
    *,
    norm: str = "keep,batch",
    values: str | None = None,
    seeds: int = 2,
    recipe: str | None = None,
    save: Path | None = None,
    plot: Path | None = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train a task's model over a range of initial scales or batch sizes, with and without normalization.

    Args:
        what: init-scale: weights from N(0, scale²), 20 scales from 1e-4 to 1; batch-size: 2, 8, 32, 128.
        task: name of a built-in task, or path/to/file.py:task.
        norm: normalizations to compare, e.g. keep,batch,layer.
        values: other scales or sizes, separated by commas.
        seeds: runs of each.
        recipe: how to train: a .toml file, or e.g. sgd,lr=0.1; Adam at 1e-3 if left out.
        save: write the numbers to this .json file.
        plot: draw the curves to this file (.png, .svg, .pdf).
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    from .. import experiments
    from ..task import Task

    own: dict[str, Any] = {"norms": norm.split(","), "seeds": seeds, "quiet": quiet}
    if recipe is not None:
        own["recipe"] = recipe_of(recipe)
    if values is not None:
        own["values"] = numbers_of(values)
    found = (experiments.init_scale if what == "init-scale" else experiments.batch_size)(Task.load(task), **own)
    if save is not None:
        found.save(save)
    tell(found, plot, json_)
    return 0


@app.command
def explain(optimizer: str, *, json_: Json = False) -> int:
    """What an optimizer computes: equation, state, defaults, source, kernel and its speed here.

    Args:
        optimizer: sgd, momentum, adam, adamw, lion, schedulefreeadamw, ...: a wrong name lists them.
        json_: one JSON document on standard output.
    """
    from ..explain import document, text

    if json_:
        show(document(optimizer))
    else:
        print(text(optimizer))
    return 0


@app.command
def doctor(
    *,
    parity: Annotated[bool, Parameter(negative="")] = False,
    full: Annotated[bool, Parameter(negative="")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """What this machine offers: versions, cores, device, executors, data.

    Args:
        parity: compare every engine with an oracle in exact arithmetic instead; exit code 1 if one is too far away. It takes
            seconds, or minutes where Triton's interpreter is one of them.
        full: of parity, all combinations instead of a pairwise cover of them; takes about an hour.
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    if full and not parity:
        raise BadOption("doctor: --full says how much of --parity", "thalweg doctor --parity --full")
    if parity:
        from .. import parity as measured

        table = measured.document(full=full, quiet=quiet)
        if json_:
            show(table)
        else:
            print(measured.text(table))
        return 0 if table["holds"] else 1
    from ..doctor import document, text

    found = document()
    if json_:
        show(found)
    else:
        print(text(found))
    return 0
