"""A surface as a quadratic in the few directions that were probed, and the move to its lowest point.

Legend: n trained parameters, k directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...curvature import lanczos, start_vector
from ...curvature.lanczos import Product

Floats = npt.NDArray[np.float64]
SHARES = (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)  # of the largest curvature: dampings that are tried
FLAT = 1e-10  # share of the largest curvature below which there is none


def predicted_rise(gradient_n: Tensor, product: Product, move_n: Tensor) -> float:
    """What a move does to the loss, to second order: gᵀd + ½ dᵀHd; exact for a quadratic.

    Args:
        gradient_n: g.
        product: v → H v.
        move_n: d.

    Example:
        >>> d = torch.tensor([1.0, 2.0], dtype=torch.float64)
        >>> predicted_rise(torch.ones(2, dtype=torch.float64), lambda v: 2 * v, d)
        8.0
    """
    return float(gradient_n @ move_n + product(move_n) @ move_n / 2)


@dataclass(frozen=True)
class Leading:
    """The largest eigenvalues that Lanczos's iteration saw.

    Attributes:
        values_k: descending.
        bounds_k: an eigenvalue lies within this of each.
        vectors_kn: of length one, a row each.
        products: how many were made.
    """

    values_k: Floats
    bounds_k: Floats
    vectors_kn: Tensor
    products: int


def leading(product: Product, n: int, *, count: int = 2, most: int = 20, seed: int = 0) -> Leading:
    """The largest eigenvalues and their vectors, one after the other: those found are taken out of the matrix.

    Args:
        product: v → A v.
        n: size of A.
        count: how many.
        most: products for each.
        seed: of the start vectors.

    Example:
        >>> d = torch.tensor([1.0, 5.0, 3.0], dtype=torch.float64)
        >>> [round(float(x), 6) for x in leading(lambda v: d * v, 3).values_k]
        [5.0, 3.0]
    """
    values, bounds, products = list[float](), list[float](), 0
    vectors = torch.empty(0, n, dtype=torch.float64)

    def rest(v: Tensor) -> Tensor:
        v = v - vectors.T @ (vectors @ v)
        w = product(v)
        return w - vectors.T @ (vectors @ w)

    for k in range(min(count, n)):
        start = start_vector(n, seed + k)
        start = start - vectors.T @ (vectors @ start)
        found = lanczos(rest, start / start.norm(), min(most, n - k), tolerance=1e-3, ends=1)
        values.append(float(found.values_k[-1]))
        bounds.append(float(found.bounds_k[-1]))
        products += found.products
        vectors = torch.cat([vectors, found.vectors_kn[-1:]])
    return Leading(np.array(values), np.array(bounds), vectors, products)


@dataclass(frozen=True)
class Probed:
    """The quadratic model gᵀd + ½ dᵀHd of the moves d within a subspace.

    Attributes:
        basis_kn: orthonormal, a row each.
        gradient_k: g in this basis.
        hessian_kk: H in this basis.
    """

    basis_kn: Tensor
    gradient_k: Tensor
    hessian_kk: Tensor

    @classmethod
    def of(cls, gradient_n: Tensor, product: Product, directions: Sequence[Tensor]) -> Probed:
        """The model in the span of some directions; of those that depend on others only one is kept."""
        rows = torch.stack([x / x.norm() for x in directions if float(x.norm())])
        _, values, basis = torch.linalg.svd(rows, full_matrices=False)
        basis = basis[values > FLAT * values[0]]
        curved = torch.stack([product(x) for x in basis]) @ basis.T
        return cls(basis, basis @ gradient_n, (curved + curved.T) / 2)

    def move(self, share: float) -> Tensor:
        """The move d = −Qᵀ(|QHQᵀ| + λ)⁻¹Qg with λ = ``share`` × the largest curvature; (n,).

        Eigenvalues are taken by magnitude, so that a saddle is left; without damping, directions without curvature stay
        out of it.

        Source: K. Levenberg, Quarterly of Applied Mathematics 2, 1944; magnitudes: Y. Dauphin et al., arXiv 1406.2572.
        """
        values, turned = torch.linalg.eigh(self.hessian_kk)
        size = values.abs()
        divisor = size + share * size.max()
        length = torch.where(divisor > FLAT * size.max(), (turned.T @ self.gradient_k) / divisor, 0.0)
        found: Tensor = -(turned @ length) @ self.basis_kn
        return found
