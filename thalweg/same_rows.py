"""Linear layers of many members over the same rows, by oneDNN: torch asks MKL, at half the speed on AMD's processors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

try:
    from torch._C._functorch import (
        TransformType,
        _add_batch_dim,
        get_unwrapped,
        is_batchedtensor,
        maybe_get_bdim,
        maybe_get_level,
    )
    from torch._functorch.pyfunctorch import retrieve_current_functorch_interpreter as interpreter

    PRODUCT = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None  # type: ignore[no-untyped-call]
except (ImportError, AttributeError):  # no part of torch's public interface: without it vmap does as it does
    PRODUCT = None


def same_rows(weight: Tensor, rows: Tensor, bias: Tensor | None) -> Tensor | None:
    """W xᵀ + b inside ``vmap``, the same to the bit whatever the number of members; None where it cannot be made so.

    Args:
        weight: of every member, (n, m).
        rows: the same for all, (r, m).
        bias: of every member, (n,).

    Returns:
        (n, r) of every member.

    Example:
        >>> weights, rows = torch.randn(7, 3, 5), torch.randn(4, 5)
        >>> found = torch.vmap(lambda w: same_rows(w, rows, None) if PRODUCT else w @ rows.mT)(weights)
        >>> torch.allclose(found, weights @ rows.mT, atol=1e-6), same_rows(weights[0], rows, None)
        (True, None)
    """
    own = [weight] if bias is None else [weight, bias]
    if PRODUCT is None or is_batchedtensor(rows) or not all(map(_of_members, own)):
        return None
    if any(t.dtype is not torch.float32 or t.device.type != "cpu" for t in (*own, rows)):
        return None
    alone = get_unwrapped(weight).shape[:2].numel() == 1  # a single row goes another way in oneDNN, to other bits
    if alone or 0 in weight.shape or not len(rows):
        return None
    now = interpreter()
    if now.key() != TransformType.Vmap or now.level() != 1:
        return None
    with now.lower():
        found = _Products.apply(get_unwrapped(weight), rows, None if bias is None else get_unwrapped(bias))  # type: ignore[no-untyped-call]
    return _add_batch_dim(found, 0, 1)


def _of_members(tensor: Tensor) -> bool:
    """Whether it is stacked along its first axis, by the outermost ``vmap``."""
    return is_batchedtensor(tensor) and maybe_get_level(tensor) == 1 and maybe_get_bdim(tensor) == 0


class _Products(torch.autograd.Function):
    """(K, n, m), (r, m), (K, n) → (K, n, r)."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: Tensor, biases: Tensor | None) -> Tensor:
        ctx.save_for_backward(weights, rows)
        found = _product(weights, rows).view(*weights.shape[:-1], len(rows))
        return found if biases is None else found.add_(biases[..., None])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, rows = ctx.saved_tensors
        for_weights, for_rows, for_biases = ctx.needs_input_grad
        return (
            _product(grad, rows.mT.contiguous()).view(weights.shape) if for_weights else None,
            grad.flatten(0, 1).mT @ weights.flatten(0, 1) if for_rows else None,
            grad.sum(-1) if for_biases else None,
        )


def _product(many: Tensor, rows: Tensor) -> Tensor:
    """(K, n, m), (r, m) → (K n, r)."""
    assert PRODUCT is not None
    found: Tensor = PRODUCT(many.flatten(0, 1), rows, None, "none", [], "")
    return found
