"""Normalization put in, exchanged or taken out of the user's own model.

A model that has normalization layers gets others in their places; one that has none gets them before its
non-linearities, as ``norm`` inside the layer whose output they take: all other names stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from ..batch import leaves
from ..errors import BadOption, BadTask
from .kinds import CENTRED, make, read
from .rewriting import Forward, Rewriting, Undo, channels


@dataclass(frozen=True)
class Swap:
    """What was done to a model.

    Attributes:
        placed: (where, what): the module that was exchanged or that it follows, and the new layer.
        biases: those that a normalization makes useless, and that were dropped.
        added: those that were put in where a normalization was taken out.
    """

    placed: tuple[tuple[str, str], ...]
    biases: tuple[str, ...]
    added: tuple[str, ...]
    _undo: tuple[Callable[[], Any], ...] = ()

    def undo(self) -> None:
        """The model as it was; what was learned in the new layers is lost."""
        for back in reversed(self._undo):
            back()

    def then(self, also: Undo) -> Swap:
        """The same, with something more to undo."""
        return replace(self, _undo=(*self._undo, also))

    def __str__(self) -> str:
        lines = [f"{where}: {what}" for where, what in self.placed]
        lines += [f"{name}: dropped, the normalization takes it away" for name in self.biases]
        return "\n".join([*lines, *(f"{name}: put in" for name in self.added)]) or "nothing changed"


def swap(model: nn.Module, how: str, forward: Forward) -> Swap:
    """Give a model other normalization layers, in place.

    Where it has some, each is exchanged. Where it has none, one follows every linear layer and convolution whose output
    goes into a non-linearity. ``none`` takes them out, and gives a layer before them that has no bias one; ``weight``
    normalizes the weights instead. A bias without effect, before batch or instance norm, is dropped.

    Args:
        model: any module.
        how: ``keep``, ``none``, ``batch``, ``layer``, ``group``, ``group(n)``, ``instance``, ``rms`` or ``weight``.
        forward: gives the model's output on a batch of at least two rows.

    Returns:
        What was done, which can be undone.

    Raises:
        BadOption: the kind does not fit a layer's shape; the model is as before.
        BadTask: a layer cannot be rewritten, or the changed model fails; the model is as before.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> done = swap(net, "batch", lambda m: m(torch.randn(5, 4)))
        >>> print(done)
        0.norm: BatchNorm1d(8)
        0.bias: dropped, the normalization takes it away
        >>> done.undo()
        >>> net[0]
        Linear(in_features=4, out_features=8, bias=True)
    """
    kind, groups = read(how)
    if kind == "keep":
        return Swap((), (), ())
    work = Rewriting(model, forward)
    try:
        _change(work, kind, groups)
        shapes = [[tuple(x.shape) for x in leaves(out)] for out in (work.before, work.look())]
        if shapes[0] != shapes[1]:
            raise BadTask(f"norm={how}: the output's shape {shapes[0]} became {shapes[1]}", "leave norm=keep")
    except BaseException as error:
        for back in reversed(work.undo):
            back()
        if not isinstance(error, Exception) or isinstance(error, BadOption | BadTask):
            raise
        raise BadTask(
            f"norm={how}: the model does not run with it: {type(error).__name__}: {error}", "leave norm=keep"
        ) from error
    return Swap(tuple(work.placed), tuple(work.biases), tuple(work.added), tuple(work.undo))


def _change(work: Rewriting, kind: str, groups: int | None) -> None:
    norms = list(work.norms())
    called = work.norming - {name for name, _ in norms}
    if called:
        name = min(called)
        raise BadTask(
            f"norm: {name or 'the model'} ({type(work.modules[name]).__name__}) calls a normalization as a function, which "
            "cannot be exchanged",
            "use torch's normalization layers, or leave norm=keep",
        )
    behind = {layer.norm: layer for layer in work.layers if layer.norm}
    for name, old in norms:
        before = behind.get(f"{name}.weight".lstrip("."))
        if kind in ("none", "weight"):
            work.exchange(name, old, nn.Identity())
            centred = not isinstance(old, nn.LayerNorm | nn.RMSNorm) and before is not None and before.bias is None
            module = work.modules.get(before.name) if before is not None else None
            if centred and isinstance(module, nn.Linear | _ConvNd) and module.bias is None:
                work.bias(before.name if before else "", module.weight.new_zeros(channels(module)))
            continue
        shape = work.shapes[name][0]
        try:
            new = make(kind, groups, shape, last=_channels_last(name, old, shape))
        except BadOption as error:
            raise BadOption(f"norm: {name}: {error.message}", error.hint) from None
        work.exchange(name, old, new)
    inner = [layer for layer in work.layers if layer.kind in ("linear", "convolution")]
    if kind == "weight":
        for layer in inner:
            work.weigh(layer)
    elif kind != "none" and not norms:
        inner = [layer for layer in inner if layer.activation not in (None, "softmax") and not layer.output]
        if not inner:
            raise BadTask("norm: no layer goes into a non-linearity", "leave norm=keep")
        for layer in inner:
            try:
                work.insert(layer, kind, groups)
            except BadOption as error:
                raise BadOption(f"norm: {layer.name}: {error.message}", error.hint) from None
    if kind in CENTRED:
        work.drop_biases([layer.name for layer in inner if layer.norm or not norms])


def _channels_last(name: str, old: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a layer normalizes over the last dimension rather than by the second.

    A layer of torch's own says so by its class; any other by which dimension has as many numbers as its weight.
    """
    if type(old) in (nn.LayerNorm, nn.RMSNorm):
        return len(old.normalized_shape) == 1  # type: ignore[arg-type]
    if type(old).__module__.startswith("torch.nn") or len(shape) < 3:
        return False
    weight = next((p for p in (*old.parameters(), *old.buffers()) if p.numel() > 1), None)
    size = 0 if weight is None else weight.numel()
    if (size == shape[1]) == (size == shape[-1]):
        raise BadTask(
            f"norm: {name} is a {type(old).__name__}, of which nobody knows by which of the dimensions {tuple(shape)} it goes",
            "use one of torch's normalization layers, or leave norm=keep",
        )
    return size == shape[-1]
