"""ReLU units that give zero for every row: no gradient reaches them."""

from __future__ import annotations

from collections.abc import Iterator

from ..examination import Examination
from ..findings import Evidence, Finding
from ..redrawing import hurts, redraw

CODES = ("dead-units",)
SHARE, MOST = 0.6, 0.9  # of a layer's units: to be known, and too many


def look(exam: Examination) -> Iterator[Finding]:
    """The share of dead units of the worst layer, on `building.ROWS` rows or a batch."""
    dead = [(layer.dead, layer) for layer in exam.signal.layers if layer.dead is not None]
    share, layer = max(dead, key=lambda pair: pair[0], default=(0.0, None))
    if layer is None or share < SHARE or (share < 1 and not hurts(exam)):
        return
    yield Finding(
        CODES[0], "note" if share < MOST and exam.learns else exam.severity(), layer.name,
        f"{share:.0%} of the units give zero for every one of {exam.signal.rows} rows, and get no gradient.",
        {"share": Evidence(share, SHARE)}, 0.96, redraw(exam),
    )  # fmt: skip
