"""`weight-decay-dominates`: the steps shrink the weights more than they fit the data."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record

DOMINATES = 2.0  # decay's part over the gradient's: where the two balance it is 1 at most
LEFT = 0.5  # of the norm of the parameters


def weight_decay_dominates(record: Record) -> Iterator[Finding]:
    """The decay's part of a step is more than the gradient's, and the parameters have lost half of their norm."""
    looks = [look for look in record.seen if look.decay is not None]
    if len(looks) < 3:
        return
    part = max(look.decay or 0.0 for look in looks)
    left = looks[-1].size / looks[0].size if looks[0].size else 1.0
    if part > DOMINATES and left < LEFT:
        yield Finding(
            "weight-decay-dominates",
            "error",
            record.optimizer,
            f"Weight decay moved the parameters {part:.3g} times as far as the gradient did, and they have {left:.0%} of "
            "their first norm.",
            {"decay_over_gradient": Evidence(part, DOMINATES), "norm_left": Evidence(left, LEFT)},
            0.9,
            Remedy("weight_decay=0.01 (AdamW) or 5e-4 (SGD)", {"weight_decay": 5e-4}),
        )
