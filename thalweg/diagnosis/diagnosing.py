"""The verb ``diagnose``: why does it not train, and what helps?"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from .. import rules
from ..deadline import LATE, TimeOver
from ..errors import COUNT, Allowed, BadData, BadTask, ThalwegError, check
from ..recipe import Recipe
from ..seeds import RandomState
from . import probes
from .diagnosed import Diagnosis
from .examination import Examination, NotMeasured
from .findings import CODES, FAMILIES, Evidence, Finding, Remedy, ranked

if TYPE_CHECKING:
    from types import ModuleType

    from ..task import Task

BUDGET = 200
LOOPS = {
    "gradients-cleared",
    "gradients-accumulate",
    "parameters-not-in-optimizer",
    "update-undone",
    "gradient-underflow",
}
ROOTS = {code for family in ("data", "loop", "architecture", "initialization") for code in FAMILIES[family]}
ROOTS |= {"saddle-point", "plateau"}  # from which a much larger rate may throw it off by chance


def diagnose(
    task: Task | str | tuple[Any, ...],
    recipe: Recipe | None = None,
    *,
    model: nn.Module | None = None,
    budget: int = BUDGET,
    seed: int = 0,
    deadline: float = math.inf,
) -> Diagnosis:
    """Why a task does not train by a recipe, with the evidence and what to change; experiments of its own, nothing stays.

    Args:
        task: what is trained; its name, or ``(model, train, valid)``.
        recipe: how; None: AdamW; without a rate: the optimizer's usual one.
        model: where training is by now; None: before its start.
        budget: gradient evaluations, of a batch each, that it may take.
        seed: of weights, order and draws.
        deadline: on the clock of `time.monotonic`; what is not measured by then is told among ``not_measured``.

    Returns:
        ``.findings``, the gravest first, ``.not_measured``, and ``.verify()``, which tries the remedy over paired seeds.

    Raises:
        BadTask, BadData: the task does not run for a reason that is no finding.

    Example:
        >>> import thalweg
        >>> diagnosis = diagnose("digits", thalweg.Recipe("adamw", lr=3.0))
        >>> diagnosis.findings[0].code, diagnosis.findings[0].remedy.kind
        ('lr-too-high', 'recipe')

    Source: each finding's page, ``docs/findings/CODE.md``.
    """
    from ..task import Task

    check("diagnose", "budget", budget, COUNT)
    check("diagnose", "recipe", recipe, Allowed("a Recipe or None", lambda v: v is None or isinstance(v, Recipe)))
    check("diagnose", "model", model, Allowed("a module or None", lambda v: v is None or isinstance(v, nn.Module)))
    if isinstance(task, str):
        task = Task.load(task)
    elif isinstance(task, tuple):
        task = Task(model=task[0], train=task[1], valid=task[2] if len(task) > 2 else None)
    check(
        "diagnose", "task", task, Allowed("a Task, its name, or (model, train, valid)", lambda v: isinstance(v, Task))
    )
    recipe = recipe or Recipe("adamw", lr=1e-3)
    if recipe.lr is None:
        recipe = recipe.but(lr=rules.get(recipe.optimizer).defaults["lr"])
    if task.compile:  # hooks and second derivatives want the model itself
        task = replace(task, compile=False)
    state, started = RandomState.capture(), time.perf_counter()
    try:
        return _examined(Examination(task, recipe, model, budget, seed, deadline), started)
    finally:
        state.restore()


def _examined(exam: Examination, started: float) -> Diagnosis:
    task, recipe = exam.task, exam.recipe
    found: list[Finding] = []
    missing: list[dict[str, str]] = []
    try:
        exam.data  # noqa: B018  # what cannot be read cannot be measured
        for probe in probes.TABLE:
            after = _after(found, getattr(probe, "LAST", ""))
            if after:
                missing += [{"what": code, "why": f"first mend {after[0]}"} for code in probe.CODES]
                continue
            _asked(probe, exam, found, missing)
    except (BadData, BadTask) as error:
        if error.finding is None:
            raise
        found.append(_refused(error))
        missing += [{"what": c, "why": "the data do not pass"} for c in CODES if c != error.finding]
    known = {code for probe in probes.TABLE for code in probe.CODES}
    missing += [{"what": c, "why": "only a training loop under watch shows it"} for c in CODES if c in LOOPS - known]
    named = {f.code for f in found}
    missing = [one for one in missing if one["what"] not in named]
    cost = {"gradient_evaluations": exam.spent, "seconds": time.perf_counter() - started}
    title = f"{task.name} · {recipe}"
    return Diagnosis(title, ranked(found), tuple(exam.measured), tuple(missing), cost, (task, recipe))


def _after(found: list[Finding], last: str) -> list[str]:
    """The findings that a probe comes after: of roots, of anything, of nothing."""
    if not last:
        return []
    return [
        f.code
        for f in found
        if (f.severity == "error" and (last == "any" or f.code in ROOTS)) or f.code == "noise-floor"
    ]


def _asked(probe: ModuleType, exam: Examination, found: list[Finding], missing: list[dict[str, str]]) -> None:
    """What a probe finds; why it cannot tell. A probe that fails says nothing, and the others go on."""
    try:
        found += probe.look(exam)
    except NotMeasured as reason:
        missing += [{"what": code, "why": str(reason)} for code in probe.CODES]
    except TimeOver:
        missing += [{"what": code, "why": LATE} for code in probe.CODES]
    except ThalwegError as error:
        if error.finding is not None:
            raise
        missing += [{"what": code, "why": error.message} for code in probe.CODES]
    except Exception as error:
        missing += [{"what": code, "why": f"{type(error).__name__}: {error}"[:200]} for code in probe.CODES]


def _refused(error: ThalwegError) -> Finding:
    """A task that was refused because of what a finding stands for."""
    assert error.finding is not None
    return Finding(error.finding, "error", "train", error.message, {"rows": Evidence(1, 0)}, 1.0, Remedy(error.hint))
