"""Inputs or targets that are not numbers: each batch with one of them makes the weights so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ...batch import leaves
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("input-non-finite",)
SECONDS = 5.0  # that reading may take


def look(exam: Examination) -> Iterator[Finding]:
    """All training rows, or as many as can be read in a few seconds."""
    feed, until, row, wrong, first = exam.data.train, time.monotonic() + SECONDS, 0, 0, -1
    with contextlib.closing(feed.batches(feed.batch_size or 256)) as batches:
        for batch in batches:
            for x in leaves(batch.raw):
                if x.is_floating_point() and not bool(x.isfinite().all()):
                    bad = (~x.isfinite()).reshape(len(x), -1).any(1)
                    wrong += int(bad.sum())
                    first = row + int(bad.nonzero()[0]) if first < 0 else first
            row += batch.rows
            if time.monotonic() > until:
                break
    if wrong:
        yield Finding(
            CODES[0], "error", f"row {first}", f"{wrong} of {row} training rows hold NaN or infinity, the first is row {first}.",
            {"rows": Evidence(wrong, 0)}, 1.0, Remedy("drop such rows, or fill the gaps and mark them"),
        )  # fmt: skip
