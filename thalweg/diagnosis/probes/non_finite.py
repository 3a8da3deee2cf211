"""A loss that is not a number, whatever the rate."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("non-finite",)


def look(exam: Examination) -> Iterator[Finding]:
    """Before the first step, or within the first two at the recipe's rate and at a hundredth of it."""
    lost = [name for name, g in exam.gradients.items() if g is not None and not bool(g.isfinite().all())]
    if lost and math.isfinite(float(exam.first.mean())):
        yield Finding(
            CODES[0], "error", lost[-1], f"The loss is finite, and the gradient of {lost[-1]} is not: at step 1 "
            f"it is written into the "
            "weights.", {"parameters": Evidence(len(lost), 0)}, 0.97,
            Remedy("keep what a root, logarithm or division takes away from 0 by clamp, in branches of where "
            "that are not taken too"),
        )  # fmt: skip
        return
    if math.isfinite(float(exam.first.mean())):
        outcome = exam.base.outcome
        if outcome.status != "diverged":
            return
        assert exam.recipe.lr is not None
        slow = exam.mini(exam.recipe.but(lr=exam.recipe.lr / 100), what="short run at a hundredth of the rate")
        if slow.outcome.status != "diverged":
            return
        step, where, reason = slow.outcome.step, slow.outcome.where, slow.outcome.reason
    else:
        outcome = exam.base.outcome
        step, where, reason = (
            outcome.step,
            outcome.where,
            outcome.reason or "the loss is not finite before the first step",
        )
    yield Finding(
        CODES[0], "error", where or "loss", f"At step {step}, with a hundredth of the rate as well: {reason}.",
        {"step": Evidence(step)}, 0.95,
        Remedy(f"look at {where or 'the loss'}: a logarithm or root of 0, a division by 0, an exponential of a large number"),
    )  # fmt: skip
