"""Eigenvalues of a symmetric matrix that is only there as a product, with bounds on how far off they are.

Legend: n size of the matrix, k products. All arithmetic on vectors is in float64, whatever the product computes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import BadTask

Product = Callable[[Tensor], Tensor]
Floats = npt.NDArray[np.float64]
TINY = 1e-12  # of the largest |alpha|, β below which the space is used up


@dataclass(frozen=True)
class Lanczos:
    """What k products tell of a symmetric matrix A.

    Attributes:
        values_k: Ritz values, ascending: the eigenvalues of A on the space that was seen.
        bounds_k: for each, r = |β s|: an eigenvalue of A lies within r of it (and r² / gap of it, where it is alone).
        weights_k: squared first components s₁² of the tridiagonal's eigenvectors: the share of each in the start vector.
        vectors_kn: Ritz vectors of length one, those of ``kept``; a row each.
        kept: indices of the values whose vectors were kept.
        products: how many were made.
        exact: whether the space was used up: then the bounds are zero, but an eigenvalue that the start vector does not
            see, or a repeated one, is missing all the same.
    """

    values_k: Floats
    bounds_k: Floats
    weights_k: Floats
    vectors_kn: Tensor
    kept: tuple[int, ...]
    products: int
    exact: bool


def start_vector(n: int, seed: int) -> Tensor:
    """A random direction, of length one."""
    v = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v /= v.norm()
    return v


def lanczos(
    product: Product, start: Tensor, most: int, *, tolerance: float = 0.0, ends: int = 0, vectors: bool = True
) -> Lanczos:
    """Lanczos's iteration with full re-orthogonalization.

    Stops after ``most`` products, when the space is used up, or when the ``ends`` outermost Ritz values of both sides have
    bounds below ``tolerance`` × the largest magnitude. Holds k vectors of n float64 numbers.

    Raises:
        BadTask: a product is not finite.

    Args:
        product: v → A v, of a vector of n numbers.
        start: of n numbers, of length one.
        most: products.
        tolerance: relative to the largest |Ritz value|; 0: all products are made.
        ends: how many values of each side must be that sure.
        vectors: whether the Ritz vectors of the two outermost values are calculated.

    Source: G. Golub, C. Van Loan, Matrix Computations, 4th edition, 2013, section 10.3; the bound: B. Parlett, The
    Symmetric Eigenvalue Problem, 1980, section 13.2.
    """
    n = len(start)
    basis = torch.empty(min(most, n), n, dtype=torch.float64)
    basis[0] = start.double().cpu()
    diagonal, beside, exact = list[float](), list[float](), False
    for k in range(min(most, n)):
        w = product(basis[k].to(start)).detach().reshape(-1).double().cpu()
        diagonal.append(float(w @ basis[k]))
        if not math.isfinite(diagonal[-1]):
            raise BadTask("curvature: a product is not finite", "look at the loss and its gradient first")
        known = basis[: k + 1]
        for _ in range(2):  # once leaves what rounding put back
            w = w - known.T @ (known @ w)
        beside.append(float(w.norm()))
        exact = not beside[-1] > TINY * max(map(abs, diagonal)) or k + 1 == n
        if exact or k + 1 == len(basis):
            break
        if tolerance and k + 1 > 2 * ends and _sure(diagonal, beside, tolerance, ends):
            break
        basis[k + 1] = w / beside[-1]
    k = len(diagonal)
    values, s = _solve(diagonal, beside)
    bounds = np.zeros(k) if exact else np.abs(beside[-1] * s[-1])
    kept = tuple(dict.fromkeys((0, k - 1))) if vectors else ()
    made = torch.from_numpy(s[:, list(kept)].T.copy()) @ basis[:k] if kept else torch.empty(0, n, dtype=torch.float64)
    return Lanczos(values, bounds, s[0] ** 2, made, kept, k, exact)


def _solve(diagonal: list[float], beside: list[float]) -> tuple[Floats, Floats]:
    from scipy.linalg import eigh_tridiagonal

    if len(diagonal) == 1:
        return np.array(diagonal), np.ones((1, 1))
    values, s = eigh_tridiagonal(np.array(diagonal), np.array(beside[: len(diagonal) - 1]))
    return values, s


def _sure(diagonal: list[float], beside: list[float], tolerance: float, ends: int) -> bool:
    values, s = _solve(diagonal, beside)
    bounds = np.abs(beside[-1] * s[-1])
    outer = np.r_[0:ends, len(values) - ends : len(values)]
    return bool((bounds[outer] <= tolerance * np.abs(values).max()).all())
