"""`loss-ascends`, `loss-is-summed` and `double-softmax`: what the graph tells of the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record, share


def ascends(record: Record) -> Iterator[Finding]:
    """A loss function that cannot be below zero is: it was negated. Or the optimizer maximizes it."""
    looks = [look for look in record.seen if look.scene is not None and look.scene.non_negative and look.loss != 0]
    looks = [look for look in looks if math.isfinite(look.loss)]
    if len(looks) < 2:
        return
    wrong = share([(look.loss < 0) != record.maximizes for look in looks])
    if wrong >= 0.9:
        scene = looks[-1].scene
        name = scene.loss if scene is not None else ""
        how = "the optimizer maximizes it" if record.maximizes else f"it is negated ({looks[-1].loss:.3g})"
        yield Finding(
            "loss-ascends",
            "error",
            "loss",
            f"The loss function ({name}) is to be made small, and {how}.",
            {"loss": Evidence(looks[-1].loss, 0.0), "share": Evidence(wrong, 0.9)},
            0.98,
            Remedy("maximize=False" if record.maximizes else "take away the minus sign: loss.backward()"),
        )


def summed(record: Record) -> Iterator[Finding]:
    """The loss is a sum over the batch; with a rate meant for means, the steps are as many times too large."""
    scenes = [look.scene for look in record.seen if look.scene is not None]
    rows = [scene.summed for scene in scenes]
    if len(rows) < 2 or min(rows) < 2:
        return
    losses = record.losses
    hurts = record.diverged or (record.alone and losses.broken is not None)
    yield Finding(
        "loss-is-summed",
        "error" if hurts else "note",
        "loss",
        f"The loss is the sum over {rows[-1]} numbers, so its gradient is {rows[-1]} times that of the mean"
        + (", and the loss grew." if hurts else "."),
        {"numbers": Evidence(rows[-1], 1), "first_loss": Evidence(losses.start), "loss": Evidence(losses.now)},
        0.9,
        Remedy('reduction="mean", or divide the learning rate by the number of rows'),
    )


def doubled(record: Record) -> Iterator[Finding]:
    """A loss of logits gets probabilities."""
    scenes = [look.scene for look in record.seen if look.scene is not None]
    found = [scene.doubled for scene in scenes if scene.doubled]
    if len(found) < 2 or len(found) < 0.9 * len(scenes):
        return
    yield Finding(
        "double-softmax",
        "warning",
        "loss",
        f"The loss takes logits and has the {found[-1]} inside; the model's output has been through one already.",
        {"share of the looks": Evidence(len(found) / len(scenes), 0.9)},
        0.98,
        Remedy(f"take the {found[-1]} out of the model"),
    )
