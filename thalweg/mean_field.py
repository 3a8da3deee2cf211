"""Mean-field theory of signals in wide networks.

Prediction: a layer of n inputs with weights of mean square s² takes an input of mean square m to q = n s² m + mean b², and
its non-linearity φ gives E[φ(√q z)²], z normal; backwards n_out s² E[φ'(√q z)²]. A normalization before φ makes q the mean
square of its scale plus that of its shift. Exact for wide layers with independent weights.

Source: B. Poole et al., arXiv 1606.05340, equations 3 and 5; S. Schoenholz et al., arXiv 1611.01232, equation 7.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

NODES, ENDS = 4000, 10.0  # of the mean over a normal distribution, in standard deviations
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "gelu": F.gelu, "silu": F.silu, "mish": F.mish,
    "elu": F.elu, "softplus": F.softplus, "hardtanh": F.hardtanh, "hardswish": F.hardswish, "sin": torch.sin,
    "cos": torch.cos, "abs": torch.abs, "hardsigmoid": F.hardsigmoid,
}  # fmt: skip


def theory(activation: str | None, q: float, slope: float = 0.0) -> tuple[float, float] | None:
    """E[φ(√q z)²] and E[φ'(√q z)²] of a non-linearity, z normal; None where it is not known.

    Example:
        >>> [round(value, 4) for value in theory("relu", 4.0)]
        [2.0, 0.5]
    """
    if not (math.isfinite(q) and q >= 0):
        return None
    if activation is None:
        return q, 1.0
    function = (lambda x: F.leaky_relu(x, slope)) if activation == "leaky_relu" else FUNCTIONS.get(activation)
    if function is None:
        return None
    z, density = _normal()
    x = (math.sqrt(q) * z).requires_grad_()
    with torch.enable_grad():
        y = function(x)
        [slopes] = torch.autograd.grad(y.sum(), x)
    return float(y.detach().square() @ density), float(slopes.square() @ density)


@functools.cache
def _normal() -> tuple[Tensor, Tensor]:
    """Places and their shares of a normal distribution, by the trapezoidal rule."""
    z = torch.linspace(-ENDS, ENDS, NODES, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    return z, density / density.sum()
