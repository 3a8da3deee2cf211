"""The rate against the largest curvature: above the limit of the optimizer, or at it and well."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...errors import BadOption
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("lr-unstable", "edge-of-stability")
LAST = "roots"  # a consequence of what lies nearer to the root
NEAR = (0.8, 1.5)  # of the stability limit
LONG = 120  # steps
PRODUCTS = 12  # of Lanczos's iteration


def look(exam: Examination) -> Iterator[Finding]:
    """For gradient descent over all rows: the largest eigenvalue against the limit of the optimizer."""
    from ...curvature import Surface, lanczos, limit, start_vector

    size = exam.recipe.batch_size or exam.data.batch_size
    rows = exam.data.train.rows
    full = size == "full" or (rows is not None and int(size) >= rows)
    if not full or exam.recipe.optimizer not in ("sgd", "momentum", "nesterov"):
        return
    try:
        bound = limit(exam.recipe.optimizer, exam.recipe.options)
    except BadOption:
        return
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
            CODES[0], "error", "recipe",
            f"Rate times sharpness is {rate * top:.3g}, above the limit {bound:.3g} of {exam.recipe.optimizer}, "
            f"and the loss rises.",
            evidence, 0.97, Remedy(f"lr={lr:.3g}", {"lr": lr}),
        )  # fmt: skip
        exam.unstable = True
        return
    if not rises and NEAR[0] * bound < rate * top < NEAR[1] * bound and exam.learns:
        yield Finding(
            CODES[1], "note", "recipe",
            f"Rate times sharpness is {rate * top:.3g}, at the limit {bound:.3g}, while the loss falls: the edge "
            f"of stability, where "
            "gradient descent trains well.",
            evidence, 0.9,
        )  # fmt: skip


def _rising(losses: np.ndarray) -> bool:
    """Whether a run ends above its lowest, and still goes up."""
    last = losses[-5:]
    return bool(last.mean() > 1.02 * losses.min() and last[-1] > last[0] and losses[-1] > losses[len(losses) * 2 // 3])
