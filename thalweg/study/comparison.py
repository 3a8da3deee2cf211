"""The verb ``compare``: from a task to a study with its verdict."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..console import Progress
from ..errors import COUNT, Allowed, BadOption, BadStudy, ThalwegError, check, one_of, optional
from ..identity import digest
from ..recipe import Recipe
from ..store import HOME, Store, plain
from ..task import Task
from . import axes as axis
from . import plan
from . import proxy as proxies
from .case import Case, case_of
from .choosing import WAYS
from .closing import close
from .conductor import Conductor
from .jobs import Scale
from .ladder import FINAL_SEED, protocol
from .preview import Preview, preview
from .several import also_several
from .study import Study


def _different_numbers(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and all(isinstance(s, int) for s in value)
        and len(set(value)) == len(value) >= 2
    )


SEEDS = Allowed(
    "a whole number >= 2, a list of different whole numbers, or None",
    lambda v: v is None or (COUNT.test(v) and v >= 2) or _different_numbers(v),
)
DELTA = optional(Allowed("a number >= 0", lambda v: isinstance(v, int | float) and v >= 0))
BASELINE = Allowed("a thalweg.Recipe, the path of one, or None", lambda v: v is None or isinstance(v, Recipe))


@also_several
def compare(
    what: Any,
    train: Any = None,
    valid: Any = None,
    *,
    baseline: Recipe | str | None = None,
    field: Sequence[str | Recipe] | str | None = None,
    axes: Mapping[str, Any] | None = None,
    budget: str | float | None = None,
    effort: str = "quick",
    seeds: int | Sequence[int] | None = None,
    executor: str = "auto",
    folder: str | Path | None = None,
    resume: bool = True,
    delta: float | None = None,
    proxy: Mapping[str, float] | None = None,
    quiet: bool = False,
) -> Study:
    """Which optimizer at which rate trains this model on this data, is it better than the baseline, and how sure is that?

    Every optimizer of the field gets its own tuned rate; the finalists are trained on fresh seeds shared by all and judged
    on data that no choice has seen. See ``docs/guides/compare.md`` for the protocol.

    Args:
        what: a `Task` (or its name); a module or factory, with ``train``; or the user's own loop ``fit(recipe, seed, report)``;
            a list of tasks and loops: one study each, see `Studies`.
        train: training data, when ``what`` is a module or factory; see `Task`.
        valid: validation data; None: a part of the training data is split off.
        baseline: the user's recipe, or a path to its TOML; None: AdamW at 1e-3, untuned.
        field: names (``"adamw"``, ``"adamw-constant"``) and recipes; ``lr=None`` in a recipe is found. ``"all"``: every
            optimizer; None: all of `plan.FIELD`.
        axes: what else varies, each entrant in every combination with a rate of its own: fields of the recipe and options
            of the optimizers (``{"schedule": ["linear", "cosine"], "beta2": [0.95, 0.999]}``), ranges
            (``{"weight_decay": (1e-5, 1e-1)}``), arguments of the task's model factory (``{"model.width": [32, 64]}``).
            Of more than two axes 16 quasi-random combinations enter.
        budget: a hard limit: ``"5m"``, ``"2e6 samples"``, ``"60 runs"``, seconds as a number; None: until it is decided.
            Several tasks share it, and what one leaves over goes to the rest.
        effort: ``quick``: the rate alone is tuned; ``fair``: every optimizer of the field gets the same number of settings
            of its whole published space (`spaces`), 16, or what the budget allows.
        seeds: of the finals: how many, or which; None: 10, and more while undecided.
        executor: ``auto`` measures which is fastest; ``sequential``: run after run; ``processes``: one a core;
            ``cohorts``: up to 32 runs as one program.
        folder: of the study; None: a new one in ``thalweg-studies``, or the newest unfinished one of the same comparison.
        resume: whether an unfinished study in the folder is continued.
        delta: the smallest interesting difference in the metric's unit; None: by metric.
        proxy: ``{"steps": 0.1, "data": 0.2}``: compare on these shares of a large task's updates and rows, and on half of
            them, and say whether the ranking is stable between the two. To resume it, give its folder.
        quiet: no progress.

    Returns:
        The study, or `Studies` for a list. Ctrl-C ends the runs and gives the verdict that what is done allows.

    Raises:
        BadOption: an argument outside what is allowed.
        BadTask, BadData: the task does not work.
        BadStudy: the folder cannot be used, or holds the study of another task.

    Example:
        >>> study = compare("digits", field=["adamw"], budget="14 runs", quiet=True, folder=tmp / "study")
        >>> study.verdict.metric
        'accuracy'
    """
    started, shares = time.monotonic(), proxies.read(proxy)
    if shares is not None:
        large = read_case(what, train, valid)
        if large.task is None:
            raise BadOption("compare: a loop of the user's has no proxy", "give a Task, or a model with data")
        options = dict(
            baseline=baseline, field=field, axes=axes, effort=effort, seeds=seeds, executor=executor, resume=resume,
            delta=delta, quiet=quiet,
        )  # fmt: skip
        home = folder or _new_folder(f"{large.name}-proxy")
        return proxies.on_proxies(compare, large.task, shares, budget=budget, folder=home, **options)
    q = _read(
        what, train, valid, baseline=baseline, field=field, axes=axes, budget=budget, effort=effort, seeds=seeds,
        executor=executor, delta=delta,
    )  # fmt: skip
    store, head = _open(folder, q.case, q.asked, resume)
    if head and store.read("verdict.json") is not None and head.get("complete"):
        if not quiet:
            print(f"This comparison is complete: its verdict is read from {store.folder}.", file=sys.stderr)
        return Study.load(store.folder, q.case.task)
    with Progress(quiet) as progress, contextlib.ExitStack() as stack:
        for note in (*q.case.notes, *q.presets):
            progress.say(note)
        conductor = Conductor(store, q.case, q.limit, progress, started)
        stack.callback(conductor.close)
        try:
            conductor.prepare(executor, head, q.asked, q.entrants[0].recipe)
            scale = conductor.scale()
            if not conductor.known:
                progress.say(q.preview(conductor, scale).sentence)
            findings = conductor.play(protocol(q.entrants, scale, conductor.purse, q.numbers))
            return close(conductor, findings, effort, baseline is not None, delta, scale, q.presets)
        except ThalwegError:
            if head is None and not conductor.known:
                store.discard()  # wrong use that shows in the first run leaves nothing behind
            raise


def rehearse(what: Any, train: Any = None, valid: Any = None, *, executor: str = "auto", **options: Any) -> Preview:
    """What `compare` would run with the same arguments, and what that would cost: a few steps are timed, nothing is kept.

    Args:
        what: see `compare`.
        train: see `compare`.
        valid: see `compare`.
        executor: see `compare`.
        options: ``baseline``, ``field``, ``axes``, ``budget``, ``effort``, ``seeds`` and ``delta`` of `compare`.

    Example:
        >>> planned = rehearse("digits", field=["sgd"], budget="20 runs")
        >>> planned.total["runs"] <= 20, list(planned.phases)
        (True, ['baseline', 'probe', 'rate', 'final'])
    """
    q = _read(what, train, valid, executor=executor, **options)
    with tempfile.TemporaryDirectory() as folder, Progress(quiet=True) as progress, contextlib.ExitStack() as stack:
        conductor = Conductor(Store(Path(folder) / "study"), q.case, q.limit, progress, time.monotonic())
        stack.callback(conductor.close)
        conductor.prepare(executor, None, q.asked, q.entrants[0].recipe)
        return q.preview(conductor, conductor.scale())


def asked_by(what: Any, train: Any = None, valid: Any = None, **options: Any) -> dict[str, Any]:
    """What a study says that it was asked, for the same arguments of `compare`.

    Args:
        what: see `compare`.
        train: see `compare`.
        valid: see `compare`.
        options: those of `rehearse`.

    Example:
        >>> asked_by("digits", field=["sgd"], budget="20 runs")["budget"]
        '20 runs'
    """
    return _read(what, train, valid, **options).asked


@dataclass(frozen=True)
class _Question:
    """The arguments of a comparison, read."""

    case: Case
    limit: plan.Budget
    entrants: Sequence[plan.Entrant]
    presets: Sequence[str]
    numbers: Sequence[int] | None
    asked: dict[str, Any]

    def preview(self, conductor: Conductor, scale: Scale) -> Preview:
        """The plan of it."""
        return preview(self.case.name, self.entrants, scale, conductor.purse, self.numbers, conductor.measured)


def _read(
    what: Any,
    train: Any,
    valid: Any,
    *,
    baseline: Recipe | str | Path | None = None,
    field: Sequence[str | Recipe] | str | None = None,
    axes: Any = None,
    budget: str | float | None = None,
    effort: str = "quick",
    seeds: int | Sequence[int] | None = None,
    executor: str = "auto",
    delta: float | None = None,
) -> _Question:
    """Check the arguments of `compare`."""
    limit = plan.Budget.of(budget)
    check("compare", "effort", effort, one_of("quick", "fair"))
    varied = axis.read(axes)
    check("compare", "executor", executor, one_of("auto", *WAYS))
    check("compare", "seeds", seeds, SEEDS)
    check("compare", "delta", delta, DELTA)
    own = Recipe.load(baseline) if isinstance(baseline, str | Path) else baseline
    check("compare", "baseline", own, BASELINE)
    case = read_case(what, train, valid)
    entrants, presets = plan.entrants(field, own, case.kind, case.pretrained, effort)
    entrants, unvaried = axis.vary(entrants, varied, case.task)
    if case.task is not None:
        axis.try_out(entrants, case.task)
    asked = {
        "task": case.name,
        "fingerprint": case.fingerprint,
        "baseline": own.as_dict() if own else None,
        "field": [[e.name, e.recipe.as_dict()] for e in entrants],
        "axes": {a.name: list(a.values or (a.low, a.high)) for a in varied},
        "budget": str(limit),
        "effort": effort,
        "seeds": seeds if seeds is None or isinstance(seeds, int) else list(seeds),
        "delta": delta,
    }
    asked = json.loads(json.dumps(plain(asked)))  # as the store gives it back
    numbers = range(FINAL_SEED, FINAL_SEED + seeds) if isinstance(seeds, int) else seeds
    return _Question(case, limit, entrants, [*presets, *unvaried], numbers, asked)


def read_case(what: Any, train: Any = None, valid: Any = None) -> Case:
    """What is compared on, tried out: data read, loss and metric inferred."""
    if isinstance(what, Case):
        return what
    source = what if isinstance(what, str) else None
    if source is not None:
        what = Task.load(source)
    if isinstance(what, nn.Module) or (callable(what) and not isinstance(what, Task) and train is not None):
        if train is None:
            raise BadOption("compare: a model needs data", "write thalweg.compare(model, train, valid)")
        what = Task(model=what, train=train, valid=valid)
    elif train is not None or valid is not None:
        raise BadOption(
            "compare: train and valid go with a model; a Task and a fit bring their own data", "leave them out"
        )
    if isinstance(what, Task):
        return case_of(what, source)
    if not callable(what):
        raise BadOption(
            f"compare: cannot compare a {type(what).__name__}",
            "give a Task, a model with data, or fit(recipe, seed, report)",
        )
    signature = inspect.signature(what)
    try:
        signature.bind("recipe", "seed", "report")
    except TypeError:
        raise BadOption(
            f"compare: fit takes (recipe, seed, report), this takes ({', '.join(signature.parameters)})",
            "write def fit(recipe, seed, report): ...",
        ) from None
    name = getattr(what, "__name__", "fit")
    goal = getattr(what, "goal", None)
    direction, metric = [*str(goal).split(), ""][:2] if goal else (None, None)
    return Case(name, digest(what), "other", metric or None, direction, 1, None, 1.0, False, "cpu", (), fit=what)


def _open(
    folder: str | Path | None, case: Case, asked: dict[str, Any], resume: bool
) -> tuple[Store, dict[str, Any] | None]:
    """The study's store, and its head when it is one to continue."""
    if folder is not None:
        store = Store(folder)
        if not store.exists():
            return store, None
        head = store.head()
        if head["asked"]["fingerprint"] != asked["fingerprint"]:
            raise BadStudy(
                f"{folder} is a study of another task ({head['asked']['task']}), or its model or data changed",
                "give a new folder",
            )
        changed = [k for k in asked if (head["asked"].get(k) or None) != (asked[k] or None)]
        if changed:
            raise BadStudy(
                f"{folder} was asked differently: {', '.join(changed)}", "give a new folder, or ask the same to resume"
            )
        if not resume:
            raise BadStudy(f"{folder} holds a study already", "give a new folder, or resume")
        return store, head
    name, numbers = _numbered(case.name)
    for number in reversed(numbers):
        store = Store(HOME / f"{name}-{number:03d}")
        if resume and store.exists() and (head := store.head())["asked"] == asked and not head.get("complete"):
            return store, head
    return Store(_new_folder(case.name)), None


def _numbered(task: str) -> tuple[str, list[int]]:
    """How the folders of a task's studies begin, and the numbers of those that there are."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in task)
    try:
        tails = [path.name.removeprefix(f"{name}-") for path in HOME.glob(f"{name}-[0-9]*")]
    except OSError as error:
        raise BadStudy(f"cannot read {HOME}: {error.strerror}", "give a folder that you may write to") from None
    return name, sorted(int(tail) for tail in tails if tail.isdigit())


def _new_folder(task: str) -> Path:
    name, numbers = _numbered(task)
    return HOME / f"{name}-{max(numbers, default=0) + 1:03d}"
