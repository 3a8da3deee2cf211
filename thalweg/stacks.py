"""Tensors of many models in one memory: which are stacked, and how they lie there."""

from __future__ import annotations

import collections
import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .batched import turns

if TYPE_CHECKING:
    from .batch import Batch
    from .task import Task


def turned_weights(model: nn.Module, rows: int) -> set[str]:
    """The names of the weights that batched products read turned, and whose gradients they give turned.

    Example:
        >>> turned_weights(nn.Sequential(nn.Linear(2, 300), nn.ReLU(), nn.Linear(300, 2)), rows=64)
        {'0.weight'}
    """
    owners = collections.Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    return {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if type(module) is nn.Linear and owners[id(module.weight)] == 1 and not turns(module.out_features, rows)
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


class Places:
    """Where a model keeps some of its tensors, shared ones in each place, so that others can stand there for a while.

    Args:
        model: whose.
        names: of parameters and buffers, in the order in which the others will come.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> with Places(model, ["weight"]).holding([torch.ones(1, 2)]):
        ...     model(torch.tensor([3.0, 4.0]))
        tensor([7.])
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        known = dict(model.named_parameters()) | dict(model.named_buffers())
        order = {id(known[name]): k for k, name in enumerate(names)}
        self._places: list[tuple[dict[str, Any], str, int]] = [
            (kept, name, order[id(tensor)])
            for module in model.modules()
            for kept in (module._parameters, module._buffers)
            for name, tensor in kept.items()
            if id(tensor) in order
        ]

    @contextmanager
    def holding(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Inside, the model computes with these tensors."""
        before = [kept[name] for kept, name, _ in self._places]
        try:
            for kept, name, k in self._places:
                kept[name] = tensors[k]
            yield
        finally:
            for (kept, name, _), tensor in zip(self._places, before, strict=True):
                kept[name] = tensor


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
