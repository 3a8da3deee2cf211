"""Operations of many members at once, where torch's own way is slow: linear layers and cross-entropy of a few columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .same_rows import same_rows

IGNORED = -100  # the target that torch leaves out
FEW = 32  # classes: up to so many it is faster to turn the rows first


class Batched(TorchFunctionMode):
    """Inside, linear layers with fewer outputs than rows give them turned in memory, and cross-entropy reads them so.

    A batched product is fast where its last axis is long, and log-softmax where it runs over other than the last axis:
    with ten classes and 64 rows that is a third of the time. The numbers are the same up to the rounding of one sum.

    Example:
        >>> logits, classes = torch.randn(5, 3, 10), torch.tensor([1, 0, 7])
        >>> with Batched():
        ...     found = torch.vmap(lambda z: F.cross_entropy(z, classes))(logits)
        >>> torch.allclose(found, torch.stack([F.cross_entropy(z, classes) for z in logits]))
        True
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        own = OWN.get(func)
        if own is not None and (found := own(*args, **(kwargs or {}))) is not None:
            return found
        return func(*args, **(kwargs or {}))


def turns(outputs: int, rows: int) -> bool:
    """Whether a linear layer with so many outputs gives them turned for so many rows.

    Example:
        >>> turns(10, 64), turns(512, 64)
        (True, False)
    """
    return outputs < rows


def _linear(input: Any, weight: Any, bias: Any = None) -> Tensor | None:
    """(W xᵀ + b)ᵀ, rows (n, m) → (n, k); None where it is asked for otherwise."""
    if input.dim() != 2 or weight.dim() != 2 or not turns(weight.shape[0], input.shape[0]):
        return None
    if input.dtype != weight.dtype or torch.is_autocast_enabled(input.device.type):
        return None
    turned = same_rows(weight, input, bias)
    if turned is None:
        turned = weight @ input.mT if bias is None else weight @ input.mT + bias[:, None]
    return turned.mT


def _cross_entropy(input: Any, target: Any, weight: Any = None, *rest: Any, **more: Any) -> Tensor | None:
    """The mean of −log softmax(input)[target] over rows; None where it is asked for otherwise."""
    usual = {"size_average": None, "ignore_index": IGNORED, "reduce": None, "reduction": "mean", "label_smoothing": 0.0}
    if weight is not None or rest or any(more.get(name, value) != value for name, value in usual.items()):
        return None
    if input.dim() != 2 or target.dim() != 1 or target.is_floating_point() or input.dtype is torch.float16:
        return None
    if input.shape[1] > FEW and input.stride(0) > input.stride(1):
        return None
    z = input.float() if input.dtype is torch.bfloat16 else input
    counts, classes = target != IGNORED, torch.arange(z.shape[1], device=target.device)
    known = classes.gather(0, torch.where(counts, target, 0))  # an error for a class that does not exist
    lowest = torch.finfo(z.dtype).min  # instead of −inf, which times 0 is no number; twice that is −inf again
    logs = F.threshold(F.log_softmax(z.mT, 0), lowest, lowest)
    chosen = logs * ((classes[:, None] == known) & counts).to(z.dtype)
    mean: Tensor = (-2 * chosen.sum()) / (2 * counts.sum())
    return mean


OWN: dict[Callable[..., Any], Callable[..., Tensor | None]] = {F.linear: _linear, F.cross_entropy: _cross_entropy}
