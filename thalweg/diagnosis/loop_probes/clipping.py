"""`clipped-always`: every gradient is cut down to the same small norm, and the steps come to nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record

LOOKS = 5
SHRINK = 10.0  # times smaller, at least
PINNED = 1e-3  # spread of the norms at the step over their middle: clipping leaves them all at its limit
SLOW = 1e-4  # update over parameters: a tenth of the usual, and less


def clipped_always(record: Record) -> Iterator[Finding]:
    """The norm at the step is always the same and much below what backward() left, and the updates are tiny.

    Adam divides by the size of its gradients, so that clipping does not make its steps smaller; and what is small in a
    warm-up is meant to be.
    """
    looks = [look for look in record.settled if look.left is not None and 0 < look.norm]
    if len(looks) < LOOKS or record.warming:
        return
    at_step = [look.norm for look in looks]
    pinned = (max(at_step) - min(at_step)) / statistics.median(at_step)
    shrink = statistics.median((look.left or 0.0) / look.norm for look in looks)
    ratio = statistics.median(look.ratio for look in looks)
    if pinned < PINNED and shrink > SHRINK and ratio < SLOW:
        yield Finding(
            "clipped-always",
            "error" if ratio < SLOW / 10 else "warning",
            record.optimizer,
            f"Every gradient is clipped to a norm of {statistics.median(at_step):.3g}, {shrink:.3g} times less than it had, "
            f"and a step changes the parameters by {ratio:.1g} of their size.",
            {"times_smaller": Evidence(shrink, SHRINK), "update_ratio": Evidence(ratio, SLOW)},
            0.9,
            Remedy(
                f"clip at about {statistics.median(look.left or 0.0 for look in looks):.2g} or not at all: "
                "clip_grad_norm_(model.parameters(), 1.0)",
                {"clip_norm": 1.0},
            ),
        )
