"""How much more often each row is met now: the ratio of two densities, from a classifier that tells the samples apart.

Legend: N reference rows, M incoming rows, K any rows, d features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import POSITIVE, Allowed, BadData, BadOption, check, one_of, optional
from .logistic import Logistic, auc, fit
from .pairs import Floats, pair, some_rows
from .standard import Standard, products

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
FOLDS = 3
ROWS, CHOOSING_ROWS = 20_000, 3000  # of a side, that a classifier and the choice of its penalty see
NUMBERS = 8_000_000  # of a side
MOST = 60  # features, whose products are manageable
QUANTILE = Allowed("a share in (0, 1]", lambda v: isinstance(v, float) and 0 < v <= 1)


@dataclass(frozen=True, eq=False)
class DensityRatio:
    """w(x) = p_incoming(x) / p_reference(x).

    Attributes:
        weights_N: of the reference rows, mean one; each from classifiers that have not seen the row.
        effective: (Σ w)² / Σ w², rows of equal weight that would tell as much.
        auc: area under the curve on rows that the classifier has not seen: .5, nothing moved; near 1, the samples hardly
            overlap, and no weights help.
        penalty: of the classifier.
        clipped: share of the reference rows whose weight was cut.
    """

    weights_N: Floats
    effective: float
    auc: float
    penalty: float
    clipped: float
    _of: _Odds = field(repr=False)
    _most: float = field(repr=False)  # log w at which it is cut
    _shift: float = field(repr=False)  # subtracted from log w, so that the mean over the reference is one

    def of(self, rows_Kd: npt.ArrayLike) -> Floats:
        """The weights of any rows, cut and scaled like the reference's, by a classifier that has seen all of these."""
        rows = np.asarray(rows_Kd)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.shape[1:] != self._of.standard.mean_d.shape:
            raise BadData(
                f"ratio: rows have {rows.shape[1:]} features, the samples had {len(self._of.standard.mean_d)}",
                "give the same columns, in the same order",
            )
        found: Floats = np.exp(np.minimum(self._of(rows), self._most) - self._shift)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "weights": self.weights_N.tolist(), "effective": self.effective, "auc": self.auc, "penalty": self.penalty,
            "clipped": self.clipped,
        }  # fmt: skip


