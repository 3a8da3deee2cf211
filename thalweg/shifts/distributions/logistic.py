"""Logistic regression with a quadratic penalty, and the area under the curve of what it says.

Legend: N rows, d features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .pairs import Floats

STEPS = 300
TOLERANCE = 1e-7  # of the gradient of the mean loss


@dataclass(frozen=True)
class Logistic:
    """log odds = weightsᵀ x + intercept."""

    weights_d: Floats
    intercept: float

    def log_odds(self, rows_Nd: Floats) -> Floats:
        """Of the second class."""
        found: Floats = rows_Nd @ self.weights_d + self.intercept
        return found


def fit(first_Nd: Floats, second_Md: Floats, penalty: float) -> Logistic:
    """The minimum of Σ log(1 + exp(∓(wᵀx + b))) + penalty ‖w‖² / 2, by L-BFGS.

    Args:
        first_Nd: rows of the first class, on comparable scales.
        second_Md: of the second.
        penalty: on the weights, not on the intercept; > 0, so that separable rows have a minimum too.

    Example:
        >>> found = fit(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [2.0], [3.0]]), penalty=1.0)
        >>> found.weights_d.round(2), round(found.intercept, 2)
        (array([0.65]), -0.98)
    """
    from scipy.optimize import minimize

    rows = np.concatenate([first_Nd, second_Md])
    sign = np.r_[-np.ones(len(first_Nd)), np.ones(len(second_Md))]
    count = len(rows)

    def loss(at: Floats) -> tuple[float, Floats]:
        margin = sign * (rows @ at[:-1] + at[-1])
        slope = -sign * np.exp(-np.logaddexp(0, margin)) / count
        value = np.logaddexp(0, -margin).sum() + penalty * (at[:-1] @ at[:-1]) / 2
        return float(value) / count, np.r_[rows.T @ slope + penalty * at[:-1] / count, slope.sum()]

    start = np.r_[np.zeros(rows.shape[1]), np.log(len(second_Md) / len(first_Nd))]
    options = {"maxiter": STEPS, "gtol": TOLERANCE, "ftol": 0.0}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return Logistic(found[:-1], float(found[-1]))


def auc(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """The chance that a score of the second is above one of the first, ties counted half.

    Example:
        >>> auc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        0.875
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([first, second]))
    n, m = len(first), len(second)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))
