"""Losses of many members at once, where torch's own kernel is slow: the cross-entropy of few classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

IGNORED = -100  # the target that torch leaves out


class Batched(TorchFunctionMode):
    """Inside, the plain mean cross-entropy is made of operations that run over all members' numbers as one array.

    torch's log-softmax goes row by row, which for rows of ten classes takes three times as long; in a cohort of small
    networks that was a quarter of a step. The numbers are the same up to the rounding of one sum.

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
        if func is F.cross_entropy and (found := _cross_entropy(*args, **(kwargs or {}))) is not None:
            return found
        return func(*args, **(kwargs or {}))


def _cross_entropy(input: Any, target: Any, weight: Any = None, *rest: Any, **more: Any) -> Tensor | None:
    """The mean of −log softmax(input)[target] over rows; None where it was asked for otherwise."""
    usual = {"size_average": None, "ignore_index": IGNORED, "reduce": None, "reduction": "mean", "label_smoothing": 0.0}
    if weight is not None or rest or any(more.get(name, value) != value for name, value in usual.items()):
        return None
    if input.dim() != 2 or target.dim() != 1 or target.is_floating_point() or input.dtype is torch.float16:
        return None
    z = input.float() if input.dtype is torch.bfloat16 else input
    shifted = z - z.detach().amax(-1, keepdim=True)
    counts = target != IGNORED
    chosen = shifted.gather(-1, torch.where(counts, target, 0)[:, None]).squeeze(-1)
    rows = torch.where(counts, shifted.exp().sum(-1).log() - chosen, 0.0)
    mean: Tensor = rows.sum() / counts.sum()
    return mean
