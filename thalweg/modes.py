"""Training and evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluating(model: nn.Module, now: bool = True) -> Iterator[None]:
    """Inside, the model is in evaluation mode, if ``now``; afterwards each module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    if now:
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, batch norms go by the statistics of each batch, in whatever mode; their running ones are kept as they are."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    kept = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    handles = [norm.register_forward_pre_hook(_train) for norm in norms]
    modes = [norm.training for norm in norms]
    try:
        yield
    finally:
        for norm, handle, mode, buffers in zip(norms, handles, modes, kept, strict=True):
            handle.remove()
            norm.training = mode
            for name, value in buffers.items():
                getattr(norm, name).copy_(value)


def _train(module: nn.Module, _args: Any) -> None:
    module.training = True


@contextmanager
def not_in_place(model: nn.Module) -> Iterator[None]:
    """Inside, non-linearities leave what they take as it is."""
    modules: list[Any] = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    for module in modules:
        module.inplace = False
    try:
        yield
    finally:
        for module in modules:
            module.inplace = True
