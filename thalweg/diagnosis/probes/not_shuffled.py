"""Rows that come sorted: batches whose labels are alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("not-shuffled",)
Z = 6.0
ALIKE = 0.25  # of the labels' variance that lies between batches, and not within them


def look(exam: Examination) -> Iterator[Finding]:
    """Share of the labels' variance that lies between batches; (B - 1)/(N - 1) for rows in random order."""
    y, rows = exam.targets, exam.rows_of_batch
    if y is None or exam.kind not in ("classification", "binary", "regression") or len(y) < 4 * rows or rows < 2:
        raise NotMeasured("needs one label a row, and some batches")
    y = y[: len(y) // rows * rows]
    seen = between(y if exam.kind == "regression" else torch.nn.functional.one_hot(y.long().flatten()), rows)
    draws = torch.Generator().manual_seed(exam.seed)
    drawn = []
    for _ in range(50):
        order = torch.randperm(len(y), generator=draws)
        mixed = y[order]
        drawn.append(
            between(mixed if exam.kind == "regression" else torch.nn.functional.one_hot(mixed.long().flatten()), rows)
        )
    null = torch.tensor(drawn, dtype=torch.float64)
    z = (seen - float(null.mean())) / max(float(null.std()), 1e-12)
    if z < Z or seen < ALIKE:
        return
    own = exam.task.shuffle is False
    yield Finding(
        CODES[0], exam.severity(), "train",
        f"{seen:.0%} of the labels' variance lies between batches; in random order {float(null.mean()):.0%} would. Each "
        "batch shows other classes than the next.",
        {"between batches": Evidence(seen, float(null.mean()), float(null.std()))}, 0.98,
        Remedy("shuffle=True" if own else "DataLoader(..., shuffle=True), or a larger shuffle buffer",
               apply=(lambda task, recipe: (replace(task, shuffle=True), recipe)) if own else None),
    )  # fmt: skip


def between(y: Tensor, rows: int) -> float:
    """The share of the variance that lies between groups of consecutive rows.

    Example:
        >>> between(torch.tensor([0.0, 0.0, 1.0, 1.0]), 2), between(torch.tensor([0.0, 1.0, 0.0, 1.0]), 2)
        (1.0, 0.0)
    """
    y = y.double().reshape(len(y), -1)
    means = y.reshape(-1, rows, y.shape[1]).mean(1)
    whole = float(y.var(0, correction=0).sum())
    found = float(means.var(0, correction=0).sum()) / whole if whole > 0 else 0.0
    return found if math.isfinite(found) else 0.0
