"""`parameters-not-in-optimizer` and `parameters-without-gradient`: who is trained and who is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..findings import Evidence, Finding, Remedy
from ..record import Record

LOOKS = 3  # at least
PATIENT = 5  # looks: a branch may be used now and then


def modules(names: Sequence[str]) -> str:
    """The modules of parameters, the first few."""
    owners = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
    return ", ".join(owners[:3]) + (f" and {len(owners) - 3} more" if len(owners) > 3 else "")


def outside_the_optimizer(record: Record) -> Iterator[Finding]:
    """A parameter gets gradients, no optimizer that is watched has it, and nobody else changes it."""
    lost = {n: p for n, p in record.outside.items() if p.gradients >= LOOKS and not p.moved}
    if lost and len(record.seen) >= LOOKS:
        where = modules(list(lost))
        numbers = sum(p.numbers for p in lost.values())
        yield Finding(
            "parameters-not-in-optimizer",
            "error",
            where,
            f"{len(lost)} parameters ({numbers:,} numbers) get gradients and stay as they are: no optimizer has them.",
            {"parameters": Evidence(len(lost), 0), "numbers": Evidence(numbers), "held": Evidence(len(record.held))},
            0.97,
            Remedy(
                "make the optimizer of model.parameters() after the model is complete; what is frozen on purpose: "
                "parameter.requires_grad_(False)"
            ),
        )


def without_gradient(record: Record) -> Iterator[Finding]:
    """A parameter of the optimizer was reached by no backward pass, while others were."""
    looks = [look for look in record.seen if look.left is not None and look.left > 0 and look.norm > 0]
    if len(looks) < PATIENT or any(look.scene is not None and look.scene.opaque for look in looks):
        return
    never = frozenset.intersection(*(look.without for look in looks))
    if never and len(never) < len(record.held):
        names = [name for name in record.held if name in never]
        numbers = sum(record.held[name] for name in names)
        yield Finding(
            "parameters-without-gradient",
            "warning",
            modules(names),
            f"{len(names)} parameters ({numbers:,} numbers) of the optimizer never got a gradient: the loss does not depend "
            "on them.",
            {
                "parameters": Evidence(len(names), 0),
                "numbers": Evidence(numbers),
                "looks": Evidence(len(looks), PATIENT),
            },
            0.9,
            Remedy(
                "use the module in forward() and let no .detach(), .item() or no_grad() lie behind it; or take it out"
            ),
        )
