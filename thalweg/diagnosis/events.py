"""Notices from torch while somebody listens: a backward pass, a loss that is scaled, an optimizer that is made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor


class Listener(Protocol):
    """Who is told."""

    def before_backward(self, root: Tensor) -> None:
        """``root.backward()`` is about to run."""

    def after_backward(self) -> None:
        """It has run."""

    def scaled(self, root: Any, result: Any, scaler: Any) -> None:
        """A GradScaler multiplied a loss by its scale."""


_listeners: list[Listener] = []
_originals: dict[str, Any] = {}


def _backward(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    for listener in _listeners:
        listener.before_backward(self)
    result = _originals["backward"](self, *args, **kwargs)
    for listener in _listeners:
        listener.after_backward()
    return result


def _scale(self: Any, outputs: Any) -> Any:
    result = _originals["scale"](self, outputs)
    for listener in _listeners:
        listener.scaled(outputs, result, self)
    return result


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener. The two methods of torch are replaced while there is one, and are then as they were."""
    if not _listeners:
        _originals.update(backward=Tensor.backward, scale=torch.amp.GradScaler.scale)
        Tensor.backward = _backward  # type: ignore[method-assign]
        torch.amp.GradScaler.scale = _scale  # type: ignore[method-assign]
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
        if not _listeners:
            Tensor.backward = _originals.pop("backward")  # type: ignore[method-assign]
            torch.amp.GradScaler.scale = _originals.pop("scale")  # type: ignore[method-assign]


@contextlib.contextmanager
def optimizers_made(tell: Callable[[torch.optim.Optimizer], None]) -> Iterator[None]:
    """Tell of every optimizer that is made."""
    original = torch.optim.Optimizer.__init__

    def init(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        tell(self)

    torch.optim.Optimizer.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.optim.Optimizer.__init__ = original  # type: ignore[method-assign]
