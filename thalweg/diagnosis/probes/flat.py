"""A place without slope, asked about before other rates are tried: from there a large one may come away by chance."""

from __future__ import annotations

from collections.abc import Iterator

from ..critical import flat
from ..examination import Examination
from ..findings import Finding
from . import place

CODES = ("saddle-point", "plateau")
LAST = place.LAST
BATCHES = 2


def look(exam: Examination) -> Iterator[Finding]:
    """Where the best step along the gradient gains nothing to speak of: where it is."""
    if not exam.trained and place.moves(exam):
        return
    exam.pay(3 * BATCHES, "slope")
    if flat(exam.task, exam.copy(), exam.seed, BATCHES):
        yield from place.look(exam)
