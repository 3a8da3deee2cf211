"""Parts of the rows: a region where alone the loss rose, and rows that lie apart from every class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .joint import classifier_test
from .looking import MATCHED, Look
from .sample import Floats
from .subgroups import Subgroup, find_subgroup

OUTLYING, EXCESS = 0.99, 0.05  # rows apart: beyond this quantile of the reference's distances, and how many more


def failing(look: Look) -> Subgroup | None:
    """A failing region with the others in order, found and checked; looked for where the inputs did not move.

    Args:
        look: both sides under the model.
    """
    if "failing" not in look.memory:
        look.memory["failing"] = _searched(look)
    found: Subgroup | None = look.memory["failing"]
    return found


def _searched(look: Look) -> Subgroup | None:
    if look.loss is None or look.inputs_moved or look.old.losses_N is None or look.new.losses_N is None:
        return None
    parts = [_searchable(look, side) for side in (0, 1)]
    found = find_subgroup(parts[0][0], look.old.losses_N, parts[1][0], look.new.losses_N, parts[0][1], seed=look.seed)
    if found is None or found.p >= look.part or found.share > 0.5:
        return None
    inside, outside = (after - before for before, after in (found.inside, found.outside))
    return found if inside > look.margin and outside < max(look.margin, inside / 4) else None


def _searchable(look: Look, side: int) -> tuple[Floats, list[str]]:
    """Columns, and beside them the mean of many and the predicted class."""
    (rows, columns), given = look.few[side].columns(), (look.old, look.new)[side]
    more, names = [], []
    if rows.shape[1] >= 49:
        more.append(np.nanmean(rows, 1))
        names.append("the mean of all features")
    if look.subject.classes is not None:
        for c in range(min(look.subject.classes, 50)):
            more.append((given.predicted_N == c).astype(np.float64))
            names.append(f"predicted {look.subject.class_name(c)}")
    return (np.column_stack([rows, *more]) if more else rows), [*columns, *names]


@dataclass(frozen=True)
class Apart:
    """Rows that lie far from every class and close to each other, while the others look as before.

    Attributes:
        share: of the incoming rows, beyond what the reference has.
        spread: their middle squared distance to their middle, over that within a class.
        auc: of telling the other rows from the reference.
    """

    share: float
    spread: float
    auc: float


def apart(look: Look) -> Apart | None:
    """A class of its own, seen without labels; None where there is none, or labels would say it better.

    Args:
        look: both sides under the model.

    Source: the distance is that of K. Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, 2018.
    """
    if look.new.labels_N is not None or look.old.labels_N is None or look.subject.classes is None:
        return None
    if not look.inputs_moved:
        return None
    far_old, far_new = _far(look)
    bound = float(np.quantile(far_old, OUTLYING))
    out = far_new > bound
    excess = float(out.mean()) - (1 - OUTLYING)
    if excess < EXCESS or out.sum() < MATCHED or (~out).sum() < MATCHED:
        return None
    old, new = look.old.representation_Nh, look.new.representation_Nh
    rest = classifier_test(old[far_old <= bound], new[~out], level=look.level, seed=look.seed)
    own = new[out]
    spread = _spread(own)
    classes = [old[look.old.labels_N == c] for c in np.unique(look.old.labels_N)]
    usual = float(np.mean([_spread(x) for x in classes if len(x) > 1]))
    if rest.alarm or spread > 2 * usual:
        return None
    return Apart(excess, spread / usual, rest.statistic)


def _spread(rows: Floats) -> float:
    """The middle squared distance to the middle row."""
    return float(np.median(((rows - np.median(rows, 0)) ** 2).sum(1)))


def _far(look: Look) -> tuple[Floats, Floats]:
    """The least Mahalanobis distance to a class's centre, under one covariance within classes; of both sides."""
    old, new, labels = look.old.representation_Nh, look.new.representation_Nh, look.old.labels_N
    assert labels is not None
    centres = np.stack([old[labels == c].mean(0) for c in np.unique(labels)])
    nearest = centres[np.searchsorted(np.unique(labels), labels)]
    covariance = np.cov((old - nearest).T).reshape(old.shape[1], -1)
    covariance += 1e-2 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    root = np.linalg.cholesky(np.linalg.inv(covariance))
    sides = [((x @ root)[:, None] - (centres @ root)[None]) ** 2 for x in (old, new)]
    return sides[0].sum(2).min(1), sides[1].sum(2).min(1)
