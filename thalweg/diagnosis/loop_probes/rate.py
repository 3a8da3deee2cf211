"""`schedule-collapsed` and `lr-too-high`."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record

EARLY = 2 / 3  # of the steps: a schedule that reaches its end there was made for fewer
AFTERWARDS = 20  # steps, at least


def collapsed(record: Record) -> Iterator[Finding]:
    """The rate fell below a thousandth of its largest early, and stayed there."""
    fell, steps = record.fell, record.steps
    if fell is None or not record.top or fell > EARLY * steps or steps - fell < AFTERWARDS:
        return
    now = record.seen[-1].rate
    yield Finding(
        "schedule-collapsed",
        "error",
        record.optimizer,
        f"The learning rate fell from {record.top:.3g} to {now:.3g} by step {fell} of {steps}: the rest trains nothing.",
        {"rate": Evidence(now, 1e-3 * record.top), "share_of_steps": Evidence(fell / steps, EARLY)},
        0.9,
        Remedy("call scheduler.step() once an epoch, or give the scheduler the number of batches, not of epochs"),
    )


def too_high(record: Record) -> Iterator[Finding]:
    """The loss diverged: it grew tenfold and did not come back, or rose by much more than it scatters."""
    losses = record.losses
    looks = [look for look in record.seen if look.ratio == look.ratio]
    if not record.alone or not losses.first or not looks:
        return
    thrown = record.broken is not None and record.broken.kind == "parameter" and max(look.ratio for look in looks) > 10
    if not (record.diverged or thrown):
        return
    ratio = max(look.ratio for look in looks)
    broke = f", and is not finite from step {losses.broken}" if losses.broken is not None else ""
    yield Finding(
        "lr-too-high",
        "error",
        record.optimizer,
        f"The loss rose from {losses.start:.3g} to {max(losses.peak, losses.now):.3g}{broke}; a step changed the parameters "
        f"by up to {ratio:.2g} of their size.",
        {
            "first_loss": Evidence(losses.start),
            "loss": Evidence(losses.now, 1.5 * losses.start),
            "update_ratio": Evidence(ratio),
        },
        0.9,
        Remedy(f"a lower learning rate: lr={record.top / 10:.3g} and below", {"lr": record.top / 10}),
    )
