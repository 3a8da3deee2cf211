"""Where on the surface a model is that does not get on, or that was trained: saddle, minimum, plateau, noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..critical import Place, locate
from ..examination import SURE, Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy
from ..miniature import error

CODES = ("saddle-point", "local-minimum", "plateau", "not-critical")
LAST = "any"  # asked where nothing else was found
BATCHES, PRODUCTS = 2, 8


def look(exam: Examination) -> Iterator[Finding]:
    """`locate` on few batches: where a model was given, or a short run from the start stays where it is."""
    if not exam.trained and moves(exam):
        raise NotMeasured("a short run gets on, or diverges")
    if exam.located:
        return
    cost = BATCHES * (2 * PRODUCTS + 6 + 11)
    left = exam.budget - exam.spent
    exam.pay(cost, "place on the surface")
    exam.located = True
    reference = math.nan
    try:
        reference = exam.null
    except NotMeasured:
        pass
    place = locate(
        exam.task, exam.copy(), lr=exam.recipe.lr, reference=reference if math.isfinite(reference) else None,
        batches=BATCHES, products=PRODUCTS, seed=exam.seed, most=left,
    )  # fmt: skip
    exam.spent += place.evaluations - cost
    yield from _said(exam, place)


def moves(exam: Examination) -> bool:
    """Whether a short run surely takes the loss down by anything that counts, or up, which is the rate's doing."""
    if exam.base.outcome.status == "diverged":
        return True
    fall = exam.first - exam.base.scores
    return bool(abs(fall.mean()) > max(SURE * error(fall), 1e-3 * abs(float(exam.first.mean()))))


def _said(exam: Examination, place: Place) -> Iterator[Finding]:
    evidence = {
        "squared gradient": Evidence(place.gradient.squared, None, place.gradient.error),
        "lowest eigenvalue": Evidence(place.ends[0], -place.tau, place.bounds[0]),
        "highest eigenvalue": Evidence(place.ends[1], place.tau, place.bounds[1]),
    }
    if place.code in ("saddle-point", "plateau"):
        yield Finding(
            place.code, exam.severity() if place.code == "plateau" or place.escape else "note", "parameters", place.sentence,
            evidence, 0.9, Remedy("start from random weights, or move along the direction of negative curvature",
                                  {"init": "he_normal"} if not exam.trained else None),
        )  # fmt: skip
    elif exam.trained and place.code in ("local-minimum", "not-critical"):
        yield Finding(place.code, "note", "parameters", place.sentence, evidence, 0.85)
