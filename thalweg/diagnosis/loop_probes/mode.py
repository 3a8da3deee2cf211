"""`training-in-eval-mode`: the model trains with dropout off and batch norm frozen."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record, share

LEARNS = 0.7  # of the first loss, that the recent ones are below where training gets on


def evaluating(record: Record) -> Iterator[Finding]:
    """The whole model was in eval mode at backward passes, and it has modules for which that matters.

    Where only the batch norms are in eval mode, they are frozen on purpose.
    """
    looks = [look for look in record.seen if look.scene is not None]
    often = share([look.evaluating for look in looks])
    if len(looks) >= 3 and looks[-1].evaluating and looks[-2].evaluating and record.regularized:
        yield Finding(
            "training-in-eval-mode",
            "warning" if record.losses.now < LEARNS * record.losses.start else "error",
            ", ".join(record.regularized[:3]),
            f"The model is trained in eval mode (in {often:.0%} of the looks): dropout is off and batch norm keeps its old "
            "statistics.",
            {"share": Evidence(often, 0.0), "modules": Evidence(len(record.regularized), 0)},
            0.95,
            Remedy("call model.train() before training, and again after each validation"),
        )
