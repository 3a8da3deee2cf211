"""Small parameters laid side by side in one tensor, so that one call of a rule updates all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOST = 1_000_000  # numbers; above it the arithmetic takes longer than the calls
WORTH = 2  # parameters


class Flat:
    """A run of an optimizer on parameters that are views of one tensor; each keeps its name, shape and gradient.

    Rules act on each number alone, so the result is the same to the bit. A parameter that a batch leaves without a
    gradient keeps its value and its state.

    Args:
        optimizer: it has not made a step yet; the parameters in its groups are replaced by one for all of them.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._grads: dict[nn.Parameter, Tensor] = {}
        self._parts: list[tuple[nn.Parameter, list[nn.Parameter], list[int]]] = []
        for group in optimizer.param_groups:
            fit = [p for p in group["params"] if _fits(p)]
            if len(fit) < WORTH or sum(p.numel() for p in fit) > MOST:
                continue
            whole = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in fit]))
            sizes = [p.numel() for p in fit]
            for p, piece in zip(fit, torch.split(whole.data, sizes), strict=True):
                p.data = piece.view_as(p)
            members = set(fit)
            group["params"] = [whole, *(p for p in group["params"] if p not in members)]
            self._parts.append((whole, fit, sizes))
            self._grads[whole] = torch.empty_like(whole.data)

    def gather(self) -> list[tuple[Tensor, Tensor]]:
        """Hand the gradients to the optimizer; returns what has to be put back after its step, with the old values."""
        kept: list[tuple[Tensor, Tensor]] = []
        for whole, parts, sizes in self._parts:
            missing = [i for i, p in enumerate(parts) if p.grad is None]
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parts]
            whole.grad = torch.cat([g.reshape(-1) for g in grads], out=self._grads[whole])
            if missing:
                same = [
                    t for t in self._optimizer.state[whole].values() if isinstance(t, Tensor) and t.shape == whole.shape
                ]
                for tensor in (whole.data, *same):
                    pieces = torch.split(tensor, sizes)
                    kept += [(pieces[i], pieces[i].clone()) for i in missing]
        return kept

    def clear(self, kept: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Put back what `gather` returned, and forget the gathered gradients."""
        for place, value in kept:
            place.copy_(value)
        for whole, _, _ in self._parts:
            whole.grad = None


def _fits(p: nn.Parameter) -> bool:
    plain = p.dtype is torch.float32 and p.device.type == "cpu" and p.is_contiguous() and type(p) is nn.Parameter
    return plain and p.grad is not None and p.grad.layout is torch.strided
