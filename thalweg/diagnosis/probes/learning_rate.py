"""A rate that is far off: short runs at others.

A whole run at rate η goes, in the time of gradient flow, as far as n steps at η·N/n. A rate is too low where that is less
than what n steps at a higher rate reach.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy
from ..miniature import Mini

CODES = ("lr-too-high", "lr-too-low")
LAST = "roots"  # a consequence of what lies nearer to the root
UP = (10.0, 100.0, 1000.0)
DOWN = (0.1, 0.01, 0.001)


def look(exam: Examination) -> Iterator[Finding]:
    """Higher rates where the run is calm, lower ones where it is not; nothing where curvature has said it already."""
    assert exam.recipe.lr is not None
    if exam.unstable:
        return
    if exam.base.outcome.status == "diverged" or exam.base.end > float(exam.first.mean()):
        yield from _too_high(exam)
        return
    low = yield from _too_low(exam)
    if not low:
        yield from _too_high(exam)


def _too_high(exam: Examination) -> Iterator[Finding]:
    assert exam.recipe.lr is not None
    base, (factor, run) = exam.base, _ladder(exam, DOWN)
    if factor < 1:
        lr = exam.recipe.lr * factor
        how = "diverges" if base.outcome.status == "diverged" else f"ends at loss {base.end:.3g}"
        yield Finding(
            CODES[0], exam.severity(), "recipe",
            f"At rate {exam.recipe.lr:.3g} a short run {how}; at {lr:.3g} it ends at {run.end:.3g}.",
            {"loss": Evidence(base.end), f"loss at {lr:.3g}": Evidence(run.end)}, 0.95,
            Remedy(f"lr={lr:.3g}", {"lr": lr}),
        )  # fmt: skip


def _too_low(exam: Examination) -> Generator[Finding, None, bool]:
    assert exam.recipe.lr is not None
    reach = exam.horizon / min(exam.steps, exam.horizon)
    whole = exam.mini(exam.recipe.but(lr=exam.recipe.lr * reach), what="short runs at other rates")
    if exam.base.end == 0 or not _stays(exam, whole):
        return False
    factor, run = _ladder(exam, tuple(reach * up for up in UP), (reach, whole))
    if factor == reach:
        return False
    lr = exam.recipe.lr * factor
    yield Finding(
        CODES[1], exam.severity(), "recipe",
        f"At rate {exam.recipe.lr:.3g} the whole run of {exam.horizon} steps goes about as far as {exam.steps} steps at "
        f"{exam.recipe.lr * reach:.3g}, which end at loss {whole.end:.3g}; at {lr:.3g} they end at {run.end:.3g}.",
        {"better rate over this one": Evidence(factor, reach), "loss": Evidence(whole.end)}, 0.94,
        Remedy(f"lr={lr:.3g}", {"lr": lr}),
    )  # fmt: skip
    return True


def _stays(exam: Examination, run: Mini) -> bool:
    """Whether a run does not diverge and ends above three quarters of what a constant output, or else the start, has."""
    if run.outcome.status == "diverged" or not np.isfinite(run.scores).all():
        return False
    try:
        return run.end > 0.75 * exam.null
    except NotMeasured:
        return run.end > 0.75 * float(exam.first.mean())


def _ladder(
    exam: Examination, factors: tuple[float, ...], start: tuple[float, Mini] | None = None
) -> tuple[float, Mini]:
    """The factor of the rate whose short run ends lowest, going on as long as it gets better."""
    assert exam.recipe.lr is not None
    best, first = start or (1.0, exam.base), True
    for factor in factors:
        try:
            run = exam.mini(exam.recipe.but(lr=exam.recipe.lr * factor), what="short runs at other rates")
        except NotMeasured:
            if first:
                raise
            break
        if exam.better(run, best[1]):
            best = factor, run
        elif factor > 1 or best[0] != 1.0:
            break
        first = False
    return best
