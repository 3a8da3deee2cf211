"""The command line: every command takes ``--json`` and exits with 0 (done), 1 (trouble found) or 2 (wrong use)."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from .arguments import axes_of, numbers_of, recipe_of, share_of
from .errors import BadOption, ThalwegError
from .store import plain
from .version import __version__

app = App(
    name="thalweg",
    help="Gets neural networks trained: which optimizer, rate and schedule, proved with honest statistics.",
    version=__version__,
    help_epilogue="TASK is the name of a built-in task (digits, fashion-mlp, fashion-cnn, mnist-mlp, shakespeare, housing, "
    "quadratic-deep) or path/to/file.py:task.",
)
Json = Annotated[bool, Parameter(name="--json", negative="")]
Quiet = Annotated[bool, Parameter(negative="")]


def _print(document: dict[str, Any]) -> None:
    print(json.dumps(plain(document), indent=1, allow_nan=False))


@app.command
def compare(
    *task: str,
    budget: str | None = None,
    baseline: str | None = None,
    field: str | None = None,
    axis: list[str] | None = None,
    seeds: int | None = None,
    effort: str = "quick",
    executor: str = "auto",
    folder: Path | None = None,
    delta: float | None = None,
    proxy: str | None = None,
    plot: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Which optimizer at which rate trains this task best, and how sure is that?

    Args:
        task: name of a built-in task, or path/to/file.py:task; several: a study of each, and who is nearly the best how often.
        budget: a hard limit: 90s, 5m, 1h, "60 runs", "2e6 samples".
        baseline: your recipe: a .toml file, or e.g. adamw,lr=3e-4,weight_decay=0.05.
        field: optimizers that enter, separated by commas, e.g. adamw,sgd,adamw-constant; all: every one.
        axis: what else varies, e.g. schedule=linear,cosine or weight_decay=1e-5..1e-1 or model.width=32,64; repeatable.
        seeds: number of seeds of the finals.
        effort: quick: the rate alone is tuned; fair: as many settings of its whole space for each optimizer.
        executor: auto, sequential, processes or cohorts.
        folder: of the study.
        delta: the smallest interesting difference of the metric.
        proxy: steps=.1,data=.2: compare on these shares of a large task, and on half of them.
        plot: also draw the figure to this file (.png, .svg, .pdf).
        dry_run: show the plan and its cost, and run nothing; of several tasks, each with its share of the budget.
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    from .study import Budget, Studies, rehearse
    from .study import compare as run

    if not task:
        raise BadOption("compare: name a task", "thalweg compare digits, or thalweg compare path/to/file.py:task")
    if plot is not None:
        import importlib.util

        if importlib.util.find_spec("matplotlib") is None:
            raise BadOption("--plot needs matplotlib", "pip install 'thalweg[plot]'")
    asked: dict[str, Any] = {
        "baseline": recipe_of(baseline),
        "field": field.split(",") if field and field != "all" else field,
        "axes": axes_of(axis),
        "effort": effort,
        "seeds": seeds,
        "executor": executor,
        "delta": delta,
    }
    if dry_run:
        if proxy is not None:
            raise BadOption("--dry-run shows the plan of the task itself", "leave --proxy out, or --dry-run")
        share = Budget.of(budget).part(len(task))
        plans = [rehearse(name, budget=share, **asked) for name in task]
        if json_:
            _print({"plan": plans[0].as_dict()} if len(plans) == 1 else {"plans": [plan.as_dict() for plan in plans]})
        else:
            print("\n\n".join(map(str, plans)))
        return 0
    whats: Any = list(task) if len(task) > 1 else task[0]
    shares = None if proxy is None else dict(share_of(part) for part in proxy.split(","))
    study: Any = run(whats, budget=budget, folder=folder, proxy=shares, quiet=quiet, **asked)
    if plot is not None:
        study.plot(plot)
    if json_:
        _print(study.to_dict() if isinstance(study, Studies) else study.document)
    else:
        print(study)
    return 0


@app.command
def train(
    task: str,
    *,
    recipe: str | None = None,
    seed: int = 0,
    folder: Path | None = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train a task once; the learning rate is found first where the recipe has none.

    Args:
        task: name of a built-in task, or path/to/file.py:task.
        recipe: a .toml file, or e.g. adamw,lr=1e-3; nothing: AdamW at a rate that is found.
        seed: of weights, order, dropout and augmentation.
        folder: where trace, recipe and weights are kept; nothing: a new one in thalweg-runs.
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    from .task import Task
    from .training import train as run

    loaded = Task.load(task)
    if folder is None:
        number = 1
        while (folder := Path("thalweg-runs") / f"{loaded.name}-{number:03d}").exists():
            number += 1
    done = run(loaded, recipe_of(recipe), seed=seed, folder=folder, quiet=quiet)
    if json_:
        _print({"run": str(folder), "outcome": done.outcome.as_dict(), "final": done.final, "seconds": done.seconds})
    else:
        print(done)
        print(f"run     {folder}   (trace.jsonl, recipe.toml, model.safetensors)")
    return 0


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
    from .propagation import signal as report
    from .task import Task

    if not signal:
        raise BadOption("diagnose: say what to look at", "thalweg diagnose --signal TASK")
    found = report(Task.load(task), recipe_of(recipe), steps=steps)
    if json_:
        _print(found.as_dict())
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
    from . import experiments
    from .task import Task

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
        _print(found.as_dict())
    else:
        print(found)
    return 0


@app.command
def demo(*, json_: Json = False, quiet: Quiet = False) -> int:
    """The main job on the built-in digits: all optimizers, each at its own tuned rate, in under half a minute.

    The first time, their kernels are compiled before.
    """
    from .study.plan import entrants
    from .study.work import compiled
    from .task import Task

    task = Task.load("digits")
    if not quiet:
        print("Kernels: compiled the first time, then read from the cache.", file=sys.stderr)
    compiled(task, [e.recipe for e in entrants("all", None, task.prepare().kind, False)[0]])
    return compare("digits", field="all", budget="24s", json_=json_, quiet=quiet)


@app.command
def explain(optimizer: str, *, json_: Json = False) -> int:
    """What an optimizer computes: equation, state, defaults, source, kernel and its speed here.

    Args:
        optimizer: sgd, momentum, adam, adamw, lion, schedulefreeadamw, ...: a wrong name lists them.
        json_: one JSON document on standard output.
    """
    from .explain import document, text

    if json_:
        _print(document(optimizer))
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
        from . import parity as measured

        table = measured.document(full=full, quiet=quiet)
        if json_:
            _print(table)
        else:
            print(measured.text(table))
        return 0 if table["holds"] else 1
    from .doctor import document, text

    found = document()
    if json_:
        _print(found)
    else:
        print(text(found))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors of use end with a hint and exit code 2.

    Args:
        arguments: the words after ``thalweg``; None: the process's own.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    try:
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        return _call(command, bound)
    except ThalwegError as error:
        return _fail(error.code, error.message, error.hint, as_json)
    except CycloptsError as error:
        return _fail(
            "bad-option",
            str(error).strip(),
            "thalweg --help lists the commands, thalweg COMMAND --help their options",
            as_json,
        )
    except KeyboardInterrupt:
        return _fail(
            "interrupted",
            "interrupted before there was anything to show",
            "start the same command again to go on",
            as_json,
        )
    except BrokenPipeError:
        return 0


def _call(command: Callable[..., Any], bound: Any) -> int:
    value = command(*bound.args, **bound.kwargs)
    return value if isinstance(value, int) else 0


def _fail(code: str, message: str, hint: str, as_json: bool) -> int:
    if as_json:
        _print({"error": {"code": code, "message": message, "hint": hint}})
    else:
        print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
