"""A diagnosis in a study's folder: ``findings.json``, and the outcome of a remedy that is tried later."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from .. import store
from ..errors import BadOption, BadStudy
from ..study.best_run import BestRun, best_run
from ..task import Task
from .diagnosed import Diagnosis
from .diagnosing import diagnose
from .findings import Finding, Outcome

FILE = "findings.json"
DRAWS = "The finding is not there when the task is diagnosed again: it depends on draws."
GONE = "The findings were made anew meanwhile, and this one is not among them."
OTHERS = "The findings are not of this folder's study and recipe as they are now."


def of_study(
    folder: str | Path, task: Task | None = None, *, budget: int = 200, deadline: float = math.inf
) -> tuple[Diagnosis, BestRun]:
    """The diagnosis of a study's task with its best recipe, from the weights that its first final began with.

    Args:
        folder: of the study, or of a run.
        task: what was trained, where that cannot be found by its name.
        budget: gradient evaluations that the experiments may take.
        deadline: see `diagnose`.

    Raises:
        BadStudy: no best recipe, or its task is not at hand.

    Example:
        >>> import thalweg
        >>> run = thalweg.train("digits", thalweg.Recipe("adamw", lr=3.0), folder=tmp / "run", quiet=True)
        >>> of_study(tmp / "run")[0].findings[0].code
        'lr-too-high'
    """
    run = best_run(folder, task)
    return diagnose(run.task, run.recipe, budget=budget, seed=run.seed, deadline=deadline), run


def keep(found: Diagnosis, folder: str | Path, run: BestRun | None = None, *, budget: int = 200) -> Path:
    """Write ``findings.json``: what was found, the remedies as changes of the recipe, and how to find it again.

    Args:
        found: the diagnosis.
        folder: where to.
        run: whose it is, as `of_study` gives it; a remedy can be tried from the folder only if the run lies there and its
            task is still the one that was trained.
        budget: that it was made with.

    Raises:
        BadStudy: it cannot be written.
    """
    recipe = found.subject[1] if found.subject is not None else None
    here = run is not None and run.folder is not None and run.folder.resolve() == Path(folder).resolve()
    can_try = here and run is not None and not run.notes
    document = found.as_dict() | {
        "title": found.title,
        "recipe": "" if recipe is None else str(recipe),
        "of": None if run is None else _of(run),
        "notes": [] if run is None else list(run.notes),
        "budget": budget,
        "findings": [_kept(found, k, can_try) for k in range(len(found.findings))],
    }
    place = store.Store(folder)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with place.changing():
            return place.write(FILE, document)
    except OSError as error:
        raise BadStudy(f"cannot write to {folder}: {error.strerror}", "give a folder that you may write to") from None


def _of(run: BestRun) -> dict[str, Any]:
    """What tells whose findings they are."""
    head = {} if run.folder is None else store.Store(run.folder).head()
    fingerprint = head["asked"]["fingerprint"] if "asked" in head else head.get("fingerprint")
    return {"fingerprint": fingerprint, "recipe": str(run.recipe), "seed": run.seed}


def _kept(found: Diagnosis, k: int, can_try: bool) -> dict[str, Any]:
    """A finding as it is kept: with what its remedy changes, and whether that can be tried from here."""
    finding, changed = found.findings[k], found.changed(k)
    diff = {} if changed is None or found.subject is None else found.subject[1].diff(changed[1])
    return finding.as_dict() | {
        "sentence": finding.sentence,
        "diff": [{"field": name, "before": _said(a), "after": _said(b)} for name, (a, b) in diff.items()],
        "can_try": can_try and changed is not None,
        "outcome": None if finding.outcome is None else outcome(finding.outcome),
    }


def _said(value: Any) -> str:
    return "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def outcome(tried: Outcome) -> dict[str, Any]:
    """What a trial gave, with its sentence."""
    return tried.as_dict() | {"helps": tried.helps, "sentence": str(tried)}


def try_again(folder: str | Path, which: int, task: Task | None = None, *, seeds: int = 5) -> Finding:
    """Find a kept finding again, try its remedy over paired seeds, and keep the outcome.

    Args:
        folder: of the study.
        which: the number of the finding in ``findings.json``.
        task: what was trained, where that cannot be found by its name.
        seeds: pairs of runs.

    Returns:
        The finding with its outcome.

    Raises:
        BadStudy: nothing was diagnosed there, or its task is not at hand.
        BadOption: there is no such finding, it is another run's, its task has changed, it is not found again, or its
            remedy is a line of code.
    """
    place = store.Store(folder)
    document = place.read(FILE)
    if document is None:
        raise BadStudy(f"{folder} has no findings", f"thalweg diagnose {folder}")
    if not 0 <= which < len(document["findings"]):
        raise BadOption(f"there is no finding {which}", f"a number from 0 to {len(document['findings']) - 1}")
    known = document["findings"][which]
    run = best_run(folder, task)
    anew = f"thalweg diagnose {shlex.quote(str(folder))}"
    if document.get("of") != store.plain(_of(run)):
        raise BadOption(OTHERS, anew)
    if run.notes:
        raise BadOption(" ".join(run.notes), anew)
    found = diagnose(run.task, run.recipe, budget=document["budget"], seed=run.seed)
    again = [k for k, f in enumerate(found.findings) if (f.code, f.where) == (known["code"], known["where"])]
    if not again:
        raise BadOption(DRAWS, anew)
    tried = found.verify(again[0], seeds=seeds)
    assert tried.outcome is not None
    with place.changing():
        latest = place.read(FILE) or document  # another trial may have ended meanwhile, or another diagnosis
        same = [f for f in latest["findings"] if (f["code"], f["where"]) == (known["code"], known["where"])]
        if not same or latest.get("of") != document["of"]:
            raise BadOption(GONE, anew)
        same[0]["outcome"] = outcome(tried.outcome)
        place.write(FILE, latest)
    return tried
