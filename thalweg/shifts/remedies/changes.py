"""How much better or worse a model is than another on the same rows, over several seeds, with an interval.

Legend of shapes: S seeds, G groups of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ... import building
from ...modes import evaluating
from ...seeds import Stream

if TYPE_CHECKING:
    from torch import nn

    from ...task import Task
    from ..sample import Sample

Floats = npt.NDArray[np.float64]
GROUPS, LARGEST = 50, 1024  # at least so many groups, where there are as many rows; rows of a group at most


@dataclass(frozen=True)
class Change:
    """A mean difference of losses.

    Attributes:
        mean: of the loss, minus that of what it is compared with; below zero is better. NaN: not measured.
        error: its standard error.
        df: degrees of freedom of the error.
    """

    mean: float = math.nan
    error: float = math.nan
    df: float = math.nan

    def interval(self, level: float = 0.05) -> tuple[float, float]:
        """Where the true difference lies, with confidence 1 - ``level``: mean ± t·error; the whole line without an error."""
        from scipy import special

        if math.isnan(self.mean):
            return math.nan, math.nan
        if not math.isfinite(self.error):
            return -math.inf, math.inf
        half = float(special.stdtrit(self.df, 1 - level / 2)) * self.error if self.error else 0.0
        return self.mean - half, self.mean + half


def change(losses_SG: Floats, before_G: Floats) -> Change:
    """The mean difference d of losses and its error: SE² = s²(d over groups)/G + s²(d over seeds)/S.

    The groups are of the same rows on both sides, so that what makes a row hard cancels; they vary the rows, the seeds vary
    the training. What is left after both counts twice, so that the interval is rather too wide. The degrees of freedom are
    Satterthwaite's. Of one seed only the rows are counted. A group whose loss is not finite after and was before makes the
    whole infinite; one that was not before counts as higher than every finite one, so that mending it is at least seen.

    Args:
        losses_SG: of each seed's model on each group.
        before_G: of the model it is compared with.

    Example:
        >>> found = change(np.array([[1.0, 2.0, 3.0]]), np.array([2.0, 2.5, 4.5]))
        >>> found.mean, round(found.error, 4), found.df
        (-1.0, 0.2887, 2.0)

    Source: F. Satterthwaite, Biometrics Bulletin 2, 1946.
    """
    d_SG = _differences(losses_SG, before_G)
    if not np.isfinite(d_SG).all():
        return Change(math.inf if not np.isnan(d_SG).any() else math.nan, math.inf, 0.0)
    parts = []
    for means in (d_SG.mean(0), d_SG.mean(1)):
        if len(means) > 1:
            parts.append((float(means.var(ddof=1)) / len(means), len(means) - 1))
    if d_SG.shape[1] < 2:
        return Change(float(d_SG.mean()), math.inf, 0.0)
    total = sum(variance for variance, _ in parts)
    df = total**2 / sum(variance**2 / n for variance, n in parts) if total else float(parts[0][1])
    return Change(float(d_SG.mean()), math.sqrt(total), df)


def _differences(losses_SG: Floats, before_G: Floats) -> Floats:
    good, was = np.isfinite(losses_SG), np.isfinite(before_G)
    if was.all() and good.all():
        return losses_SG - before_G
    finite = np.concatenate([losses_SG[good], before_G[was]])
    worst = 0.0 if not len(finite) else float(finite.max() + (np.ptp(finite) or 1.0))
    found = np.where(good, losses_SG, np.where(was, np.inf, worst)) - np.where(was, before_G, worst)
    return np.asarray(found, dtype=np.float64)


def group_losses(task: Task, model: nn.Module, sample: Sample) -> Floats:
    """The mean losses of groups of as many rows, (G,), in evaluation mode; a rest of less than one group is left out.

    Args:
        task: gives the loss.
        model: afterwards as before.
        sample: its rows in an order without meaning, for the groups to be alike.

    Example:
        >>> import thalweg
        >>> from thalweg.shifts.sample import Sample
        >>> task = thalweg.Task.load("digits")
        >>> group_losses(task, task.build(0), Sample.of(task.prepare().judge)).shape
        (50,)
    """
    data = task.prepare()
    size = min(LARGEST, max(1, sample.rows // GROUPS))
    found = []
    with torch.no_grad(), evaluating(model), Stream(task.seed, "evaluation"):
        for batch in sample.feed(data.device).batches(size):
            if batch.rows == size:
                found.append(float(task.loss_of(model, building.fresh(batch))))
    return np.array(found)
