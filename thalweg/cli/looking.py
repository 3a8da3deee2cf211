"""The commands that look: ``diagnose``, ``experiment``, ``explain``, ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..arguments import numbers_of, recipe_of
from ..errors import BadOption
from .app import Json, Quiet, app, show


@app.command
def diagnose(
    task: str,
    *,
    signal: Annotated[bool, Parameter(negative="")] = False,
    recipe: str | None = None,
    steps: int = 0,
    json_: Json = False,
) -> int:
    """What every layer of a task's model gives and which gradient it gets, against theory.

    Args:
        task: name of a built-in task, or path/to/file.py:task.
        signal: the report of the layers: the one that there is so far.
        recipe: whose init and norm make the model: a .toml file, or e.g. adamw,lr=3e-4,init=he_normal,norm=batch.
        steps: also after so many updates.
        json_: one JSON document on standard output.
    """
    from ..propagation import signal as report
    from ..task import Task

    if not signal:
        raise BadOption("diagnose: say what to look at", "thalweg diagnose --signal TASK")
    found = report(Task.load(task), recipe_of(recipe), steps=steps)
    if json_:
        show(found.as_dict())
    else:
        print(found)
    return 0


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
    if plot is not None:
        found.plot(plot)
    if json_:
        show(found.as_dict())
    else:
        print(found)
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
        parity: compare every engine with an oracle in exact arithmetic instead; exit code 1 if one is too far away.
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
