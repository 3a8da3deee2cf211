"""The run that a study recommends, or that a folder holds: what is needed to train it once more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import lengths, variants
from ..errors import Allowed, BadOption, BadStudy, check
from ..recipe import Recipe
from ..run import Run
from ..store import Store
from ..task import Task
from .opening import task_of
from .study import Study


@dataclass(frozen=True)
class BestRun:
    """A run that can be trained once more.

    Attributes:
        task: with the arguments of the model's factory that were compared.
        recipe: how.
        seed: of it.
        steps: its length in updates.
        folder: of the study or run, None where it has none.
        final: the last training loss that was recorded, None where none was.
        notes: what is to be known of it.
    """

    task: Task
    recipe: Recipe
    seed: int
    steps: int
    folder: Path | None
    final: float | None
    notes: tuple[str, ...] = ()


def best_run(what: Study | Run | str | Path, task: Task | None = None) -> BestRun:
    """The first final of a study's best recipe; of the folder of a run, or a run, that one.

    Args:
        what: a study or its folder, the folder of a run, or a run.
        task: what was trained, where that cannot be found by its name.

    Raises:
        BadStudy: there is no best recipe, no ended run, or the task is not at hand.

    Example:
        >>> import thalweg
        >>> run = thalweg.train("digits", thalweg.Recipe("sgd", lr=0.1), seed=3, folder=tmp / "run", quiet=True)
        >>> found = best_run(tmp / "run")
        >>> found.seed, found.steps, found.final == float(f"{run.trace.loss[-1]:.9g}")
        (3, 420, True)
    """
    if isinstance(what, Run):
        if task is None:
            raise BadOption("a run does not hold its task", "pass task=")
        loss = what.trace.loss[-1] if what.trace.loss else None
        place = None if what.folder is None else Path(what.folder)
        return BestRun(task, what.recipe, what.seed, lengths.horizon(task, what.recipe), place, loss)
    if isinstance(what, str | Path) and (Path(what) / "run.json").exists():
        own, notes = task_of(what, task)
        recipe, seed = Recipe.load(Path(what) / "recipe.toml"), Store(what).head()["seed"]
        return BestRun(own, recipe, seed, lengths.horizon(own, recipe), Path(what), _last(Path(what), None), notes)
    study = Study.load(what, task) if isinstance(what, str | Path) else what
    kind = Allowed("a study, a run, or the folder of one", lambda v: isinstance(v, Study))
    check("thalweg", "what is looked at", study, kind)
    if study.best is None:
        raise BadStudy(f"{study.folder} has no best recipe", "let it reach its finals")
    own, notes = task_of(study.folder, task or study.best.task)
    best = study.best
    loss = _last(study.folder, (study.verdict.best, best.seed))
    steps = int(study.document["steps"])
    return BestRun(variants.of(own, best.arguments), best.recipe, best.seed, steps, study.folder, loss, notes)


def _last(folder: Path, final: tuple[Any, int] | None) -> float | None:
    """The last training loss that was recorded: of a final of a study, or of a folder's only run."""
    runs, loss = set[str](), None
    for record in Store(folder).records():
        if record["kind"] == "start" and final == (record["entrant"], record["seed"]) and record["phase"] == "final":
            runs.add(record["run"])
        elif record["kind"] == "steps" and (final is None or record["run"] in runs):
            loss = float(record["loss"][-1])
    return loss
