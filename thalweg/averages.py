"""Averaged weights: evaluating with them, and a warning for who evaluates without."""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from thalweg import errors
from thalweg.engine import reference
from thalweg.norms.calibration import recalibrate, running

if TYPE_CHECKING:
    from thalweg.batch import Batch
    from thalweg.optimizer import Optimizer

Forward = Callable[[nn.Module, "Batch"], Any]
_GUARDED: weakref.WeakSet[Optimizer] = weakref.WeakSet()
_WARNED: weakref.WeakSet[Optimizer] = weakref.WeakSet()
_HOOK: RemovableHandle | None = None


class WrongWeights(UserWarning):
    """A model in eval mode ran with weights that its optimizer does not mean to be evaluated."""


def average(optimizer: Optimizer, group: dict[str, Any], p: Tensor) -> Tensor | None:
    """The averaged value of a parameter; None before its first step."""
    saved, rule = optimizer.state.get(p, {}), optimizer.rule
    if "ema" in saved:
        return saved["ema"]  # type: ignore[no-any-return]
    if rule.averaged is None or any(state.name not in saved for state in rule.state if not state.scalar):
        return None
    options = {name: reference.number(group[name]) for name in rule.defaults}
    return reference.averaged(rule, p, [saved[state.name] for state in rule.state], options)


@contextlib.contextmanager
def swapped(optimizer: Optimizer) -> Iterator[None]:
    """Inside, the parameters hold their averages; afterwards they are what they were, to the bit.

    Raises:
        BadOption: the optimizer keeps no average.
    """
    if not optimizer.averages:
        raise errors.BadOption(
            f"{type(optimizer).__name__}: there are no averaged weights",
            "give ema=0.999, or take ScheduleFreeAdamW, whose weights are averages",
        )
    if optimizer.swapped:
        yield
        return
    pairs = [(p, average(optimizer, group, p)) for group in optimizer.param_groups for p in group["params"]]
    kept = [(p, p.detach().clone(), value) for p, value in pairs if value is not None]
    with torch.no_grad():
        for p, _, value in kept:
            p.copy_(value)
    optimizer.swapped = True
    try:
        yield
    finally:
        optimizer.swapped = False
        with torch.no_grad():
            for p, before, _ in kept:
                p.copy_(before)


def adopt(optimizer: Optimizer, model: nn.Module, batches: Iterable[Batch], forward: Forward) -> int:
    """Put the averaged weights and their batch-norm statistics into the model for good; over how many batches."""
    pairs = [(p, average(optimizer, group, p)) for group in optimizer.param_groups for p in group["params"]]
    with torch.no_grad():
        for p, value in pairs:
            if value is not None:
                p.copy_(value)
    optimizer.swapped = True
    return _measured(model, batches, forward)


@contextlib.contextmanager
def statistics(model: nn.Module, batches: Iterable[Batch], forward: Forward) -> Iterator[int]:
    """Inside, batch norms have the statistics of the present weights over some training batches; how many."""
    norms = [norm for _, norm in running(model)]
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    counted = _measured(model, batches, forward)
    try:
        yield counted
    finally:
        with torch.no_grad():
            for norm, buffers in zip(norms, kept, strict=True):
                for name, value in buffers.items():
                    getattr(norm, name).copy_(value)


def _measured(model: nn.Module, batches: Iterable[Batch], forward: Forward) -> int:
    return recalibrate(model, batches, forward) if any(running(model)) else 0


def guard(optimizer: Optimizer) -> None:
    """Warn once when a module in eval mode runs with weights of this optimizer that are not the averaged ones."""
    global _HOOK
    if _HOOK is None:
        _HOOK = register_module_forward_pre_hook(_look)
    _GUARDED.add(optimizer)
    weakref.finalize(optimizer, _release)


def unguard(optimizer: Optimizer) -> None:
    """For a loop that always evaluates with the averaged weights."""
    _GUARDED.discard(optimizer)
    _release()


def _release() -> None:
    """Take the hook back when nothing is left to look after; torch's compiler warns of hooks on all modules."""
    global _HOOK
    if _HOOK is not None and not _GUARDED:
        _HOOK.remove()
        _HOOK = None


def is_guard(hook: object) -> bool:
    """Whether a hook on all modules is that of `guard`, which changes nothing of what they compute.

    Example:
        >>> is_guard(print)
        False
    """
    return hook is _look


def _look(module: nn.Module, _args: Any) -> None:
    if module.training or not module._parameters:
        return
    for optimizer in tuple(_GUARDED):
        if optimizer.swapped or optimizer in _WARNED:
            continue
        if any(p is not None and p in optimizer.state for p in module._parameters.values()):
            _WARNED.add(optimizer)
            warnings.warn(
                f"a model in eval mode runs with the weights that {type(optimizer).__name__} takes gradients at, not "
                f"with its averaged ones\nhint: with optimizer.averaged(): evaluate(model)",
                WrongWeights,
                stacklevel=2,
            )
