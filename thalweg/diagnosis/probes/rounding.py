"""Updates too small for the parameters' own precision."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("update-lost-in-rounding",)
SHARE = 0.5


def look(exam: Examination) -> Iterator[Finding]:
    """The share of low-precision parameters that a short run leaves as they were, to the bit."""
    low = [(n, p) for n, p in exam.start.named_parameters() if p.dtype in (torch.bfloat16, torch.float16)]
    if not low:
        return
    if exam.base.outcome.status == "diverged":
        raise NotMeasured("the short run diverged")
    after = dict(exam.base.model.named_parameters())
    total = sum(p.numel() for _, p in low)
    still = sum(int((after[n] == p).sum()) for n, p in low) / total
    if still > SHARE:
        yield Finding(
            CODES[0], exam.severity(), low[0][0],
            f"{still:.0%} of the {low[0][1].dtype} parameters did not move in {exam.steps} steps: their updates "
            f"are less than half "
            "a unit in the last place.",
            {"share": Evidence(still, SHARE)}, 0.9,
            Remedy("keep the parameters in float32 and use autocast, or stochastic rounding of thalweg's optimizers"),
        )  # fmt: skip
