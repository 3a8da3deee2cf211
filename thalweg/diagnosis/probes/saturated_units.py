"""tanh and sigmoid units at their flat ends: the gradient behind them is nearly zero."""

from __future__ import annotations

from collections.abc import Iterator

from ..examination import Examination
from ..findings import Evidence, Finding
from ..redrawing import hurts, redraw

CODES = ("saturated-units",)
SHARE = 0.5  # of a hidden layer's activations


def look(exam: Examination) -> Iterator[Finding]:
    """The share of the worst hidden layer; a finding only where other weights train better."""
    outer = {layer.name for layer in exam.layers if layer.output}
    flat = [(s.saturated, s) for s in exam.signal.layers if s.saturated is not None and s.name not in outer]
    share, layer = max(flat, key=lambda pair: pair[0], default=(0.0, None))
    if layer is None or share < SHARE or not hurts(exam):
        return
    yield Finding(
        CODES[0], exam.severity(), layer.name,
        f"{share:.0%} of its activations are at the flat ends of {layer.activation}.",
        {"share": Evidence(share, SHARE)}, 0.96, redraw(exam),
    )  # fmt: skip
