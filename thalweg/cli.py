"""The command line: every command takes ``--json`` and exits with 0 (done), 1 (trouble found) or 2 (wrong use)."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from .errors import BadOption, ThalwegError
from .recipe import Recipe
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


def recipe_of(text: str | None) -> Recipe | None:
    """A recipe from the command line: a TOML file, or ``adamw``, or ``adamw,lr=1e-3,betas=0.9:0.95``.

    Raises:
        BadOption: not a recipe.

    Example:
        >>> recipe_of("sgd,lr=0.1,momentum=0.9")
        Recipe('sgd', lr=0.1, momentum=0.9)
    """
    if text is None:
        return None
    if text.endswith(".toml"):
        return Recipe.load(text)
    name, *pairs = text.split(",")
    chosen: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise BadOption(f"recipe: cannot read {pair!r}", "write NAME,key=value,... or the path of a recipe.toml")
        chosen[key.strip()] = _value(value.strip())
    return Recipe(name.strip(), **chosen)


def _value(text: str) -> Any:
    if ":" in text:
        return tuple(map(_value, text.split(":")))
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def axes_of(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """Axes from the command line: ``name=value,value`` or, for a range, ``name=low..high``.

    Raises:
        BadOption: not an axis, or one named twice.

    Example:
        >>> axes_of(["schedule=linear,cosine", "weight_decay=1e-5..1e-1", "betas=0.9:0.95,0.9:0.999"])
        {'schedule': ['linear', 'cosine'], 'weight_decay': (1e-05, 0.1), 'betas': [(0.9, 0.95), (0.9, 0.999)]}
    """
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, values = text.partition("=")
        if not equals or not name.strip():
            raise BadOption(f"axis: cannot read {text!r}", "write --axis NAME=value,value or --axis NAME=low..high")
        if name.strip() in found:
            raise BadOption(f"axis: {name.strip()} is given twice", "write all its values in one --axis")
        low, dots, high = values.partition("..")
        parts = [low, high] if dots else values.split(",")
        read = [None if part.strip().lower() == "none" else _value(part.strip()) for part in parts]
        found[name.strip()] = tuple(read) if dots else read
    return found or None


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadOption(f"proxy: cannot read {text!r}", "write --proxy steps=.1,data=.2")
    return name.strip(), _value(value.strip())


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
    shares = None if proxy is None else dict(_pair(part) for part in proxy.split(","))
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
    return compare("digits", field="all", budget="25s", json_=json_, quiet=quiet)


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
