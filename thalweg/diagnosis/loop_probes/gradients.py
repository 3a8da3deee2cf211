"""`gradients-accumulate` and `gradients-cleared`: what happens to the gradients between two steps."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record, share

LOOKS = 3  # at least
ALWAYS = 0.9  # of them


def accumulate(record: Record) -> Iterator[Finding]:
    """No backward pass between two steps began with other gradients than those of the step before.

    With accumulation on purpose the first pass after a step begins with none; the first look has no step before.
    """
    looks = [look for look in record.seen if look.step > 0 and look.left is not None]
    stale = share([look.stale for look in looks])
    if len(looks) >= LOOKS and stale >= ALWAYS:
        yield Finding(
            "gradients-accumulate",
            "error",
            record.optimizer,
            f"The gradients of each step are added to those of all steps before: they were the same after the step as when "
            f"the next backward() began, in {len(looks)} looks.",
            {"share": Evidence(stale, ALWAYS), "gradient_norm": Evidence(looks[-1].norm)},
            0.99,
            Remedy("call optimizer.zero_grad() once a step, before loss.backward()"),
        )


def cleared(record: Record) -> Iterator[Finding]:
    """backward() left gradients and the step found none."""
    looks = [look for look in record.seen if look.left is not None and look.left > 0]
    gone = share([look.norm == 0 for look in looks])
    if len(looks) >= LOOKS and gone >= ALWAYS:
        yield Finding(
            "gradients-cleared",
            "error",
            record.optimizer,
            f"backward() left gradients (norm {looks[-1].left:.3g}), and at the step there were none.",
            {"share": Evidence(gone, ALWAYS), "left": Evidence(looks[-1].left or 0.0), "at_step": Evidence(0.0)},
            0.99,
            Remedy("call optimizer.zero_grad() before loss.backward(), not between it and optimizer.step()"),
        )
