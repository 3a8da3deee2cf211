"""A trained model that fits the training rows and not others."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("overfitting",)
LAST = "any"  # asked where nothing else was found
APART = 0.1  # of the metric, between training and validation rows
TIMES, LARGE = 3.0, 0.15  # the same of the loss: as often the training loss, and a share of a constant output's


def look(exam: Examination) -> Iterator[Finding]:
    """The metric, or else the loss, of a trained model."""
    if not exam.trained:
        raise NotMeasured("a short run from the start does not come as far: give the trained model, model=")
    data, model = exam.data, exam.copy()
    rows = max(1, min(data.judge_rows, data.train.rows or 1))
    train = exam.task.evaluate(model, data.train.split(rows, None)[1])
    valid = exam.task.evaluate(model, data.judge)
    name = data.metric
    apart = train[name] - valid[name]
    noise = 3 * math.sqrt(0.25 / max(1, data.judge_rows))
    if name in ("accuracy", "f1", "auc", "r2"):
        over = apart > APART + noise and valid["loss"] > train["loss"]
    else:
        name, apart = "loss", valid["loss"] - train["loss"]
        noise = 0.0
        over = valid["loss"] > TIMES * train["loss"] and apart > LARGE * abs(exam.null)
    if over:
        yield Finding(
            CODES[0], "warning", "", f"{name} is {train[name]:.3g} on training rows and {valid[name]:.3g} on validation rows.",
            {"difference": Evidence(apart, APART + noise if name != "loss" else LARGE * abs(exam.null))}, 0.9,
            Remedy("more data or augmentation, weight decay, dropout, or the checkpoint that was best on validation"),
        )  # fmt: skip
