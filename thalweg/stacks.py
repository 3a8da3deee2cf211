"""Tensors of many models in one memory: which are stacked, and how they lie there."""

from __future__ import annotations

import collections
import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .batch import Batch
    from .task import Task


def linear_weights(model: nn.Module) -> set[str]:
    """The names of the weights that batched products read turned, and whose gradients they give turned.

    Example:
        >>> linear_weights(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
        {'0.weight'}
    """
    owners = collections.Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    return {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if type(module) is nn.Linear and owners[id(module.weight)] == 1
    }


def stacked(tensors: Sequence[Tensor], turned: bool = False) -> Tensor:
    """A tensor (K, ...) of the tensors' values; their memory is its slices from now on.

    Args:
        tensors: K of them.
        turned: whether matrices (K, n, m) lie in memory as (K, m, n): autograd lays a gradient out as its parameter, and
            a batched product gives it so, which saves a copy of all gradients in every step.

    Example:
        >>> members = [nn.Parameter(torch.full((3, 2), float(k))) for k in range(4)]
        >>> whole = stacked(members, turned=True)
        >>> whole.shape, whole.stride(), bool((whole[2] == 2).all())
        (torch.Size([4, 3, 2]), (6, 1, 3), True)
    """
    with torch.no_grad():
        stack = (
            torch.stack([t.detach().mT for t in tensors]).mT if turned else torch.stack([t.detach() for t in tensors])
        )
        for tensor, place in zip(tensors, stack.unbind(), strict=True):
            tensor.data = place
    return stack.requires_grad_(any(t.requires_grad for t in tensors))


def changed_buffers(task: Task, model: nn.Module, batch: Batch) -> set[str]:
    """The names of the buffers that a forward pass in training mode writes to.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> changed_buffers(task, task.build(0), next(task.prepare().train.batches(8)))
        set()
    """
    twin = copy.deepcopy(model)
    with torch.no_grad():
        task.loss_of(twin, batch)
    after = dict(twin.named_buffers())
    return {name for name, buffer in model.named_buffers() if not equal(buffer, after[name])}


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same shape and numbers.

    Example:
        >>> equal(torch.zeros(2), torch.zeros(3))
        False
    """
    return a.shape == b.shape and bool(torch.equal(a, b))
