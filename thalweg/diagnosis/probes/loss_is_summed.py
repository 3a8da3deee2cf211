"""A loss that is a sum over the batch: its gradient, and with it the step, grows with the batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from ...batch import Batch
from ...building import BY_SIZE, fresh
from ...errors import BadData
from ...modes import evaluating
from ...seeds import stream
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy
from ..rebuilding import halves

CODES = ("loss-is-summed",)


def look(exam: Examination) -> Iterator[Finding]:
    """The loss of a batch against those of its halves: their sum, or their mean."""
    if exam.batch.rows < 2:
        raise NotMeasured("needs batches of two rows and more")
    try:
        one, two = halves(exam.batch)
        whole, first, second = (_loss(exam, batch) for batch in (exam.batch, one, two))
    except (BadData, RuntimeError, ValueError, IndexError) as error:
        raise NotMeasured(f"half a batch does not go through the model: {error}") from error
    mean = (first * one.rows + second * two.rows) / exam.batch.rows
    scale = max(abs(first) + abs(second), 1e-12)
    if not math.isfinite(whole) or abs(whole - mean) < 0.1 * scale or abs(whole - first - second) > 1e-3 * scale:
        return
    by_size = exam.recipe.optimizer in BY_SIZE or exam.recipe.clip_norm is not None
    rows = exam.recipe.batch_size or exam.data.batch_size
    yield Finding(
        CODES[0], exam.severity() if by_size else "note", "loss",
        f"The loss of a batch ({whole:.3g}) is the sum of those of its halves, not their mean: gradients are {rows} times as "
        "long as those of a mean" + ("." if by_size else ", which an adaptive optimizer takes back."),
        {"whole over halves' mean": Evidence(whole / mean if mean else math.nan, 1.0)}, 0.98,
        Remedy('reduction="mean", or divide the loss by the batch\'s rows', apply=lambda task, recipe: (_mean(task), recipe)),
    )  # fmt: skip


def _loss(exam: Examination, batch: Batch) -> float:
    model = exam.copy()
    with torch.no_grad(), evaluating(model), stream(exam.seed, "evaluation"):
        return float(exam.task.loss_of(model, fresh(batch)))


def _mean(task: Any) -> Any:
    from ...batch import make_batch

    if task.batch_loss is not None:
        return replace(task, batch_loss=lambda model, batch: task.batch_loss(model, batch) / make_batch(batch).rows)
    return replace(task, loss=lambda output, target: task.loss(output, target) / len(target))
