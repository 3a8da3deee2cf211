"""Normalization put in, exchanged or taken out of the user's own model.

A model that has normalization layers gets others in their places; one that has none gets them before its
non-linearities, as ``norm`` inside the layer whose output they take: all other names stay.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import fusion, parametrize

from ..batch import leaves
from ..errors import BadOption, BadTask
from ..modes import batch_statistics, evaluating
from ..seeds import stream
from ..wiring import Layer, wiring
from .kinds import CENTRED, KNOWN, ChannelsLast, WeightNorm, make, read

Forward = Callable[[nn.Module], Any]
Undo = Callable[[], Any]
SAME = 1e-3  # relative difference of outputs, below which a bias has no effect
FUSED = 1e-5  # the same of a model and its fused form
_NORM = re.compile(r"norm(\dd)?$", re.I)


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

    def __str__(self) -> str:
        lines = [f"{where}: {what}" for where, what in self.placed]
        lines += [f"{name}: dropped, the normalization takes it away" for name in self.biases]
        return "\n".join([*lines, *(f"{name}: put in" for name in self.added)]) or "nothing changed"


class _Work:
    """A model on the way to its new form; every change knows how to be undone."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        self.model = model

        def same(model: nn.Module) -> Any:  # each time, also where it draws its batch
            with stream(0, "norm"):
                return forward(model)

        self.forward = same
        self.placed: list[tuple[str, str]] = []
        self.biases: list[str] = []
        self.added: list[str] = []
        self.undo: list[Undo] = []
        self.modules = dict(model.named_modules())
        self.layers = wiring(model, same)
        self.shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # of what modules take and give
        self.before = self._look()

    def _look(self) -> Any:
        def note(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, taken: Any, given: Any) -> None:
                a, b = next(iter(leaves(taken)), None), next(iter(leaves(given)), None)
                if a is not None and b is not None:
                    self.shapes[name] = tuple(a.shape), tuple(b.shape)

            return hook

        handles = [module.register_forward_hook(note(name)) for name, module in self.modules.items()]
        try:
            with torch.no_grad(), evaluating(self.model):
                return self.forward(self.model)
        finally:
            for handle in handles:
                handle.remove()

    def norms(self) -> Iterator[tuple[str, nn.Module]]:
        """The normalization layers that acted."""
        for name, module in self.modules.items():
            known = isinstance(module, KNOWN) or (_NORM.search(type(module).__name__) and not list(module.children()))
            if known and name in self.shapes and "parametrizations." not in name:
                yield name, module

    def exchange(self, name: str, old: nn.Module, new: nn.Module) -> None:
        """Put a module in the place of another, wherever that is used."""
        first = next(self.model.parameters())
        new.to(first.device, first.dtype).train(old.training)
        for parent in list(self.model.modules()):
            for key, child in list(parent._modules.items()):
                if child is old:
                    setattr(parent, key, new)
                    self.undo.append(lambda parent=parent, key=key: setattr(parent, key, old))  # type: ignore[misc]
            if isinstance(parent, nn.TransformerEncoderLayer) and parent.activation_relu_or_gelu:
                mark = parent.activation_relu_or_gelu  # its fast path in evaluation knows layer norm only
                parent.activation_relu_or_gelu = 0
                self.undo.append(lambda parent=parent, mark=mark: setattr(parent, "activation_relu_or_gelu", mark))  # type: ignore[misc]
        self.placed.append((name, _words(new)))

    def bias(self, owner: str, value: Tensor | None) -> None:
        """Give a layer a bias, or take it away."""
        module = self.modules[owner]
        old = module.bias
        module.bias = None if value is None else nn.Parameter(value)
        self.undo.append(lambda: setattr(module, "bias", old))
        (self.biases if value is None else self.added).append(f"{owner}.bias".lstrip("."))

    def insert(self, layer: Layer, kind: str, groups: int | None) -> None:
        """A normalization of what a layer gives."""
        module = self.product(layer)
        new = make(kind, groups, self.shapes[layer.name][1], last=isinstance(module, nn.Linear))
        module.add_module("norm", new.to(module.weight.device, module.weight.dtype).train(module.training))
        handle = module.register_forward_hook(_normalize)
        self.undo += [lambda: delattr(module, "norm"), handle.remove]
        self.placed.append((f"{layer.name}.norm".lstrip("."), _words(new)))

    def weigh(self, layer: Layer) -> None:
        """Weight normalization: w = g · v / |v|, a g a unit."""
        module, own = self.modules[layer.name], layer.weight.rpartition(".")[2]
        parametrize.register_parametrization(module, own, WeightNorm())
        self.undo.append(lambda: parametrize.remove_parametrizations(module, own))
        self.placed.append((layer.weight, "weight norm"))

    def product(self, layer: Layer) -> Any:
        """The module whose output is a layer's."""
        module = self.modules.get(layer.name)
        if not isinstance(module, nn.Linear | _ConvNd) or layer.name not in self.shapes:
            kind = "nothing" if module is None else type(module).__name__
            raise BadTask(
                f"norm: {layer.weight} is used in {kind}, whose output is not that of a linear layer or a convolution",
                "write it as nn.Linear or nn.Conv2d, or leave norm=keep",
            )
        return module

    def drop_biases(self, owners: Sequence[str]) -> None:
        """Take away the biases that have no effect on the output when batch norms see the batch."""
        for owner in owners:
            module = self.modules[owner]
            if not isinstance(module, nn.Linear | _ConvNd) or isinstance(module, NonDynamicallyQuantizableLinear):
                continue  # attention insists on the bias of its last layer
            if module.bias is None:
                continue
            own = module.bias
            with torch.no_grad(), batch_statistics(self.model), evaluating(self.model):
                kept, without = own.clone(), self.forward(self.model)
                try:
                    own.add_(torch.linspace(-1, 1, own.numel(), device=own.device, dtype=own.dtype).sin().flip(0))
                    shifted = self.forward(self.model)
                finally:
                    own.copy_(kept)
            if _apart(without, shifted) < SAME:
                self.bias(owner, None)


