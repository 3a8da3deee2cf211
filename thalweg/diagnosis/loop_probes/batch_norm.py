"""`batchnorm-small-batch`: with two values a channel, batch norm gives ±1 whatever comes in."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Evidence, Finding, Remedy
from ..record import Record, share

VALUES = 2


def small_batch(record: Record) -> Iterator[Finding]:
    """A batch norm in training mode saw two values a channel or fewer, at most looks."""
    looks = [look.scene.channel_values for look in record.seen if look.scene is not None and look.scene.channel_values]
    small = [[where for where, n in values.items() if n <= VALUES] for values in looks]
    often = share([bool(places) for places in small])
    if len(looks) >= 3 and often > 0.5:
        where = next(places for places in small if places)[0]
        yield Finding(
            "batchnorm-small-batch",
            "warning",
            where,
            f"Batch norm has {VALUES} values a channel or fewer at {often:.0%} of the looks: from two values it makes ±1.",
            {"values": Evidence(min(min(v.values()) for v in looks), VALUES), "share": Evidence(often, 0.5)},
            0.95,
            Remedy("a larger batch, or nn.GroupNorm / nn.LayerNorm", {"norm": "layer"}),
        )
