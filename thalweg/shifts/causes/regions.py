"""Parts of the rows: a region where alone the loss rose, and rows that lie apart from every class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..distributions.joint import classifier_test
from ..sample import Floats
from .looking import MATCHED, Look
from .subgroups import Subgroup, find_subgroup

OUTLYING, EXCESS = 0.99, 0.05  # rows apart: beyond this quantile of the reference's distances, and how many more
BLOCK = 1_000_000  # numbers of rows that are measured at once
TINY = 1e-20  # of the mean square of a representation, below which its variance within classes is rounding


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
    if look.losses is None or look.loss is None or look.inputs_moved:
        return None
    parts = [_searchable(look, side) for side in (0, 1)]
    found = find_subgroup(parts[0][0], look.losses[0], parts[1][0], look.losses[1], parts[0][1], seed=look.seed)
    if found is None or found.p >= look.loss_part or found.share > 0.5:
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
    known = look.old.take(np.flatnonzero(look.old.labels_N >= 0))
    assert known.labels_N is not None
    old, new = known.representation_Nh, look.new.representation_Nh
    measured = _far(old, known.labels_N, new)
    if measured is None:
        return None
    far_old, far_new = measured
    bound = float(np.quantile(far_old, OUTLYING))
    out = far_new > bound
    excess = float(out.mean()) - (1 - OUTLYING)
    if excess < EXCESS or out.sum() < MATCHED or (~out).sum() < MATCHED:
        return None
    rest = classifier_test(old[far_old <= bound], new[~out], level=look.level, seed=look.seed)
    own = new[out]
    spread = _spread(own)
    classes = [old[known.labels_N == c] for c in np.unique(known.labels_N)]
    usual = float(np.mean([_spread(x) for x in classes if len(x) > 1]))
    if rest.alarm or spread > 2 * usual:
        return None
    return Apart(excess, spread / usual, rest.statistic)


def _spread(rows: Floats) -> float:
    """The middle squared distance to the middle row."""
    return float(np.median(((rows - np.median(rows, 0)) ** 2).sum(1)))


def _far(old_Nh: Floats, labels_N: npt.NDArray[np.int64], new_Mh: Floats) -> tuple[Floats, Floats] | None:
    """The least squared Mahalanobis distance to a class's centre, under one covariance within classes, of both sides.

    None where no row differs from its class's centre: there is no distance then. Beside the rows themselves a block of
    them is held at once.
    """
    names = np.unique(labels_N)
    if not len(names):
        return None
    centres = np.stack([old_Nh[labels_N == c].mean(0) for c in names])
    covariance = np.cov((old_Nh - centres[np.searchsorted(names, labels_N)]).T).reshape(old_Nh.shape[1], -1)
    size = float(np.trace(covariance)) / len(covariance)
    if not size > TINY * max(float(np.square(old_Nh).mean()), 1e-300):
        return None
    ridge = 1e-2 * size * np.eye(len(covariance))
    root = np.asarray(np.linalg.cholesky(covariance + ridge), dtype=np.float64)
    centres_Ch = np.asarray(np.linalg.solve(root, centres.T).T, dtype=np.float64)
    return _least(old_Nh, root, centres_Ch), _least(new_Mh, root, centres_Ch)


def _least(rows_Nh: Floats, root_hh: Floats, centres_Ch: Floats) -> Floats:
    """The least squared distance of each row, in the coordinates that ``root_hh`` gives, to a centre."""
    found, block = np.full(len(rows_Nh), np.inf), max(1, BLOCK // rows_Nh.shape[1])
    for start in range(0, len(rows_Nh), block):
        z = np.linalg.solve(root_hh, rows_Nh[start : start + block].T).T
        for centre in centres_Ch:
            np.minimum(found[start : start + block], ((z - centre) ** 2).sum(1), out=found[start : start + block])
    return found
