"""`update-undone`: what a step changed is overwritten before the next one."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record, share

KEPT = 0.2  # of the update; an average that is swapped in and back keeps all of it


def undone(record: Record) -> Iterator[Finding]:
    """Nearly nothing of the update was left when the next step began, nearly always.

    Steps of Lookahead undo some, and clamping undoes parts: neither undoes nearly all of nearly every one.
    """
    kept = [look.kept for look in record.seen if look.kept is not None]
    gone = share([k < KEPT for k in kept])
    if len(kept) >= 3 and gone >= 0.9:
        yield Finding(
            "update-undone",
            "error",
            record.optimizer,
            f"{1 - statistics.median(kept):.0%} of each update is gone when the next step begins: something writes over the "
            "parameters.",
            {"kept": Evidence(statistics.median(kept), KEPT), "share": Evidence(gone, 0.9)},
            0.97,
            Remedy(
                "call model.load_state_dict(...) (or copy averaged weights in) outside of the loop, or swap them back"
            ),
        )
