"""What random vectors and batches tell of a curvature matrix: its density, its trace, and the noise of the gradient.

Legend: n coordinates, B batches of b rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .lanczos import Product, lanczos, start_vector

Floats = npt.NDArray[np.float64]
LEAST = 10  # draws before a trace may end early
POINTS = 400


@dataclass(frozen=True)
class Density:
    """The spectral density: where the eigenvalues lie, smoothed.

    Attributes:
        at: eigenvalues.
        density: of the n eigenvalues, as shares; integrates to one.
        width: standard deviation of the smoothing.
    """

    at: Floats
    density: Floats
    width: float


def spectral_density(product: Product, n: int, *, most: int = 40, probes: int = 5, seed: int = 0) -> Density:
    """Stochastic Lanczos quadrature: the mean over random starts of Gaussians at the Ritz values with their weights.

    Args:
        product: v → A v.
        n: size of the matrix.
        most: products for each start.
        probes: random starts.
        seed: of them.

    Example:
        >>> values = torch.linspace(0, 1, 200, dtype=torch.float64)
        >>> found = spectral_density(lambda v: values * v, 200)
        >>> round(float(np.trapezoid(found.density, found.at)), 3)
        1.0

    Source: B. Ghorbani, S. Krishnan, Y. Xiao, arXiv 1901.10159, section 2.
    """
    runs = [lanczos(product, start_vector(n, seed + i), most, vectors=False) for i in range(probes)]
    low, high = min(float(r.values_k[0]) for r in runs), max(float(r.values_k[-1]) for r in runs)
    width = max(high - low, 1e-12 * max(abs(high), abs(low), 1.0)) / 60
    at = np.linspace(low - 4 * width, high + 4 * width, POINTS)
    total = np.zeros(POINTS)
    for run in runs:
        shapes = np.exp(-0.5 * ((at[:, None] - run.values_k) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        total += shapes @ run.weights_k / probes
    return Density(at, total, width)


@dataclass(frozen=True)
class Trace:
    """A trace estimated by random vectors: ``value`` ± ``error`` (one standard error of ``probes`` draws)."""

    value: float
    error: float
    probes: int


def trace(product: Product, n: int, *, probes: int = 30, seed: int = 0, relative: float | None = None) -> Trace:
    """Hutchinson's estimate tr A = E[zᵀ A z], z of random signs; its error is measured, not assumed.

    Args:
        product: v → A v.
        n: size of the matrix.
        probes: draws, at most.
        seed: of them.
        relative: stop once the standard error is below this share of the estimate, from 10 draws on; that the mean moved
            little stops nothing.

    Example:
        >>> found = trace(lambda v: 3 * v, 50, probes=5)
        >>> found.value, found.error
        (150.0, 0.0)

    Source: M. Hutchinson, Communications in Statistics 19, 1990.
    """
    generator = torch.Generator().manual_seed(seed)
    values: list[float] = []
    for _ in range(probes):
        z = 2.0 * torch.randint(2, (n,), generator=generator, dtype=torch.float64) - 1
        values.append(float(product(z) @ z))
        if relative is not None and len(values) >= LEAST and _error(values) <= relative * abs(float(np.mean(values))):
            break
    return Trace(float(np.mean(values)), _error(values), len(values))


def _error(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf


@dataclass(frozen=True)
class Noise:
    """The gradient against its sampling error.

    Attributes:
        squared: ‖g‖² of the whole population, without the noise's share; may be below zero where g is nearly none.
        error: its standard error, by leaving out one batch at a time.
        variance: tr Σ, the variance of one row's gradient.
        scale: tr Σ / ‖g‖²: rows a batch at which noise and gradient are as long; infinite where ‖g‖² is not above zero.
        rows: a batch, b.
        batches: B.
    """

    squared: float
    error: float
    variance: float
    scale: float
    rows: int
    batches: int

    @property
    def significant(self) -> bool:
        """Whether the gradient is surely not zero: three standard errors."""
        return self.squared > 3 * self.error


def gradient_noise(gradients: Tensor, rows: int) -> Noise:
    """‖g‖² and tr Σ from the gradients of batches of as many rows: both without bias.

    ‖g‖² is the mean of gᵢᵀgⱼ over pairs of different batches, a U-statistic; tr Σ = b · (mean ‖gᵢ‖² − ‖g‖²).

    Args:
        gradients: (B, n), of the batches' mean losses; the error is known from B = 3 on, ‖g‖² from 2 on.
        rows: of each batch.

    Example:
        >>> found = gradient_noise(torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]]), rows=4)
        >>> found.squared, round(found.variance, 3)
        (0.6666666666666666, 4.0)

    Source: the noise scale: S. McCandlish et al., arXiv 1812.06162, appendix A.
    """
    g = gradients.double()
    count = len(g)
    gram = g @ g.T
    whole, own = float(gram.sum()), gram.diagonal()

    def squared(total: float, diagonal: Tensor) -> float:
        n = len(diagonal)
        return (total - float(diagonal.sum())) / (n * (n - 1)) if n > 1 else math.nan

    value = squared(whole, own)
    left_out = []
    if count > 2:
        for i in range(count):
            total = whole - 2 * float(gram[i].sum()) + float(own[i])
            left_out.append(squared(total, torch.cat([own[:i], own[i + 1 :]])))
    error = math.inf
    if left_out:
        spread = np.array(left_out) - np.mean(left_out)
        error = math.sqrt((count - 1) / count * float((spread**2).sum()))
    variance = rows * (float(own.mean()) - value)
    return Noise(value, error, variance, variance / value if value > 0 else math.inf, rows, count)
