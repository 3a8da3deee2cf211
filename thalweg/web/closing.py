"""What ``compare --show`` does once the verdict is there: layers, landscape and findings, each within a share of the cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from ..building import ROWS
from ..console import Progress, duration
from ..deadline import TimeOver
from ..errors import BadStudy, ThalwegError
from ..store import Store
from ..study import Study

if TYPE_CHECKING:
    from ..task import Task

SHARE = 0.3  # of the comparison's seconds
LEAST = 15.0  # seconds that a look may take in any case
SLACK = 1.3  # times what a part was to take, after which it is ended, so that something is left for the others
PARTS = {"layers": 0.25, "landscape": 0.5, "findings": 0.25}
FILES = {"layers": "layers.json", "landscape": "landscape.json", "findings": "findings.json"}
COMMANDS = {"layers": "layers", "landscape": "landscape", "findings": "diagnose"}
PLANES, SLICES = ("pca", "random"), ("line", "random", "gradient")
SIZES = ((41, 2000), (31, 1000), (25, 1000), (21, 500), (17, 500), (13, 500), (11, 250), (9, 250), (7, 250))
RUNS, CHECKPOINTS = 3, 21
LOOKS, FEWEST_LOOKS = 40, 8
EVALUATIONS, FEWEST = 200, 60  # gradient evaluations of a diagnosis
FORWARD = 1 / 3  # of a step's time: the forward pass


@dataclass(frozen=True)
class Looked:
    """What a closing look made, what it left out and why, and whether Ctrl-C ended it."""

    made: tuple[str, ...]
    left: tuple[tuple[str, str], ...]
    seconds: float
    interrupted: bool = False


@dataclass(frozen=True)
class Cost:
    """Seconds of a run of the best recipe, of its steps, and the rows of a step."""

    run: float
    step: float
    rows: int

    def looks(self, seconds: float) -> int:
        """How many looks at layers fit: each goes forwards and backwards through `building.ROWS` rows, and a bit more."""
        each = 2 * self.step * max(1.0, ROWS / self.rows)
        return int(min(LOOKS, (seconds - 1.3 * self.run) / each)) if each > 0 else LOOKS

    def surface(self, seconds: float) -> tuple[int, int, int] | None:
        """Resolution, rows and runs of a landscape that fits; None: not even the smallest one."""
        for resolution, rows in SIZES:
            for runs in range(RUNS, 0, -1):
                points = len(PLANES) * resolution**2 + 2 * len(SLICES) * resolution + 3 * runs * CHECKPOINTS
                cost = 1.3 * runs * self.run + points * FORWARD * self.step * rows / self.rows
                if cost <= seconds and (runs > 1 or resolution <= SIZES[-3][0]):
                    return resolution, rows, runs
        return None

    def evaluations(self, seconds: float) -> int:
        """How many gradient evaluations fit."""
        return int(min(EVALUATIONS, seconds / self.step)) if self.step > 0 else EVALUATIONS


@dataclass(frozen=True)
class Portion:
    """The time of a part of the look: what it is planned to take, and when it is ended in any case."""

    seconds: float
    deadline: float

    def too_long(self) -> str:
        """Why a part was not begun."""
        return f"it would take more than the {duration(self.seconds)} that are left for it"

    def ended(self) -> str:
        """Why a part was not finished.

        Raises:
            KeyboardInterrupt: it was not the time.
        """
        if time.monotonic() <= self.deadline:
            raise KeyboardInterrupt
        return f"it took more than the {duration(self.seconds)} that were left for it, and is told as far as it came"


def look(folder: str | Path, task: Task | None = None, quiet: bool = False, share: float = SHARE) -> Looked:
    """Measure layers, landscape and findings of a study's best recipe, and write them into its folder.

    What is there already and not older than the verdict is left as it is. Ctrl-C ends it and keeps what is done. How large
    each part is made goes by what steps took in the study, and by what is left until the deadline: where a part takes
    longer than that, the ones after it get smaller, or are left out. One that takes much longer than it was to is ended,
    and what it has done is kept.

    Args:
        folder: of a study that has its verdict.
        task: what was compared, where it cannot be found by its name.
        quiet: no progress.
        share: of the comparison's seconds that it may take in all, and `LEAST` seconds in any case.

    Example:
        >>> import thalweg
        >>> study = thalweg.compare("digits", field=["sgd"], budget="16 runs", quiet=True, folder=tmp / "study")
        >>> look(study.folder, quiet=True, share=100.0).made
        ('layers', 'landscape', 'findings')
    """
    begun, folder = time.monotonic(), Path(folder)
    made: list[str] = []
    left: list[tuple[str, str]] = []
    interrupted = False
    with Progress(quiet) as progress:
        try:
            study = Study.load(folder, task)
            deadline = begun + max(LEAST, share * float(study.cost["seconds"]))
            cost, missing = _cost(study), [part for part in PARTS if not _there(folder, part)]
            for k, part in enumerate(missing):
                now = time.monotonic()
                seconds = max(0.0, deadline - now) * PARTS[part] / sum(PARTS[p] for p in missing[k:])
                progress.at(f"{folder.name} · a look at its {part}")
                why = _measure(part, study, task, cost, Portion(seconds, min(deadline, now + SLACK * seconds)))
                if why is None:
                    made.append(part)
                    progress.say(f"{part.capitalize()}: {folder / FILES[part]}")
                    continue
                left.append((part, why))
                progress.say(f"{part.capitalize()} left out: {why}; thalweg {COMMANDS[part]} {quote(str(folder))}")
        except KeyboardInterrupt:
            interrupted = True
            progress.say("Interrupted: the page shows what is done.")
        except Exception as error:  # the comparison is done, whatever the user's task does now
            left.append(("study", _why(error)))
            progress.say(f"No closing look: {_why(error)}.")
    return Looked(tuple(made), tuple(left), time.monotonic() - begun, interrupted)


def _there(folder: Path, part: str) -> bool:
    """Whether a document is there that is not older than the verdict, and that no Ctrl-C cut short."""
    file, verdict = folder / FILES[part], folder / "verdict.json"
    if not file.exists() or file.stat().st_mtime < verdict.stat().st_mtime:
        return False
    try:
        document = Store(folder).read(FILES[part]) or {}
    except BadStudy:  # a document that cannot be read is made anew
        return False
    return bool(document.get("complete", True)) or document.get("status") == "diverged"


def _cost(study: Study) -> Cost:
    """What a run of the best recipe takes, by what the study measured."""
    best = next((s for s in study.finalists if s.name == study.verdict.best), None)
    steps = int(study.document["steps"])
    step = float(study.executor.get("seconds_per_step") or 0.0)
    if best is not None and best.seconds is not None and math.isfinite(best.seconds) and best.gradient_evaluations:
        step = best.seconds / best.gradient_evaluations
    task = study.best.task if study.best is not None else None
    rows = (study.best.recipe.batch_size if study.best is not None else None) or (task.batch_size if task else 64)
    return Cost(steps * step, step, rows if isinstance(rows, int) else 64)


def _measure(part: str, study: Study, task: Task | None, cost: Cost, portion: Portion) -> str | None:
    """Make one of the documents; why it was not made, None where it was.

    Raises:
        KeyboardInterrupt: after what is done was written.
    """
    measures: dict[str, Callable[..., str | None]] = {"layers": _layers, "landscape": _landscape, "findings": _findings}
    try:
        return measures[part](study, task, cost, portion)
    except TimeOver:  # before there was anything to keep
        return portion.too_long()
    except Exception as error:  # what the user's own model raises when it is looked at ends no comparison
        return _why(error)


def _why(error: Exception) -> str:
    """An error in a line."""
    said = error.message if isinstance(error, ThalwegError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())


def _layers(study: Study, task: Task | None, cost: Cost, portion: Portion) -> str | None:
    from ..layering import layers

    looks = cost.looks(portion.seconds)
    if looks < FEWEST_LOOKS:
        return portion.too_long()
    found = layers(study, task=task, looks=looks, deadline=portion.deadline, quiet=True)
    return portion.ended() if found.status == "stopped" else None  # one that diverged is told up to there


def _landscape(study: Study, task: Task | None, cost: Cost, portion: Portion) -> str | None:
    from ..landscapes import landscape

    size = cost.surface(portion.seconds)
    if size is None:
        return portion.too_long()
    resolution, rows, runs = size
    options: dict[str, Any] = {"resolution": resolution, "rows": rows, "runs": runs, "quiet": True}
    found = landscape(study, task=task, planes=PLANES, slices=SLICES, deadline=portion.deadline, **options)
    return None if found.complete else portion.ended()


def _findings(study: Study, task: Task | None, cost: Cost, portion: Portion) -> str | None:
    from ..diagnosis.keeping import keep, of_study

    budget = cost.evaluations(portion.seconds)
    if budget < FEWEST:
        return portion.too_long()
    found, run = of_study(study.folder, task, budget=budget, deadline=portion.deadline)
    keep(found, study.folder, run, budget=budget)
    return None
