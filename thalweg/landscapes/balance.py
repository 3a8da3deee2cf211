"""The rescalings that a network does not notice, and the form that all of them share.

Where units go through something positively homogeneous, as ReLU and max pooling are, their incoming weights may be
multiplied and the outgoing ones divided by any positive number. What is measured in weight space, such as the length of a
filter, changes with it. Balanced, every unit's incoming weights have length one, whatever they were.

Legend: n numbers of a point.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..batch import leaves
from ..modes import evaluating
from .units import Carrier, Group, groups

SWEEPS, STILL = 50, 1e-9  # until no unit's length is further from one than this, relative
CLOSE = 1e-3  # between the outputs of a network and of its rescaled twin, relative to the largest


def balance(model: nn.Module, forward: Callable[[nn.Module], Any]) -> tuple[Tensor, int]:
    """What each weight is multiplied by to balance the network, (n,), and how many units can be rescaled.

    Which units can is tried: those whose rescaling leaves the outputs as they are.

    Args:
        model: its parameters that require a gradient are the coordinates.
        forward: runs it on some rows.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> scales, units = balance(net, lambda model: model(torch.ones(8, 2)))
        >>> units, scales.shape
        (3, torch.Size([13]))
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    weights = dict(model.named_parameters())
    scales = {name: torch.ones_like(p, dtype=torch.float64, device="cpu") for name, p in weights.items()}
    free = []
    for group in groups(model, forward):
        into, out = _sides(model, group)
        if into and out and _unnoticed(model, forward, group, into, out):
            free.append((group.size, into, out))
    for _ in range(SWEEPS):  # one is enough where units come in the order of the forward pass
        worst = 0.0
        for size, into, out in free:
            rows = [c.rows(scales[c.tensor] * weights[c.tensor].detach().double().cpu(), size) for c in into]
            length = torch.cat(rows, 1).norm(dim=1)
            factor = torch.where(length > 0, 1 / length.clamp(min=1e-300), torch.ones_like(length))
            worst = max(worst, float(factor.log().abs().max()))
            for carriers, power in ((into, factor), (out, 1 / factor)):
                for c in carriers:
                    scales[c.tensor] = scales[c.tensor] * _spread(c, power, scales[c.tensor])
        if worst < STILL:
            break
    return torch.cat([scales[name].reshape(-1) for name in names]), sum(size for size, _, _ in free)


def _sides(model: nn.Module, group: Group) -> tuple[list[Carrier], list[Carrier]]:
    """Where a group's units are made last, and where they are used."""
    weights = dict(model.named_parameters())
    own = [c for c in group.carriers if c.tensor in weights]
    out = [c for c in own if c.axis == 1 and weights[c.tensor].ndim > 1]
    into = [c for c in own if c.axis == 0]
    normed = {c.tensor.rpartition(".")[0] for c in group.carriers if c.tensor.endswith("running_mean")}
    if normed:  # what comes before a norm's own scale does not matter to what comes after
        into = [c for c in into if c.tensor.rpartition(".")[0] in normed]
    return into, out


def _spread(carrier: Carrier, factor: Tensor, like: Tensor) -> Tensor:
    """A number for each unit, laid along the unit's axis of a tensor."""
    along = factor[None, :, None].expand(carrier.outer, len(factor), carrier.inner).reshape(-1)
    shape = [1] * like.ndim
    shape[carrier.axis] = -1
    return along.reshape(shape)


def _unnoticed(
    model: nn.Module, forward: Callable[[nn.Module], Any], group: Group, into: list[Carrier], out: list[Carrier]
) -> bool:
    """Whether a twin with other scales of these units gives the same outputs."""
    twin = copy.deepcopy(model)
    weights = dict(twin.named_parameters())
    factor = torch.exp(torch.randn(group.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    with torch.no_grad(), evaluating(model), evaluating(twin):
        for carriers, power in ((into, factor), (out, 1 / factor)):
            for c in carriers:
                p = weights[c.tensor]
                p.mul_(_spread(c, power, p).to(p))
        before, after = (leaves(forward(m)) for m in (model, twin))
    return all(
        a.shape == b.shape and bool((a - b).abs().max() <= CLOSE * a.abs().max().clamp(min=1e-30))
        for a, b in zip(before, after, strict=True)
        if a.is_floating_point() and a.numel()
    )
