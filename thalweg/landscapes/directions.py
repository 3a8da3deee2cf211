"""Directions in the space of all weights: random ones of the filters' own lengths, principal ones, curved ones.

Legend: n numbers of a point, T points, k directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..curvature import lanczos, start_vector
from ..errors import BadTask

Floats = npt.NDArray[np.float64]
Product = Callable[[Tensor], Tensor]
PRODUCTS = 40
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)  # whose filters are the second axis


def random(model: nn.Module, seed: int, scales_n: Tensor | None = None) -> Tensor:
    """A random direction, (n,), in which every filter is as long as the model's own: d ← d ‖w‖ / ‖d‖, filter by filter.

    A filter is what makes one unit or channel: a row of a linear layer, an output channel of a convolution. Biases and the
    scales and shifts of norms stay where they are: their direction is 0. Of normal numbers, so that within a filter no
    direction is preferred.

    Args:
        model: its parameters that require a gradient.
        seed: of the numbers.
        scales_n: what takes the weights to a form that is the same for all rescaled twins (`balance`); the direction is
            drawn there and taken back.

    Returns:
        float64; a step of length 1 along it changes the weights by as much as they are.

    Example:
        >>> net = nn.Linear(4, 2)
        >>> d = random(net, seed=0)[:8].reshape(2, 4)
        >>> torch.allclose(d.norm(dim=1), net.weight.double().norm(dim=1)), random(net, 0)[8:].tolist()
        (True, [0.0, 0.0])

    Source: H. Li et al., arXiv 1712.09913, section 4.
    """
    generator = torch.Generator().manual_seed(seed)
    transposed = {id(m.weight) for m in model.modules() if isinstance(m, TRANSPOSED)}
    parts, at = [], 0
    for p in model.parameters():
        if not p.requires_grad:
            continue
        z = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        w = p.detach().double().cpu()
        own = torch.ones(p.numel(), dtype=torch.float64) if scales_n is None else scales_n[at : at + p.numel()]
        s, at = own.reshape(p.shape), at + p.numel()
        if p.ndim < 2:
            parts.append(torch.zeros(p.numel(), dtype=torch.float64))
            continue
        axes = [axis for axis in range(p.ndim) if axis != (1 if id(p) in transposed else 0)]
        length, drawn = (torch.linalg.vector_norm(x, dim=axes, keepdim=True) for x in (s * w, z))
        parts.append((z * length / drawn / s).reshape(-1))
    if not parts:
        raise BadTask("landscape: no parameter requires a gradient", "unfreeze some")
    return torch.cat(parts)


@dataclass(frozen=True)
class Principal:
    """The plane, or line, that is nearest to some points.

    Attributes:
        mean: of the points, (n,): where the plane lies.
        axes: orthonormal, (k, n); the first is that of most variance.
        explained: share of the points' variance along each axis, (k,).
        at: coordinates of the points, (T, k).
        off: distances of the points from the plane, (T,).
    """

    mean: Tensor
    axes: Tensor
    explained: Floats
    at: Floats
    off: Floats


def principal(points_Tn: Tensor, k: int = 2) -> Principal:
    """Principal components of points: the eigenvectors of their covariance with the largest eigenvalues.

    Args:
        points_Tn: at least k + 1 that differ.
        k: axes.

    Example:
        >>> line = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0.1, 0], [3, 0, 0]])
        >>> found = principal(line)
        >>> [round(float(x), 3) for x in found.explained], float(found.off.max()) < 1e-12
        ([0.999, 0.001], True)
    """
    points = points_Tn.double()
    mean = points.mean(0)
    centred = points - mean
    values, vectors = torch.linalg.eigh(centred @ centred.T)  # T × T, which is small; n is not
    order = torch.argsort(values, descending=True)
    values, vectors = values[order].clamp(min=0), vectors[:, order]
    if len(points) <= k or not float(values[k - 1]) > 1e-14 * float(values[0]) > 0:
        raise BadTask(
            f"landscape: {len(points)} points do not span {k} directions", "give more checkpoints that differ"
        )
    axes = (vectors[:, :k].T @ centred) / values[:k].sqrt()[:, None]
    axes = axes / axes.norm(dim=1, keepdim=True)
    axes = (
        axes * torch.where((centred[-1] @ axes.T) < 0, -1.0, 1.0)[:, None]
    )  # the last point is at positive coordinates
    at = centred @ axes.T
    off = (centred - at @ axes).norm(dim=1)
    return Principal(mean, axes, (values[:k] / values.sum()).numpy(), at.numpy(), off.numpy())


def plane_of(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The orthonormal directions, (2, n), of the plane through three points: the first from a to b.

    Raises:
        BadTask: they lie on a line.

    Example:
        >>> plane_of(torch.zeros(3), torch.tensor([2.0, 0, 0]), torch.tensor([1.0, 3, 0])).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    u = (b - a).double()
    length = float(u.norm())
    u = u / max(length, 1e-300)
    v = (c - a).double()
    whole = float(v.norm())
    v = v - (v @ u) * u
    v = v - (v @ u) * u  # once leaves what rounding put back
    if not length or not float(v.norm()) > 1e-9 * whole:
        raise BadTask("landscape: the three checkpoints lie on a line", "give three that differ")
    return torch.stack([u, v / v.norm()])


@dataclass(frozen=True)
class Ends:
    """The directions of most and of least curvature: eigenvalues, how far off they may be, eigenvectors (2, n)."""

    values: tuple[float, float]
    bounds: tuple[float, float]
    vectors: Tensor


def ends(product: Product, n: int, products: int = PRODUCTS, seed: int = 0) -> Ends:
    """Top and bottom eigenvectors of the Hessian, in this order, by Lanczos's iteration.

    Args:
        product: v → H v.
        n: size of the matrix.
        products: at most.
        seed: of the start vector.
    """
    found = lanczos(product, start_vector(n, seed), products, tolerance=1e-3, ends=1)
    bottom, top = found.vectors_kn[0], found.vectors_kn[-1]
    values, bounds = found.values_k, found.bounds_k
    return Ends(
        (float(values[-1]), float(values[0])), (float(bounds[-1]), float(bounds[0])), torch.stack([top, bottom])
    )


def coordinates(points_Tn: Tensor, origin_n: Tensor, axes_kn: Tensor) -> tuple[Floats, Floats]:
    """Where points lie in a plane, (T, k), by least squares, and how far off it, (T,).

    Example:
        >>> at, off = coordinates(torch.tensor([[3.0, 4.0, 5.0]]), torch.zeros(3), torch.eye(3)[:2])
        >>> at.tolist(), off.tolist()
        ([[3.0, 4.0]], [5.0])
    """
    axes, apart = axes_kn.double(), points_Tn.double() - origin_n
    at = torch.linalg.lstsq(axes @ axes.T, axes @ apart.T).solution.T
    return at.numpy(), (apart - at @ axes).norm(dim=1).numpy()


def orthogonal_share(axes: Sequence[Tensor]) -> float:
    """|cos| of the angle between two directions: how far they are from orthogonal."""
    a, b = axes
    return abs(float(a @ b) / max(float(a.norm() * b.norm()), 1e-300))
