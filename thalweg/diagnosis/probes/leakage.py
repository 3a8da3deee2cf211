"""Training rows in the validation data, and transforms that know the validation data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from ... import features
from ...errors import BadData
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("leakage",)
ROWS = 20_000
SHARE = 0.01  # of the validation rows
TIMES = 3.0  # what is found as often among the training rows themselves is a property of the data


def look(exam: Examination) -> Iterator[Finding]:
    """Validation rows that are training rows to the last bit, more than there are doubles in the training rows."""
    rows = _bits(exam.rows(exam.data.train, ROWS)[0])
    train = set(rows)
    own = 1 - len(train) / len(rows)
    seen = _bits(exam.rows(exam.data.select, ROWS)[0])
    seen += _bits(exam.rows(exam.data.judge, ROWS)[0])
    share = sum(row in train for row in seen) / len(seen)
    noise = 3 * math.sqrt(max(own, 1 / len(seen)) / len(seen))
    if share > SHARE and share > TIMES * own + noise:
        yield Finding(
            CODES[0], "warning", "valid",
            f"{share:.0%} of the validation rows are training rows; of the training rows {own:.1%} stand there twice. The "
            "validation score is too good.",
            {"share": Evidence(share, SHARE), "doubles in training": Evidence(own)}, 0.97,
            Remedy("split before anything is drawn or copied, and take the doubles out of the validation data",
                   ),
        )  # fmt: skip
        return
    try:
        known_by = features.knows_validation(exam.task)
    except BadData:
        return
    if known_by:
        yield Finding(
            CODES[0], "warning", "inputs", f"{known_by}: the statistics know the validation data.",
            remedy=Remedy("fit scalers on the training rows alone"),
        )  # fmt: skip


def _bits(x: Tensor) -> list[int]:
    flat = x.contiguous().reshape(len(x), -1).numpy()
    return [hash(row.tobytes()) for row in flat]