@dataclass(frozen=True)
class _Odds:
    """log(p_incoming / p_reference), up to the share of rows, that the intercept has in it."""

    standard: Standard
    degree: int
    model: Logistic
    prior: float

    def __call__(self, rows: npt.NDArray[Any]) -> Floats:
        some = max(1, NUMBERS // len(self.model.weights_d))
        parts = [rows[start : start + some] for start in range(0, len(rows), some)]
        logs = [self.model.log_odds(_expand(self.standard(part), self.degree)) for part in parts]
        return np.concatenate([*logs, np.empty(0)]) - self.prior


def density_ratio(
    reference_Nd: npt.ArrayLike, incoming_Md: npt.ArrayLike, *,
    penalty: float | None = None, clip: float = 0.99, degree: int = 1, seed: int = 0,
) -> DensityRatio:  # fmt: skip
    """The density ratio by probabilistic classification: w(x) = (N / M) p(incoming | x) / p(reference | x).

    Exact for two normal distributions: with equal covariances w is exp(linear), with others exp(quadratic). The weights
    of the reference rows are made in three folds: a classifier that has seen a row underrates its weight.

    Args:
        reference_Nd: rows that the model was made for, or its representation of them; NaN: missing.
        incoming_Md: new rows, the same features.
        penalty: on the classifier's weights of standardized features; None: of 1, 10, 100 and 1000 the one with the
            least held-out log loss.
        clip: quantile of the reference's weights at which larger ones are cut; 1.0: none are.
        degree: 2: the squares and products of up to 60 features are features too.
        seed: of the folds, and of the rows where there are more than 20 000 of a side or 8 million numbers.

    Raises:
        BadData: rows that cannot be compared, or fewer than three of a side.
        BadOption: penalty, clip or degree.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> reference, incoming = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 1)) + 0.5
        >>> found = density_ratio(reference, incoming)
        >>> found.of([[-1.0], [2.0]]).round(1)  # exp(x/2 − 1/8) of the true densities: .5, 2.4
        array([0.5, 2.5])

    Source: M. Sugiyama, T. Suzuki, T. Kanamori, Density Ratio Estimation in Machine Learning, 2012, chapter 4.
    """
    check("ratio", "penalty", penalty, optional(POSITIVE))
    check("ratio", "clip", clip, QUANTILE)
    check("ratio", "degree", degree, one_of(1, 2))
    reference, incoming = pair(reference_Nd, incoming_Md)
    if min(len(reference), len(incoming)) < FOLDS:
        raise BadData(f"ratio: {len(reference)} and {len(incoming)} rows", f"give {FOLDS} rows on each side at least")
    if degree == 2 and reference.shape[1] > MOST:
        raise BadOption(
            f"ratio: degree=2 takes at most {MOST} features, got {reference.shape[1]}", "reduce them first, or degree=1"
        )
    generator = np.random.default_rng(seed)
    standard = Standard.of(
        np.concatenate([some_rows(side, ROWS, NUMBERS, generator) for side in (reference, incoming)])
    )
    sides = reference, incoming
    folds = [generator.permutation(len(side)) % FOLDS for side in sides]

    def odds(kept: list[npt.NDArray[Any]], weight: float) -> _Odds:
        seen = [some_rows(side[k], ROWS, NUMBERS, generator) for side, k in zip(sides, kept, strict=True)]
        rows = [_expand(standard(side), degree) for side in seen]
        return _Odds(standard, degree, fit(rows[0], rows[1], weight), float(np.log(len(seen[1]) / len(seen[0]))))

    if penalty is None:
        penalty = _choose(
            [_expand(standard(some_rows(s, CHOOSING_ROWS, NUMBERS, generator)), degree) for s in sides], generator
        )
    scores = [np.empty(len(side)) for side in sides]
    for fold in range(FOLDS):
        model = odds([f != fold for f in folds], penalty)
        for score, side, f in zip(scores, sides, folds, strict=True):
            score[f == fold] = model(side[f == fold])
    weights, _, _ = _cut(scores[0], clip)
    whole = odds([np.ones(len(side), dtype=bool) for side in sides], penalty)
    _, most, shift = _cut(whole(reference), clip)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    cut = float((scores[0] > np.quantile(scores[0], clip)).mean())
    # Scores of different folds' classifiers are not compared: where nothing moved, that puts the area below .5.
    area = float(np.mean([auc(scores[0][folds[0] == k], scores[1][folds[1] == k]) for k in range(FOLDS)]))
    return DensityRatio(weights, effective, area, penalty, cut, whole, most, shift)


def _expand(z: Floats, degree: int) -> Floats:
    return z if degree == 1 else np.concatenate([z, products(z)], axis=1)


def _cut(log_w: Floats, clip: float) -> tuple[Floats, float, float]:
    """The weights cut and with mean one, where log w is cut, and what is taken from it."""
    most = float(np.quantile(log_w, clip)) if clip < 1 else np.inf
    cut = np.minimum(log_w, most)
    top = float(cut.max())
    shift = top + float(np.log(np.exp(cut - top).mean()))
    return np.exp(cut - shift), most, shift


def _choose(sides: list[Floats], generator: np.random.Generator) -> float:
    """The penalty with the least log loss on rows not fitted."""
    folds = [generator.permutation(len(side)) % FOLDS for side in sides]
    losses = np.zeros(len(PENALTIES))
    for fold in range(FOLDS):
        for k, penalty in enumerate(PENALTIES):
            rest = [side[f != fold] for side, f in zip(sides, folds, strict=True)]
            model = fit(rest[0], rest[1], penalty)
            for side, f, sign in zip(sides, folds, (1, -1), strict=True):
                losses[k] += np.logaddexp(0, sign * model.log_odds(side[f == fold])).sum()
    return PENALTIES[int(losses.argmin())]
