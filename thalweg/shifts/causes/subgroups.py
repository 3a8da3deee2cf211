"""A subgroup in which alone the loss rose: searched on one half of the rows, checked on the other.

Legend of shapes: N reference rows, M incoming rows, d features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..rises import comparable, rise
from ..sample import Floats

Mask = npt.NDArray[np.bool_]
QUANTILES = np.linspace(0.1, 0.9, 9)
LEAST = 10  # rows of each side in a region
FIRST = 8  # regions of one condition that a second one is tried on
WORTH = 1.2
LARGEST = 0.6  # share of the rows that is still a subgroup
MOST_FEATURES = 256  # those whose values vary most between the rows of high and low loss are searched


class Condition(NamedTuple):
    """``name <= at`` or ``name > at``."""

    column: int
    at: float
    above: bool

    def holds(self, values_Nd: Floats) -> Mask:
        """In which rows; missing values are in none."""
        values = values_Nd[:, self.column]
        return (values > self.at) if self.above else (values <= self.at)


@dataclass(frozen=True)
class Subgroup:
    """A region of the features, and how the loss changed inside and outside of it; on rows that had no part in finding it.

    Attributes:
        text: the region in words.
        features: named in it.
        share: of the incoming rows.
        inside: mean loss before and after.
        outside: the same of the other rows.
        interval: 95 % of how much more the loss rose inside.
        p: one-sided, that it rose no more inside.
        rows: incoming ones that checked it inside.
    """

    text: str
    features: tuple[str, ...]
    share: float
    inside: tuple[float, float]
    outside: tuple[float, float]
    interval: tuple[float, float]
    p: float
    rows: int


def find_subgroup(
    reference_Nd: Floats,
    losses_N: Floats,
    incoming_Md: Floats,
    losses_M: Floats,
    names: Sequence[str],
    *,
    seed: int = 0,
) -> Subgroup | None:
    """The region of at most two conditions in which the loss rose most beyond the other rows.

    On one half of both sides every threshold at a decile of each feature is tried, then a second one within the best;
    the region with the largest z = (rise inside - rise outside) / error is checked once on the other half, so that its
    p-value needs no correction for the search.

    Args:
        reference_Nd: features, NaN for missing.
        losses_N: their losses, as `comparable` takes them; rows without one (NaN) are left out.
        incoming_Md: features of the incoming rows.
        losses_M: their losses.
        names: of the features.
        seed: of the halves.

    Returns:
        The region, or None where there are too few rows to look for one.

    Example:
        >>> random = np.random.default_rng(0)
        >>> x, y = random.normal(size=(2, 800, 3))
        >>> found = find_subgroup(x, random.exponential(size=800), y, random.exponential(size=800) + 3 * (y[:, 1] > 1), "abc")
        >>> found.features, found.p < 1e-6
        (('b',), True)
    """
    random = np.random.default_rng(seed)
    losses_N, losses_M = comparable(losses_N, losses_M)
    kept = [~np.isnan(x) for x in (losses_N, losses_M)]
    if not all(mask.any() for mask in kept):
        return None
    reference_Nd, losses_N = reference_Nd[kept[0]], _clipped(losses_N[kept[0]])
    incoming_Md, losses_M = incoming_Md[kept[1]], _clipped(losses_M[kept[1]])
    halves = [_halves(len(x), random) for x in (reference_Nd, incoming_Md)]
    look, check = ((reference_Nd[a], losses_N[a], incoming_Md[b], losses_M[b]) for a, b in zip(*halves, strict=True))
    columns = _varying(look[2], look[3])
    first = sorted(_tried(look, columns, np.ones(len(look[0]), bool), np.ones(len(look[2]), bool)), reverse=True)
    best = [(z, (condition,)) for z, condition in first[:FIRST]]
    for _, (condition,) in list(best):
        region = condition.holds(look[0]), condition.holds(look[2])
        others = [j for j in columns if j != condition.column]
        deeper = max(_tried(look, others, *region), default=None)
        if deeper is not None and deeper[0] > WORTH * first[0][0] + 1:  # a second condition must be worth its words
            best.append((deeper[0], (condition, deeper[1])))  # type: ignore[arg-type]
    if not best:
        return None
    conditions: tuple[Condition, ...] = max(best)[1]
    old_in, new_in = (np.all([c.holds(x) for c in conditions], 0) for x in (check[0], check[2]))
    if min(old_in.sum(), new_in.sum()) < LEAST or min((~old_in).sum(), (~new_in).sum()) < LEAST:
        return None
    inside, outside = rise(check[1][old_in], check[3][new_in]), rise(check[1][~old_in], check[3][~new_in])
    contrast, error = inside.difference - outside.difference, math.hypot(inside.error, outside.error)
    from scipy.stats import t

    freedom = min(inside.freedom, outside.freedom)
    half = float(t.isf(0.025, freedom)) * error
    p = float(t.sf(contrast / error, freedom)) if error > 0 else inside.p if contrast > 0 else 1.0
    return Subgroup(
        " and ".join(_words(c, names) for c in conditions), tuple(dict.fromkeys(names[c.column] for c in conditions)),
        float(new_in.mean()), (inside.before, inside.after), (outside.before, outside.after),
        (contrast - half, contrast + half), p, int(new_in.sum()),
    )  # fmt: skip


def _halves(rows: int, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    drawn = random.permutation(rows)
    return drawn[: rows // 2], drawn[rows // 2 :]


def _clipped(losses: Floats) -> Floats:
    """Losses without the few that would decide all alone."""
    found: Floats = np.minimum(losses, np.quantile(losses, 0.995))
    return found


def _varying(values_Md: Floats, losses_M: Floats) -> list[int]:
    """The columns that differ most between rows of high and low loss."""
    if values_Md.shape[1] <= MOST_FEATURES:
        return list(range(values_Md.shape[1]))
    high = losses_M > np.median(losses_M)
    gap = np.abs(np.nanmean(values_Md[high], 0) - np.nanmean(values_Md[~high], 0)) / (np.nanstd(values_Md, 0) + 1e-12)
    return [int(j) for j in np.argsort(-np.nan_to_num(gap), kind="stable")[:MOST_FEATURES]]


def _tried(
    look: tuple[Floats, Floats, Floats, Floats], columns: Sequence[int], old_in: Mask, new_in: Mask
) -> list[tuple[float, Condition]]:
    """Every condition within a region, and the z of it together with the region."""
    old, old_losses, new, new_losses = look
    found: list[tuple[float, Condition]] = []
    for j in columns:
        values = new[new_in, j]
        values = values[~np.isnan(values)]
        if len(values) < 2 * LEAST or values.min() == values.max():
            continue
        for at in np.unique(np.quantile(values, QUANTILES, method="lower")):
            if at == values.max():
                continue
            for above in (False, True):
                condition = Condition(j, float(at), above)
                a, b = condition.holds(old) & old_in, condition.holds(new) & new_in
                if min(a.sum(), b.sum()) >= 2 * LEAST and b.mean() <= LARGEST:
                    found.append((_score(old_losses, new_losses, a, b), condition))
    return found


def _score(old_losses: Floats, new_losses: Floats, a: Mask, b: Mask) -> float:
    """Z of the contrast; no group counts as less spread than the reference, so that few equal losses decide nothing."""
    parts = [old_losses[a], new_losses[b], old_losses[~a], new_losses[~b]]
    if min(map(len, parts)) < 2:
        return -math.inf
    means = [part.mean() for part in parts]
    usual = old_losses.var()
    error = math.sqrt(sum(max(part.var(), usual) / len(part) for part in parts)) or math.inf
    return float((means[1] - means[0] - means[3] + means[2]) / error)


def _words(condition: Condition, names: Sequence[str]) -> str:
    name = names[condition.column]
    if condition.at == 0 and ("=" in name or name.startswith("predicted")):
        return name if condition.above else f"not {name}"
    return f"{name} {'>' if condition.above else '≤'} {condition.at:.4g}"
