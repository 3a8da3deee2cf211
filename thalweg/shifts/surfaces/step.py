"""A damped Newton move on the incoming data's surface, found on one part of the rows and judged on another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..rows import Rows
from .probed import SHARES, Leading, Probed, predicted_rise


@dataclass(frozen=True)
class Change:
    """What the move does to one side's loss, on rows that had no part in finding it.

    Attributes:
        predicted: gᵀd + ½ dᵀHd.
        before: mean loss at θ*.
        after: at θ* + d.
        interval: of ``after`` − ``before``, paired by rows.
        rows: that judged.
    """

    predicted: float
    before: float
    after: float
    interval: tuple[float, float]
    rows: int


@dataclass(frozen=True)
class Step:
    """A damped Newton move on the incoming data's surface, in the span of the gradients and leading eigenvectors.

    Attributes:
        length: of the move.
        relative: over the length of the parameters.
        directions: that were probed.
        damping: over the largest curvature among them; the one of seven whose loss was lowest.
        incoming: what it does to the incoming data's loss.
        reference: what it does to the reference's.
    """

    length: float
    relative: float
    directions: int
    damping: float
    incoming: Change
    reference: Change


def found_step(
    look: list[Rows], judge: list[Rows], means: list[Tensor], products: list[Any], tops: list[Leading], level: float
) -> tuple[Step, Tensor]:
    """The move of the damping whose loss was lowest where it was looked for, judged elsewhere.

    Args:
        look: rows of the reference and of the incoming data to find it by.
        judge: other rows of both, that say what it does.
        means: gradients of both.
        products: v → H v of both.
        tops: eigenvectors of both.
        level: of one minus the intervals.
    """
    from scipy.stats import t

    probed = Probed.of(means[1], products[1], [means[1], means[0], *tops[1].vectors_kn, *tops[0].vectors_kn])
    tried = []
    for share in SHARES:
        move = probed.move(share)
        with look[1].moved(move):
            loss = look[1].loss()
        tried.append((loss if math.isfinite(loss) else math.inf, share, move))
    _, damping, move = min(tried, key=lambda x: x[0])
    changes = []
    for judged, mean, product in zip(judge, means, products, strict=True):
        before = judged.losses()
        with judged.moved(move):
            after = judged.losses()
        each, rows = after - before, len(before)
        half = float(t.isf(level / 2, rows - 1)) * float(each.std(ddof=1)) / math.sqrt(rows)
        change, interval = float(each.mean()), (float(each.mean()) - half, float(each.mean()) + half)
        changes.append(
            Change(
                predicted_rise(mean, product, move), float(before.mean()), float(before.mean()) + change, interval, rows
            )
        )
    length = float(move.norm())
    relative = length / max(float(look[0].point().norm()), 1e-300)
    return Step(length, relative, len(probed.basis_kn), damping, changes[1], changes[0]), move
