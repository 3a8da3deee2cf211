"""Labels that no output stands for."""

from __future__ import annotations

from collections.abc import Iterator

from ...metrics import IGNORED
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("label-range",)


def look(exam: Examination) -> Iterator[Finding]:
    """Class numbers below 0 or not below the number of outputs."""
    classes = exam.classes
    if exam.kind not in ("classification", "language-model") or classes is None:
        return
    y = exam.data.train.target_sample(1_000_000)
    if y is None:
        return
    y = y[y != IGNORED]
    wrong = int(((y < 0) | (y >= classes)).sum())
    if wrong:
        yield Finding(
            CODES[0], "error", "train",
            f"{wrong} labels lie outside 0 to {classes - 1}, from {int(y.min())} to {int(y.max())}, and the "
            f"model has {classes} outputs.",
            {"labels outside": Evidence(wrong, 0)}, 1.0,
            Remedy("number the classes from 0, or widen the last layer"),
        )  # fmt: skip
