"""How much of a loss is rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .field import Field, ModelField

POINTS = 16
NEAR = 4e-6  # of the point's length: so near that a smooth loss is a cubic, farther than float32 rounds
GOLDEN = (math.sqrt(5) - 1) / 2
EPSILON = float(torch.finfo(torch.float64).eps)
SLACK = 4.0  # last digits


def noise(field: Field, point_n: Tensor, direction_n: Tensor) -> float:
    """The standard deviation of a loss's rounding errors: of what a cubic leaves of it at points that lie close together.

    What remains is rounding, of the loss, and of the point where the model has fewer digits than it. The points lie
    unevenly: at even ones a loss that changes by whole last digits from one to the next looks as if it were not rounded. A
    kink among them makes the result too large.

    Args:
        field: the loss.
        point_n: where.
        direction_n: along which the points lie; a zero one gives 0.

    Returns:
        The standard deviation; infinite where a loss is not finite.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> rough = Function(lambda x: (x * x).sum(-1).float().double(), 2)
        >>> at = torch.tensor([1.0, 2.0], dtype=torch.float64)
        >>> 1e-8 < noise(rough, at, at) < 1e-6
        True

    Source: the idea, with differences in place of a fit: J. Moré, S. Wild, Estimating Computational Noise, SIAM J.
    Scientific Computing 33, 2011.
    """
    length = float(direction_n.norm())
    if not length:
        return 0.0
    places = 2 * (GOLDEN * torch.arange(1, POINTS + 1, dtype=torch.float64)).frac() - 1
    step = direction_n * (NEAR * max(float(point_n.norm()), length) / length)
    losses = field.losses(point_n + places[:, None] * step).double().cpu()
    if not bool(torch.isfinite(losses).all()):
        return math.inf
    cubics, _ = torch.linalg.qr(torch.linalg.vander(places, N=4))
    centred = losses - losses.mean()
    return float((centred - cubics @ (cubics.T @ centred)).norm()) / math.sqrt(POINTS - 4)


def last_digits(field: Field, losses: Tensor) -> float:
    """Four last digits of a loss, as a share of it: what rounding changes even where nearby losses are rounded alike.

    Args:
        field: of a model: the digits of its parameters' numbers count; else those that the losses show.
        losses: some that were calculated.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> exact = Function(lambda x: (x * x).sum(-1), 2)
        >>> last_digits(exact, torch.tensor([0.1]).double()) > 1e-7 > last_digits(exact, torch.tensor([0.1]).double() / 3)
        True
    """
    if isinstance(field, ModelField):
        return SLACK * max(float(torch.finfo(part.dtype).eps) for part in field.parts(field.start))
    short = bool((losses.float().double() == losses).all())
    return SLACK * (float(torch.finfo(torch.float32).eps) if short else EPSILON)
