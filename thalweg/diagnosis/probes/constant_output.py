"""The same output for every input."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("constant-output",)
LAST = "roots"  # a consequence of what lies nearer to the root
LEAST = 1e-4  # of the outputs' size


def look(exam: Examination) -> Iterator[Finding]:
    """How much outputs differ from row to row, at the start and after a short run."""
    before = _spread(exam.output())
    if before > LEAST or exam.batch.rows < 2:
        return
    if exam.base.outcome.status == "diverged":
        raise NotMeasured("the short run diverged")
    after = _spread(exam.output(exam.base.model))
    if after < LEAST:
        yield Finding(
            CODES[0], "error", "output",
            f"The output hardly depends on the input: from row to row it differs by {after:.1g} of its size, "
            f"after a short run as "
            "before it.",
            {"differences": Evidence(after, LEAST)}, 0.95,
            Remedy("see that forward uses its input, and look at the layers' signal: thalweg diagnose --signal"),
        )  # fmt: skip


def _spread(output: Tensor) -> float:
    size = float(output.abs().mean())
    return float(output.std(0).mean()) / size if size > 0 else 0.0
