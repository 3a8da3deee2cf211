"""Rows on comparable scales, without missing values, and products of them: what the joint tests and the ratio look at.

Legend: N rows, d features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .pairs import Floats

REACH = 10.0  # standard deviations, at which values are cut: one outlier is not all that there is to see


@dataclass(frozen=True)
class Standard:
    """x ↦ (x − mean) / sd, cut at ±10; a missing value becomes 0, and one more feature says that it is missing."""

    mean_d: Floats
    sd_d: Floats
    missing: npt.NDArray[np.int64]

    @staticmethod
    def of(rows_Nd: npt.NDArray[Any]) -> Standard:
        """Mean and sd over finite values; a constant feature's sd is infinite: it becomes 0."""
        finite = np.isfinite(rows_Nd)
        count = np.maximum(finite.sum(0), 1)
        clean = np.where(finite, rows_Nd, 0.0)
        mean = clean.sum(0, dtype=np.float64) / count
        clean = np.where(finite, clean - mean, 0.0)
        sd = np.sqrt((clean**2).sum(0) / count)
        absent = np.isnan(rows_Nd).sum(0)
        flat = ~(sd > 1e-12 * np.abs(mean))
        return Standard(mean, np.where(flat, np.inf, sd), np.flatnonzero((absent > 0) & (absent < len(rows_Nd))))

    def __call__(self, rows_Nd: npt.NDArray[Any]) -> Floats:
        """The standardized rows, in float64."""
        with np.errstate(invalid="ignore"):  # an infinite value of a constant feature
            z = np.clip((rows_Nd - self.mean_d) / self.sd_d, -REACH, REACH)
        absent = np.isnan(rows_Nd[:, self.missing]).astype(np.float64)
        return np.concatenate([np.nan_to_num(z, copy=False), absent], axis=1)


def products(rows_Nd: Floats) -> Floats:
    """xᵢ xⱼ of all i ≤ j, as d (d + 1) / 2 columns."""
    i, j = np.triu_indices(rows_Nd.shape[1])
    found: Floats = rows_Nd[:, i] * rows_Nd[:, j]
    return found


def leading(rows_Nd: Floats, k: int, generator: np.random.Generator) -> Floats:
    """The scores on about the k leading principal components, each with variance one: (N, k) or fewer.

    Source: subspace iteration from a random start: N. Halko, P.-G. Martinsson, J. Tropp, SIAM Review 53, 2011.
    """
    if rows_Nd.shape[1] <= k:
        return rows_Nd
    basis = generator.normal(size=(rows_Nd.shape[1], k + 8))
    for _ in range(4):
        basis, _ = np.linalg.qr(rows_Nd.T @ (rows_Nd @ basis))
    u, s, _ = np.linalg.svd(rows_Nd @ basis, full_matrices=False)
    kept = s[:k] > 1e-9 * s[0]
    found: Floats = u[:, :k][:, kept] * np.sqrt(len(rows_Nd))
    return found
