"""The commands that train: ``compare``, ``train``, ``demo``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..arguments import axes_of, recipe_of, share_of
from ..errors import BadOption
from .app import Json, Quiet, app, show


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
    show_: Annotated[bool, Parameter(name="--show", negative="")] = False,
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
        show_: open a page on which the curves grow; at the end it also holds layers, landscape and findings, whose closing look
            takes up to 30 % more time, or up to 15 s. It stays until Ctrl-C.
        dry_run: show the plan and its cost, and run nothing; of several tasks, each with its share of the budget.
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    from ..study import Budget, Studies, rehearse
    from ..study import compare as run
    from ..web.beside import Beside

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
        for option, given in (("--proxy", proxy is not None), ("--show", show_)):
            if given:
                raise BadOption("--dry-run shows the plan of the task itself", f"leave {option} out, or --dry-run")
        share = Budget.of(budget).part(len(task))
        plans = [rehearse(name, budget=share, **asked) for name in task]
        if json_:
            show({"plan": plans[0].as_dict()} if len(plans) == 1 else {"plans": [plan.as_dict() for plan in plans]})
        else:
            print("\n\n".join(map(str, plans)))
        return 0
    whats: Any = list(task) if len(task) > 1 else task[0]
    shares = None if proxy is None else dict(share_of(part) for part in proxy.split(","))
    with contextlib.ExitStack() as stack:
        page = stack.enter_context(Beside(folder)) if show_ else None
        if page is not None:
            print(f"page    {page.address}", file=sys.stderr, flush=True)
        study: Any = run(whats, budget=budget, folder=folder, proxy=shares, quiet=quiet, **asked)
        if plot is not None:
            study.plot(plot)
        if json_:
            show(study.to_dict() if isinstance(study, Studies) else study.document)
        else:
            print(study, flush=True)
        if page is not None:
            page.look(study.studies if isinstance(study, Studies) else [study], quiet)
            page.stay(study.folder, wait=not json_)
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
    from ..store import RUNS
    from ..task import Task
    from ..training import train as run

    loaded = Task.load(task)
    if folder is None:
        number = 1
        while (folder := RUNS / f"{loaded.name}-{number:03d}").exists():
            number += 1
    done = run(loaded, recipe_of(recipe), seed=seed, folder=folder, quiet=quiet)
    if json_:
        show({"run": str(folder), "outcome": done.outcome.as_dict(), "final": done.final, "seconds": done.seconds})
    else:
        print(done)
        print(f"run     {folder}   (trace.jsonl, recipe.toml, model.safetensors)")
    return 0


@app.command
def demo(*, json_: Json = False, quiet: Quiet = False) -> int:
    """The main job on the built-in digits: all optimizers, each at its own tuned rate, in under half a minute.

    The first time, their kernels are compiled before.
    """
    from ..study.plan import entrants
    from ..study.work import compiled
    from ..task import Task

    task = Task.load("digits")
    if not quiet:
        print("Kernels: compiled the first time, then read from the cache.", file=sys.stderr)
    compiled(task, [e.recipe for e in entrants("all", None, task.prepare().kind, False)[0]])
    return compare("digits", field="all", budget="24s", json_=json_, quiet=quiet)
