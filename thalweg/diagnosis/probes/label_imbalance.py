"""Classes that hardly occur."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("label-imbalance",)
MOST = 0.8  # share of the commonest class


def look(exam: Examination) -> Iterator[Finding]:
    """A note: whether it costs depends on what the metric is to say."""
    y = exam.targets
    if y is None or exam.kind not in ("classification", "binary"):
        return
    counts = torch.bincount(y.long().flatten().clamp(min=0))
    share = float(counts.max() / counts.sum())
    if share > MOST and exam.data.metric == "accuracy":
        yield Finding(
            CODES[0], "note", "train",
            f"{share:.0%} of the labels are class {int(counts.argmax())}: accuracy is that high for a constant answer.",
            {"share": Evidence(share, MOST)}, 0.99,
            Remedy('judge by metric="f1" or "auc", and weigh the classes in the loss'),
        )  # fmt: skip
