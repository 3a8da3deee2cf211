"""A rate that is far off: short runs at others, and what curvature says of it.

A whole run at rate η goes, in the time of gradient flow, as far as n steps at η·N/n. A rate is too low where that is less
than what n steps at a higher rate reach.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from ...errors import BadOption
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy
from ..miniature import Mini

CODES = ("lr-too-high", "lr-too-low", "lr-unstable", "edge-of-stability")
LAST = "roots"  # a consequence of what lies nearer to the root
UP = (10.0, 100.0, 1000.0)
DOWN = (0.1, 0.01, 0.001)
NEAR = (0.8, 1.5)  # of the stability limit
LONG = 120  # steps
PRODUCTS = 12  # of Lanczos's iteration


def look(exam: Examination) -> Iterator[Finding]:
    """Higher rates where the run is calm, lower ones where it is not; for full batches the limit itself."""
    assert exam.recipe.lr is not None
    unstable = yield from _stability(exam)
    if unstable:
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


def _rising(losses: np.ndarray) -> bool:
    """Whether a run ends above its lowest, and still goes up."""
    last = losses[-5:]
    return bool(last.mean() > 1.02 * losses.min() and last[-1] > last[0] and losses[-1] > losses[len(losses) * 2 // 3])


def _stability(exam: Examination) -> Generator[Finding, None, bool]:
    """For gradient descent over all rows: the largest eigenvalue against the limit of the optimizer."""
    from ...curvature import Surface, lanczos, limit, start_vector

    size = exam.recipe.batch_size or exam.data.batch_size
    rows = exam.data.train.rows
    full = size == "full" or (rows is not None and int(size) >= rows)
    if not full or exam.recipe.optimizer not in ("sgd", "momentum", "nesterov"):
        return False
    try:
        bound = limit(exam.recipe.optimizer, exam.recipe.options)
    except BadOption:
        return False
    assert exam.recipe.lr is not None
    rate = exam.recipe.lr * max(exam.recipe.multiplier(exam.horizon)(k) for k in range(exam.horizon))
    batches = [batch.of(0) for batch in exam.data.train.training("full", [exam.seed])]
    base = exam.base
    model = exam.copy() if base.outcome.status == "diverged" or base.end > float(exam.first.mean()) else base.model
    surface = Surface(exam.task, model, batches, training=True)
    exam.pay(2 * PRODUCTS * len(batches), "curvature of the whole training set")
    found = lanczos(surface.hessian(), start_vector(surface.n, exam.seed), PRODUCTS, vectors=False)
    top, bounds = float(found.values_k[-1]), float(found.bounds_k[-1])
    evidence = {
        "rate times sharpness": Evidence(rate * top, bound, rate * bounds),
        "sharpness": Evidence(top, None, bounds),
    }
    run = base
    if bound < rate * top < 2 * bound and base.outcome.status != "diverged":  # slow to show itself
        left = (exam.budget - exam.spent) // len(batches)
        run = exam.mini(steps=max(exam.steps, min(left, LONG)), what="longer run") if left > exam.steps else base
    rises = run.outcome.status == "diverged" or _rising(np.array(run.trace.loss))
    if rate * (top - bounds) > bound and rises:
        lr = 0.5 * bound / top
        yield Finding(
            CODES[2], "error", "recipe",
            f"Rate times sharpness is {rate * top:.3g}, above the limit {bound:.3g} of {exam.recipe.optimizer}, "
            f"and the loss rises.",
            evidence, 0.97, Remedy(f"lr={lr:.3g}", {"lr": lr}),
        )  # fmt: skip
        return True
    if not rises and NEAR[0] * bound < rate * top < NEAR[1] * bound and exam.learns:
        yield Finding(
            CODES[3], "note", "recipe",
            f"Rate times sharpness is {rate * top:.3g}, at the limit {bound:.3g}, while the loss falls: the edge "
            f"of stability, where "
            "gradient descent trains well.",
            evidence, 0.9,
        )  # fmt: skip
    return False
