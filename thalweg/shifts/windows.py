"""What a watched stream is reported as: tests of a window's columns, drift over windows, and how to go on training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from .surfaces.sections import plain
from .tracking import Tracking, best_tracking

LEAST = 6  # windows that drift is measured over
SPANS = (LEAST, 12, 25, 50)  # the latest windows: drift is measured over the most that a straight line fits
BENT = 0.01  # p of the distances from a line below which it does not fit
Moments = tuple[int, float, float]  # rows, mean, variance


@dataclass(frozen=True)
class ColumnTest:
    """One column of a window against the reference.

    Attributes:
        name: of the feature, or ``loss``, ``prediction``.
        effect: largest difference of shares below a quantile, of a class, or of missing values.
        p: of this column in this window.
        adjusted: after Holm over the columns, times the windows of the promise.
        alarm: ``adjusted`` < level and ``effect`` >= gate.
        where: of what there is more or fewer.
        reference: mean over the reference.
        incoming: mean over the window; NaN: it has no values.
    """

    name: str
    effect: float
    p: float
    adjusted: float
    alarm: bool
    where: str
    reference: float
    incoming: float


@dataclass(frozen=True)
class Drift:
    """How fast a column's mean, or the minimum along an eigenvector, moves; and the rate that follows it.

    Attributes:
        name: of the column; ``minimum along eigenvector 1``.
        per_row: v, in the column's units, or the parameters' length.
        error: its standard error.
        noise: σ, standard deviation of one row: of the column, or of the gradient.
        curvature: h; 1 for the mean of a column.
        rows: a training step.
        best: the constant rate with the least error, for steps of so many rows.
    """

    name: str
    per_row: float
    error: float
    noise: float
    curvature: float
    rows: int
    best: Tracking


@dataclass(frozen=True)
class WindowReport:
    """What a window showed.

    Attributes:
        index: of the window, from 0 on.
        rows: first row, and the one after the last.
        tests: of all columns.
        predicted: share of each predicted class; None: no model, or no classes.
        loss: mean over the rows with targets; None: none had any.
        loss_interval: of that mean.
        alarm: whether a column moved.
        drift: the surest drift that is more than noise; None: none is.
        recommendation: how to go on.
    """

    index: int
    rows: tuple[int, int]
    tests: tuple[ColumnTest, ...]
    predicted: tuple[float, ...] | None
    loss: float | None
    loss_interval: tuple[float, float] | None
    alarm: bool
    drift: Drift | None
    recommendation: str

    @property
    def moved(self) -> list[str]:
        """Names of the columns that moved, the surest first."""
        return [test.name for test in sorted(self.tests, key=lambda test: test.p) if test.alarm]

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        found: dict[str, Any] = plain(asdict(self))
        return found | {"moved": self.moved}

    def __str__(self) -> str:
        said = [
            f"Window {self.index}, rows {self.rows[0]} to {self.rows[1] - 1}: {'moved' if self.alarm else 'as before'}."
        ]
        for test in sorted(self.tests, key=lambda test: test.p):
            if test.alarm:
                said.append(
                    f"{test.name}: {test.where}, by {test.effect:.0%} of rows; p = {test.adjusted:.2g} over all windows."
                )
        if self.loss is not None and self.loss_interval is not None:
            low, high = self.loss_interval
            said.append(f"Loss {self.loss:.4g} ({low:.4g} to {high:.4g}).")
        return "\n".join([*said, self.recommendation])


def drift_of(
    name: str,
    windows: Sequence[Moments],
    window: int,
    rows: int,
    tests: int,
    level: float,
    curvature: float | None = None,
) -> tuple[float, Drift] | None:
    """The drift of a straight line through the means of the latest windows, with its p; None: it is not more than noise.

    Its error is that of the means' own noise, or of their distances from the line where these are larger.

    Args:
        name: of what drifts.
        windows: rows, mean and variance of each, one after the other; windows without rows are left out.
        window: rows from one to the next.
        rows: a training step.
        tests: by how many p is multiplied.
        level: that it must then be below.
        curvature: the means are those of slopes, which fall by this while the minimum moves by one; None: they are the
            place of the minimum themselves.

    Example:
        >>> _, found = drift_of("mean of x", [(500, 0.1 * k, 1.0) for k in range(20)], 500, 10, 1, 0.05)
        >>> round(found.per_row, 6), round(found.best.memory)
        (0.0002, 19)
    """
    from scipy.stats import norm

    lines = [_line(windows[-span:]) for span in sorted({min(span, len(windows)) for span in SPANS})]
    most = level / (tests * len(SPANS))
    sure = [line for line in lines if line is not None and 2 * norm.sf(abs(line.slope) / line.error) < most]
    if not sure:
        return None
    straight = [line for line in sure if line.straight]
    line = straight[-1] if straight else sure[0]  # the longest, but what bends is followed over the latest windows only
    h = 1.0 if curvature is None else curvature
    moved = line.slope / window if curvature is None else -line.slope / window / h
    best = best_tracking(abs(moved) * rows, line.noise / math.sqrt(rows), h)
    p = float(2 * norm.sf(abs(line.slope) / line.error)) * tests * len(SPANS)
    return p, Drift(name, moved, line.error / window / h, line.noise, h, rows, best)


class _Line(NamedTuple):
    """A line through the means: its slope, the standard error of it, the standard deviation of a row, and whether it fits."""

    slope: float
    error: float
    noise: float
    straight: bool


def _line(windows: Sequence[Moments]) -> _Line | None:
    from scipy.stats import chi2

    known = [(k, *moments) for k, moments in enumerate(windows) if moments[0] > 1]
    if len(known) < LEAST:
        return None
    at, n, mean, variance = np.array(known).T
    away, own = at - at.mean(), float(np.mean(variance / n))
    slope = float(away @ mean / (away @ away))
    rest = mean - mean.mean() - slope * away
    error = math.sqrt(max(own, float(rest @ rest) / (len(at) - 2)) / float(away @ away))
    straight = float(rest @ rest) <= own * chi2.isf(BENT, len(at) - 2)
    return _Line(slope, error, math.sqrt(float(np.average(variance, weights=n))), straight) if error > 0 else None


def recommendation(drift: Drift | None, windows: int, moved: bool) -> str:
    """How to go on training, in words.

    Args:
        drift: the surest one that is more than noise.
        windows: that it was looked for in.
        moved: whether the latest window raised an alarm.

    Example:
        >>> recommendation(None, 2, moved=False)
        'Drift is not measured before 6 windows.'
    """
    if drift is None:
        if moved:
            return (
                "The rows moved, but no steady drift is seen: hold them against the reference with thalweg.shift. A rate that "
                "falls to zero would not follow them."
            )
        if windows < LEAST:
            return f"Drift is not measured before {LEAST} windows."
        return f"No drift beyond the noise over {windows} windows: nothing speaks against a rate that falls to zero."
    best = drift.best
    said = f"{drift.name} moves by {drift.per_row:.3g} ± {drift.error:.1g} a row."
    if drift.name.startswith("minimum"):
        return (
            f"{said} Go on training with a constant rate: on batches of {drift.rows}, gradient descent follows best with lr "
            f"{best.rate:.3g}, {best.error:.2g} behind on average. RMSProp with a constant rate follows too; a rate that falls "
            "to zero, such as 1/t, stays behind ever farther."
        )
    return (
        f"{said} Go on training with a constant rate (RMSProp follows too), not with one that falls to zero: what is older "
        f"than about {best.memory * drift.rows:.0f} rows is out of date. Which rate that is, only a model with targets tells."
    )
