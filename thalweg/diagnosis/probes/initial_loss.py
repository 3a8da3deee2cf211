"""A first loss far above that of knowing nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ..examination import Examination
from ..findings import Evidence, Finding
from ..redrawing import hurts, redraw

CODES = ("initial-loss",)
LAST = "roots"  # a consequence of what lies nearer to the root
TIMES = 3.0  # the loss of a constant output


def look(exam: Examination) -> Iterator[Finding]:
    """The first loss against that of the best constant output: log C for C classes as common."""
    if exam.trained:
        return
    first, null = float(exam.first.mean()), exam.null
    if null <= 0 or first < TIMES * null or not hurts(exam):
        return
    yield Finding(
        CODES[0], exam.severity(), "output",
        f"The first loss is {first:.3g}; a constant output has {null:.3g}. The model starts sure of what is wrong.",
        {"first loss": Evidence(first, TIMES * null), "constant output": Evidence(null)}, 0.93, redraw(exam),
    )  # fmt: skip
