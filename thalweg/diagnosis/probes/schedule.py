"""A schedule under which the rate is next to nothing for most of the run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("schedule-collapsed",)
NOTHING = 0.01  # of its top
SHARE = 0.4  # of the run


def look(exam: Examination) -> Iterator[Finding]:
    """The share of the run below 1 % of the rate; then a short run under the linear schedule."""
    full = exam.recipe.multiplier(exam.horizon)
    course = np.array([full(k) for k in range(exam.horizon)])
    share = float((course < NOTHING).mean())
    if share < SHARE:
        return
    linear = exam.mini(exam.recipe.but(schedule="linear", warmup=None), what="short run under the linear schedule")
    if exam.better(linear):
        yield Finding(
            CODES[0], exam.severity(), "recipe",
            f"For {share:.0%} of the run the rate is below {NOTHING:.0%} of {exam.recipe.lr:.3g}; under the "
            f"linear schedule a short run "
            f"ends at {linear.end:.3g} instead of {exam.base.end:.3g}.",
            {"share of the run": Evidence(share, SHARE)}, 0.95,
            Remedy('schedule="linear"', {"schedule": "linear", "warmup": None}),
        )  # fmt: skip
