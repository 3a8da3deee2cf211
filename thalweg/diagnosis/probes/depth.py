"""Signal and gradient that grow or shrink from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy
from ..redrawing import hurts, redraw

CODES = ("exploding-signal", "vanishing-signal", "exploding-gradient", "vanishing-gradient")
GROWS = 30.0  # of the activations' size, first layer to last
SHRINKS = 1e-3  # of what tells one row from another
UNEVEN = 1e4  # of the gradients' size per weight
EXTREME = 1e5  # that no learning to speak of gets over, whatever other weights do
NORMALIZE = Remedy('norm="batch": weights alone do not mend this depth', {"norm": "batch"})


def look(exam: Examination) -> Iterator[Finding]:
    """Sizes over the depth, predicted ones beside; a finding only where other weights train better."""
    ends = {layer.name for layer in exam.layers if layer.output or layer.branch}
    inner = [s for s in exam.signal.layers if s.name not in ends and math.isfinite(s.second_moment)]
    if exam.signal.layers and not all(math.isfinite(s.second_moment) for s in exam.signal.layers):
        first = next(s for s in exam.signal.layers if not math.isfinite(s.second_moment))
        yield _finding(
            exam,
            CODES[0],
            first.name,
            "Activations are beyond the largest number already before training.",
            math.inf,
            GROWS,
        )
        return
    if len(inner) < 2:
        return
    first, last = inner[0], max(inner[1:], key=lambda s: s.second_moment)
    size = math.sqrt(last.second_moment / first.second_moment) if first.second_moment else 1.0
    entry = math.sqrt(first.second_moment / first.factor) if first.factor and math.isfinite(first.factor) else 1.0
    grown = max(size, math.sqrt(last.second_moment) / max(entry, 1.0))
    tells = inner[-1].spread / first.spread if first.spread else 1.0
    found = None
    if grown > GROWS:
        found = (
            CODES[0],
            last.name,
            f"Activations grow {grown:.3g}-fold from {first.name} to {last.name}{_theory(inner)}.",
            grown,
            GROWS,
        )
    elif 0 < tells < SHRINKS:
        found = (
            CODES[1], inner[-1].name, f"What tells one row from another shrinks to {tells:.2g} of its size from {first.name} to "
            f"{inner[-1].name}{_theory(inner)}.", tells, SHRINKS,
        )  # fmt: skip
    else:
        found = _gradients(exam)
    if found is not None and hurts(exam):
        yield _finding(exam, *found)
    elif found is not None and not exam.learns and max(found[3], 1 / found[3]) > EXTREME:
        yield _finding(exam, *found).but(confidence=0.8, remedy=NORMALIZE)


def _theory(layers: list) -> str:  # type: ignore[type-arg]
    known = [s.predicted_factor for s in layers if s.predicted_factor]
    if not known:
        return ""
    mean = math.exp(sum(map(math.log, known)) / len(known))
    return f"; theory says a factor {mean:.2g} of the mean square a layer"


def _gradients(exam: Examination) -> tuple[str, str, str, float, float] | None:
    sizes = []
    for layer in exam.layers:
        g = exam.gradients.get(layer.weight)
        if g is not None and not layer.branch and layer.kind in ("linear", "convolution"):
            sizes.append((layer.name, float(g.double().square().mean().sqrt())))
    sizes = [(name, size) for name, size in sizes if size > 0]
    if len(sizes) < 3:
        return None
    (first, a), (last, b) = sizes[0], sizes[-1]
    ratio = a / b
    said = f"The gradient of {first} is {ratio:.2g} times that of {last}, per weight."
    if ratio > UNEVEN:
        return CODES[2], first, said, ratio, UNEVEN
    return (CODES[3], first, said, ratio, 1 / UNEVEN) if ratio < 1 / UNEVEN else None


def _finding(exam: Examination, code: str, where: str, sentence: str, value: float, threshold: float) -> Finding:
    return Finding(code, exam.severity(), where, sentence, {"ratio": Evidence(value, threshold)}, 0.95, redraw(exam))
