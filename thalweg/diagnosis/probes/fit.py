"""Whether a model can fit at all: a few rows by heart."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from ...batch import make_batch, map_leaves
from ...building import fresh
from ...seeds import stream
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("cannot-overfit-one-batch",)
LAST = "any"  # asked where nothing else was found
ROWS, STEPS = 16, 60
RATES = (1e-2, 1e-3)


def look(exam: Examination) -> Iterator[Finding]:
    """A few rows by heart, where a short run learns nothing."""
    if exam.trained or exam.learns:
        return
    start, end = _by_heart(exam)
    if not end < 0.5 * start:
        yield Finding(
            CODES[0], "warning", "", f"{STEPS // 2} steps of Adam on {ROWS} rows alone, at two rates, take the "
            f"loss from {start:.3g} "
            f"to {end:.3g} only: "
            "something between inputs and loss does not let the model learn.",
            {"loss": Evidence(end, 0.5 * start)}, 0.8,
            Remedy("look at forward, the loss and the labels of these rows by hand"),
        )  # fmt: skip


def _by_heart(exam: Examination) -> tuple[float, float]:
    few = min(ROWS, exam.batch.rows)
    batch = make_batch(map_leaves(lambda x: x[:few] if x.ndim and len(x) == exam.batch.rows else x, exam.batch.raw))
    best, start = math.inf, math.nan
    for rate in RATES:
        exam.pay(STEPS // 2, "a few rows by heart")
        model = exam.copy().train()
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate, foreach=False)
        losses = []
        with stream(exam.seed, "dropout"):
            for _ in range(STEPS // 2):
                optimizer.zero_grad()
                loss = exam.task.loss_of(model, fresh(batch))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(float(loss.detach()))
        start, best = losses[0], min(best, float(np.mean(losses[-3:])))
    if not math.isfinite(start):
        raise NotMeasured("the loss is not finite")
    return start, best
