"""Mean-field theory of signals in wide networks.

Prediction: a layer of n inputs with weights of mean square s² takes an input of mean square m to q = n s² m + mean b², and
its non-linearity φ gives E[φ(√q z)²], z normal; backwards n_out s² E[φ'(√q z)²]. A normalization before φ makes q the mean
square of its scale plus that of its shift. Exact for wide layers with independent weights.

Source: B. Poole et al., arXiv 1606.05340, equations 3 and 5; S. Schoenholz et al., arXiv 1611.01232, equation 7.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

NODES, ENDS = 4000, 10.0  # of the mean over a normal distribution, in standard deviations
KNOWN = {
    "relu", "leaky_relu", "elu", "gelu", "silu", "mish", "tanh", "sigmoid", "hardtanh", "hardswish", "hardsigmoid",
    "softplus", "sin", "cos", "abs", "threshold",
}  # fmt: skip


def theory(activation: str | None, q: float, numbers: tuple[float, ...] = ()) -> tuple[float, float] | None:
    """E[φ(√q z)²] and E[φ'(√q z)²] of a non-linearity, z normal; None where it is not known.

    Args:
        activation: torch's operator; None: none.
        q: mean square of what goes into it.
        numbers: its further arguments: ``(0.0, 6.0)`` makes ``hardtanh`` a ReLU6.

    Example:
        >>> [round(value, 4) for value in theory("relu", 4.0)]
        [2.0, 0.5]
    """
    if not (math.isfinite(q) and q >= 0):
        return None
    if activation is None:
        return q, 1.0
    name = "leaky_relu" if activation == "prelu_kernel" else activation
    if name not in KNOWN:
        return None
    function = getattr(torch.ops.aten, name)
    z, density = _normal()
    x = (math.sqrt(q) * z).requires_grad_()
    with torch.enable_grad():
        y = function(x, *numbers)
        [slopes] = torch.autograd.grad(y.sum(), x)
    return float(y.detach().square() @ density), float(slopes.square() @ density)


@functools.cache
def _normal() -> tuple[Tensor, Tensor]:
    """Places and their shares of a normal distribution, by the trapezoidal rule."""
    z = torch.linspace(-ENDS, ENDS, NODES, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    return z, density / density.sum()
