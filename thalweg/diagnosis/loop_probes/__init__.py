"""What `watch` looks for: one probe a trouble, from the record of an optimizer to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..findings import Finding
from ..record import Record
from .batch_norm import small_batch
from .clipping import clipped_always
from .decay import weight_decay_dominates
from .gradients import accumulate, cleared
from .layers import constant_output, dead_units, exploding, saturated_units, vanishing
from .loss import ascends, doubled, summed
from .membership import outside_the_optimizer, without_gradient
from .mode import evaluating
from .order import not_shuffled
from .precision import non_finite, rounding, underflow
from .rate import collapsed, too_high
from .undone import undone

Probe = Callable[[Record], Iterable[Finding]]

PROBES: dict[str, Probe] = {
    "loss-ascends": ascends,
    "loss-is-summed": summed,
    "double-softmax": doubled,
    "gradients-cleared": cleared,
    "gradients-accumulate": accumulate,
    "parameters-not-in-optimizer": outside_the_optimizer,
    "update-undone": undone,
    "training-in-eval-mode": evaluating,
    "clipped-always": clipped_always,
    "weight-decay-dominates": weight_decay_dominates,
    "parameters-without-gradient": without_gradient,
    "constant-output": constant_output,
    "dead-units": dead_units,
    "saturated-units": saturated_units,
    "exploding-gradient": exploding,
    "vanishing-gradient": vanishing,
    "batchnorm-small-batch": small_batch,
    "not-shuffled": not_shuffled,
    "update-lost-in-rounding": rounding,
    "gradient-underflow": underflow,
    "non-finite": non_finite,
    "schedule-collapsed": collapsed,
    "lr-too-high": too_high,
}

__all__ = ["PROBES", "Probe"]