def _words(norm: nn.Module) -> str:
    """A normalization and its channels, in a word."""
    inner: Any = norm.norm if isinstance(norm, ChannelsLast) else norm
    groups = f"{inner.num_groups} groups of " if isinstance(inner, nn.GroupNorm) else ""
    return (
        f"{type(inner).__name__}({groups}{inner.weight.numel()})" if hasattr(inner, "weight") else type(inner).__name__
    )


def _normalize(module: nn.Module, _taken: Any, given: Any) -> Any:
    return module.norm(given)  # type: ignore[operator]


def _apart(a: Any, b: Any) -> float:
    """The largest difference of two outputs over the largest number of the first."""
    pairs = list(zip(leaves(a), leaves(b), strict=True))
    size = max((float(x.abs().max()) for x, _ in pairs if x.is_floating_point() and x.numel()), default=0.0)
    return max((float((x - y).abs().max()) for x, y in pairs if x.is_floating_point()), default=0.0) / (size or 1.0)


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
    work = _Work(model, forward)
    try:
        _change(work, kind, groups)
        shapes = [[tuple(x.shape) for x in leaves(out)] for out in (work.before, work._look())]
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


def _change(work: _Work, kind: str, groups: int | None) -> None:
    norms = list(work.norms())
    behind = {layer.norm: layer for layer in work.layers if layer.norm}
    for name, old in norms:
        before = behind.get(f"{name}.weight".lstrip("."))
        if kind in ("none", "weight"):
            work.exchange(name, old, nn.Identity())
            centred = not isinstance(old, nn.LayerNorm | nn.RMSNorm) and before is not None and before.bias is None
            module = work.modules.get(before.name) if before is not None else None
            if centred and isinstance(module, nn.Linear | _ConvNd) and module.bias is None:
                work.bias(before.name if before else "", module.weight.new_zeros(_channels(module)))
            continue
        shape = work.shapes[name][0]
        try:
            new = make(kind, groups, shape, last=_channels_last(old, shape))
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


def _channels(module: nn.Module) -> int:
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)  # type: ignore[arg-type]


def _channels_last(old: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a layer normalizes over the last dimension rather than by the second."""
    if isinstance(old, nn.LayerNorm | nn.RMSNorm):
        return len(old.normalized_shape) == 1
    if isinstance(old, KNOWN) or len(shape) < 3:
        return False
    weight = getattr(old, "weight", None)
    return isinstance(weight, Tensor) and weight.numel() == shape[-1]


def fuse(model: nn.Module, forward: Forward) -> nn.Module:
    """A copy for inference whose batch norms are folded into the linear layers and convolutions before them.

    w' = w · γ/σ, b' = (b − μ) · γ/σ + β, with the running μ and σ. One that something else reads as well stays.

    Args:
        model: left as it is.
        forward: gives the model's output on a batch, on which the copy differs by less than 1e-5 of its largest number.

    Returns:
        The copy, in evaluation mode.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> fuse(net, lambda m: m(torch.randn(2, 1, 8, 8)))[1]
        Identity()
    """
    twin = copy.deepcopy(model).eval()
    work = _Work(twin, forward)
    for layer in work.layers:
        module = work.modules.get(layer.name)
        name = (layer.norm or "").rpartition(".")[0]
        norm = work.modules.get(name) if layer.norm else None
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
            continue
        if isinstance(module, nn.Linear):
            new: nn.Module = fusion.fuse_linear_bn_eval(module, norm)
        elif isinstance(module, _ConvNd):
            new = fusion.fuse_conv_bn_eval(module, norm, transpose=module.transposed)
        else:
            continue
        had, before = len(work.undo), work.forward
        if name == f"{layer.name}.norm".lstrip("."):  # put in by `swap`
            delattr(new, "norm")
            new._forward_hooks.clear()
        else:
            work.exchange(name, norm, nn.Identity())
        work.exchange(layer.name, module, new)
        with torch.no_grad():
            wrong = _apart(work.before, before(twin)) >= FUSED
        if wrong:
            while len(work.undo) > had:
                work.undo.pop()()
        else:
            work.modules = dict(twin.named_modules())
    return twin
