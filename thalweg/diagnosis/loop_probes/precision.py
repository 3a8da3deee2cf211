"""`non-finite`, `gradient-underflow`, `update-lost-in-rounding`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record

SUBNORMAL = 2.0**-21  # eight times the smallest number of float16
ZEROS = 0.1
LOST = 0.5

SAYS = {
    "input": "the batch itself holds a number that is not finite (it enters at {where})",
    "inside": "the first number that is not finite is an output of {where}, from finite inputs and parameters",
    "loss": "all activations are finite and the loss is not",
    "gradient": "the loss is finite and the gradient of {where} is not",
    "parameter": "the parameters were no longer finite when the step began ({where})",
}
HELPS = {
    "input": "clean the data: assert torch.isfinite(x).all(), or torch.nan_to_num(x)",
    "inside": "keep its input in range: a log or a division with an eps, float32 for this module",
    "loss": "use a loss that takes logits (cross_entropy, binary_cross_entropy_with_logits), or an eps in its log",
    "gradient": "an eps inside sqrt, norm or division: their slope at 0 is infinite",
    "parameter": "a lower learning rate, and clip_grad_norm_(model.parameters(), 1.0)",
}


def non_finite(record: Record) -> Iterator[Finding]:
    """The first number that is not finite, and where it comes from."""
    broken = record.broken
    if broken is None:
        return
    between = "" if broken.since >= broken.step - 1 else f" (all was last seen to be finite at step {broken.since})"
    what = SAYS[broken.kind].format(where=broken.where or "the first module")
    thrown = broken.kind == "parameter" and any(look.ratio > 10 for look in record.seen)
    yield Finding(
        "non-finite",
        "warning" if record.diverged or thrown else "error",
        f"{broken.where}, step {broken.step}, batch {broken.batch}".removeprefix(", "),
        f"At step {broken.step}{between} {what}.",
        {"step": Evidence(broken.step), "batch": Evidence(broken.batch), "last_finite": Evidence(broken.since)},
        0.95,
        Remedy(HELPS[broken.kind]),
    )


def underflow(record: Record) -> Iterator[Finding]:
    """Many float16 gradients are exactly zero, and the others are at the end of what float16 can hold."""
    looks = [look for look in record.seen if look.zeros is not None]
    if len(looks) < 3 or record.scaled:
        return
    zeros = statistics.median(look.zeros or 0.0 for look in looks)
    smallest = statistics.median(look.smallest for look in looks)
    if zeros > ZEROS and smallest < SUBNORMAL:
        yield Finding(
            "gradient-underflow",
            "error" if zeros > 0.9 else "warning",
            record.optimizer,
            f"{zeros:.0%} of the gradients are exactly zero, and the smallest quarter of the others is below {smallest:.1g}: "
            "float16 ends at 6e-8.",
            {"zeros": Evidence(zeros, ZEROS), "lower_quartile": Evidence(smallest, SUBNORMAL)},
            0.9,
            Remedy("scale the loss: scaler = torch.amp.GradScaler(); or bfloat16"),
        )


def rounding(record: Record) -> Iterator[Finding]:
    """Most numbers of bfloat16 or float16 parameters have a gradient and do not change: the update is lost in rounding."""
    if record.stochastic or record.warming:
        return
    shares = [look.unchanged for look in record.settled if look.unchanged is not None and look.norm > 0]
    if len(shares) < 3:
        return
    lost = statistics.median(shares)
    if lost > LOST:
        yield Finding(
            "update-lost-in-rounding",
            "error" if lost > 0.9 else "warning",
            record.optimizer,
            f"{lost:.0%} of the parameters that have a gradient do not change in a step: the update is smaller than half of "
            "the distance to the next number of their type.",
            {"unchanged": Evidence(lost, LOST)},
            0.9,
            Remedy('keep the parameters in float32 (autocast), or tw.optim.AdamW(..., rounding="stochastic")'),
        )
