"""Outputs of a row that depend on the other rows of its batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...errors import BadData
from ...task import DTYPES
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy
from ..rebuilding import halves

CODES = ("batch-mixing",)
LEAST = 1e-3  # of the outputs' size


def look(exam: Examination) -> Iterator[Finding]:
    """Half of a batch by itself against the same rows in the whole, in evaluation mode."""
    if exam.batch.rows < 4:
        raise NotMeasured("needs batches of four rows and more")
    model = exam.copy()
    whole = exam.output(model)
    if not torch.equal(whole, exam.output(model)):
        raise NotMeasured("the model does not give the same twice")
    try:
        part = exam.output(model, halves(exam.batch)[0])
    except BadData as error:
        raise NotMeasured(str(error)) from error
    size = float(whole.abs().mean())
    apart = float((whole[: len(part)] - part).abs().mean()) / max(size, 1e-12)
    kinds = [p.dtype for p in exam.start.parameters()] + [DTYPES.get(exam.task.precision, torch.float32)]
    least = max(LEAST, *(8 * torch.finfo(kind).eps for kind in kinds if kind.is_floating_point))
    if part.shape[1:] == whole.shape[1:] and apart > least:
        yield Finding(
            CODES[0], exam.severity(), "output",
            f"In evaluation mode a row's output changes by {apart:.1%} with the other rows of its batch: something reduces, "
            "normalizes or reshapes over the batch dimension.",
            {"change": Evidence(apart, least)}, 0.98,
            Remedy("see dim= of softmax, mean and norm, and the order of dimensions in view and reshape"),
        )  # fmt: skip
