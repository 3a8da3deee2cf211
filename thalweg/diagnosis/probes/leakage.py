"""Training rows in the validation data, and transforms that know the validation data."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import torch

from ... import features
from ...batch import leaves
from ...data import Feed
from ...errors import BadData
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("leakage",)
SECONDS = 5.0  # that reading a set may take
SHARE = 0.01  # of the validation rows
TIMES = 3.0  # what is found as often among the training rows themselves is a property of the data


def look(exam: Examination) -> Iterator[Finding]:
    """Validation rows that are training rows to the last bit, more than there are doubles in the training rows."""
    rows = _hashes(exam.data.train)
    seen = [*_hashes(exam.data.select), *_hashes(exam.data.judge)]
    if not rows or not seen:
        raise NotMeasured("the inputs hold no tensors")
    train = set(rows)
    own = 1 - len(train) / len(rows)
    share = sum(row in train for row in seen) / len(seen)
    noise = 3 * math.sqrt(max(own, 1 / len(seen)) / len(seen))
    if share > SHARE and share > TIMES * own + noise:
        yield Finding(
            CODES[0], "warning", "valid",
            f"{share:.0%} of the validation rows are training rows; of the training rows {own:.1%} stand there twice. The "
            "validation score is too good.",
            {"share": Evidence(share, SHARE), "doubles in training": Evidence(own)}, 0.97,
            Remedy("split before anything is drawn or copied, and take the doubles out of the validation data"),
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


def _hashes(feed: Feed) -> list[int]:
    """A number for each row of a set, of the bits of its inputs; of as many rows as a few seconds read."""
    found, until = list[int](), time.monotonic() + SECONDS
    with contextlib.closing(feed.batches(feed.batch_size or 256)) as batches:
        for batch in batches:
            whole = [x.detach().cpu().contiguous() for x in leaves(batch.inputs) if x.ndim and len(x) == batch.rows]
            if not whole:
                return []
            bits = [x.reshape(len(x), -1).view(torch.uint8).numpy() for x in whole]
            found += [hash(b"".join(part[k].tobytes() for part in bits)) for k in range(batch.rows)]
            if time.monotonic() > until:
                break
    return found
