"""What comes through the layers: units that are dead or saturated, an output that is constant, gradients across depth."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from ..findings import Evidence, Finding, Remedy
from ..record import LAST, Look, Record, share

LOOKS = 5
DEAD = 0.5  # of the units of a layer
SATURATED = 0.6  # of its numbers
LAYERS = 5  # with weights, for a trend across depth
DECADES = 3.0  # from one end to the other
STRAIGHT = 0.9  # correlation of the log with depth


def dead_units(record: Record) -> Iterator[Finding]:
    """Units of a ReLU that were zero on every row of the last looks; where the loss blew up first, that comes of it."""
    first = next((look.scene.dead for look in record.seen if look.scene is not None), {})
    for where, zero in record.dead().items():
        part = float(zero.float().mean())
        if part > DEAD:
            died = where in first and float(first[where].float().mean()) <= DEAD
            effect = died and record.diverged
            yield Finding(
                "dead-units",
                "error" if part > 0.95 and not effect else "warning",
                where,
                f"{part:.0%} of {zero.numel()} units are zero for every row of the last {LAST} looks"
                + (", and were not at first: they died in training." if died else ": they get no gradient."),
                {"dead": Evidence(part, DEAD), "units": Evidence(zero.numel())},
                0.9,
                Remedy("a lower learning rate, biases that start at zero, or nn.LeakyReLU"),
            )


def saturated_units(record: Record) -> Iterator[Finding]:
    """Most numbers of a tanh or sigmoid are at its ends, where it has no slope, from the start."""
    looks = [look.scene for look in record.seen if look.scene is not None]
    places = {where for scene in looks for where in scene.saturated}
    for where in sorted(places):
        shares = [scene.saturated[where] for scene in looks if where in scene.saturated]
        part = statistics.median(shares)
        if len(shares) >= LOOKS and part > SATURATED and shares[0] > SATURATED:
            yield Finding(
                "saturated-units",
                "warning",
                where,
                f"{part:.0%} of its outputs are within 1 % of their limit, where there is no slope.",
                {"saturated": Evidence(part, SATURATED)},
                0.9,
                Remedy("smaller initial weights: nn.init.xavier_uniform_(layer.weight), and inputs of variance 1"),
            )


def constant_output(record: Record) -> Iterator[Finding]:
    """The output is the same for every row, not only at the start, and no trouble of a layer explains it."""
    seen = [look.scene.constant for look in record.seen if look.scene is not None and look.scene.constant is not None]
    explained = (
        any(float(zero.float().mean()) > 0.95 for zero in record.dead().values()) or _across(record, 1) is not None
    )
    if len(seen) >= LOOKS and all(seen[1:]) and not explained and not record.warming:
        yield Finding(
            "constant-output",
            "error",
            "output",
            f"The output is the same for all rows of a batch in {len(seen)} looks: nothing of the input gets through.",
            {"looks": Evidence(len(seen), LOOKS)},
            0.9,
            Remedy("look at the layers: weights that are all alike, units that are off, an input that is constant"),
        )


def _trend(look: Look) -> float:
    """Decades that gradients grow by from the input to the output; 0 where there is no straight trend."""
    names, values = look.spread
    if len(names) < LAYERS:
        return 0.0
    depth = np.arange(len(values))
    if np.std(values) == 0 or abs(np.corrcoef(depth, values)[0, 1]) < STRAIGHT:
        return 0.0
    return float(np.polyfit(depth, values, 1)[0] * (len(values) - 1))


def _across(record: Record, sign: int) -> tuple[float, int, str, str] | None:
    looks = [look for look in record.seen if look.spread[0]]
    trends = [sign * _trend(look) for look in looks]
    if len(looks) < LOOKS or share([t > DECADES for t in trends]) < 0.8 or trends[-1] <= DECADES:
        return None
    names = looks[-1].spread[0]
    return statistics.median(trends), len(names), names[0], names[-1]


def vanishing(record: Record) -> Iterator[Finding]:
    """Gradients fall evenly from the output to the input, by more than three decades."""
    found = _across(record, 1)
    if found is not None:
        decades, layers, first, last = found
        yield Finding(
            "vanishing-gradient",
            "error",
            f"{first} … {last}",
            f"Gradients fall by {decades:.1f} decades from the last of {layers} layers to the first: the first ones learn "
            "nothing.",
            {"decades": Evidence(decades, DECADES), "layers": Evidence(layers)},
            0.9,
            Remedy(
                "initialize by the non-linearity: nn.init.kaiming_normal_(layer.weight); or normalize",
                {"init": "he_normal"},
            ),
        )


def exploding(record: Record) -> Iterator[Finding]:
    """Gradients grow evenly from the output to the input, by more than three decades."""
    found = _across(record, -1)
    if found is not None:
        decades, layers, first, last = found
        yield Finding(
            "exploding-gradient",
            "error",
            f"{first} … {last}",
            f"Gradients grow by {decades:.1f} decades from the last of {layers} layers to the first.",
            {"decades": Evidence(decades, DECADES), "layers": Evidence(layers)},
            0.9,
            Remedy(
                "smaller initial weights: nn.init.kaiming_normal_(layer.weight); or normalize", {"init": "he_normal"}
            ),
        )
