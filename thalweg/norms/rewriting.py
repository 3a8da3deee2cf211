"""A model on the way to its new form: every change of its layers knows how to be undone."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import parametrize

from ..batch import leaves
from ..errors import BadTask
from ..modes import batch_statistics, evaluating
from ..seeds import stream
from ..wiring import Layer, Looking
from .kinds import KNOWN, WeightNorm, make

Forward = Callable[[nn.Module], Any]
Undo = Callable[[], Any]
SAME = 1e-3  # relative difference of outputs, below which a bias has no effect
_NORM = re.compile(r"norm(\dd)?$", re.I)


class _Norming(Looking):  # type: ignore[no-untyped-call]
    """Which modules normalize: by themselves, or by a function that they call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.inside: list[str] = []
        self.norming: set[str] = set()

    def over(self, forward: Forward) -> list[Layer]:
        """See `Looking.over`."""

        def left(*_: Any) -> None:
            self.inside.pop()

        handles = []
        for name, module in self.modules.items():
            handles += [
                module.register_forward_pre_hook(lambda *_, name=name: self.inside.append(name)),
                module.register_forward_hook(left, always_call=True),
            ]
        try:
            return super().over(forward)
        finally:
            for handle in handles:
                handle.remove()

    def normalized(self) -> None:
        """A normalization acts in the module that runs."""
        self.norming.add(self.inside[-1] if self.inside else "")


class Rewriting:
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
        look = _Norming(model)
        self.layers, self.norming = look.over(same), look.norming
        self.shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # of what modules take and give
        self.before = self.look()

    def look(self) -> Any:
        """The model's output on the batch; the shapes of what modules take and give are noted."""

        def note(name: str) -> Callable[..., None]:
            def hook(_module: nn.Module, taken: Any, named: Any, given: Any) -> None:
                a, b = next(iter(leaves((taken, named))), None), next(iter(leaves(given)), None)
                if a is not None and b is not None:
                    self.shapes[name] = tuple(a.shape), tuple(b.shape)

            return hook

        handles = [module.register_forward_hook(note(name), with_kwargs=True) for name, module in self.modules.items()]
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

    def _with_norms(self) -> list[Any]:
        """The model's output, and that of every normalization layer: what is multiplied by zero behind it shows there."""
        seen: list[Any] = []
        norms = [m for m in self.model.modules() if isinstance(m, KNOWN)]
        handles = [m.register_forward_hook(lambda _m, _a, out: seen.append(out)) for m in norms]
        try:
            return [self.forward(self.model), *seen]
        finally:
            for handle in handles:
                handle.remove()

    def exchange(self, name: str, old: nn.Module, new: nn.Module) -> None:
        """Put a module in the place of another, wherever that is used."""
        place = _place(old, self.model)
        (new.to(*place) if place else new).train(old.training)
        then = _place(new, self.model)

        def back(parent: nn.Module, key: str) -> None:
            now = _place(new, self.model)
            setattr(parent, key, (old.to(*now) if now and now != then else old).train(new.training))

        for parent in list(self.model.modules()):
            for key, child in list(parent._modules.items()):
                if child is old:
                    setattr(parent, key, new)
                    self.undo.append(functools.partial(back, parent, key))
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
        weight = module._parameters.get(own)
        if weight is None:
            return  # it is calculated already
        if sum(p is weight for _, p in self.model.named_parameters(remove_duplicate=False)) > 1:
            raise BadTask(f"norm: {layer.weight} is shared with another layer", "leave norm=keep")
        order = list(module._parameters)
        parametrize.register_parametrization(module, own, WeightNorm())

        def back() -> None:  # the same parameter as before, with what was learned
            value = getattr(module, own).detach()
            parametrize.remove_parametrizations(module, own, leave_parametrized=True)
            delattr(module, own)
            with torch.no_grad():
                weight.data = value.to(weight.dtype)
            module.register_parameter(own, weight)
            for name in order:  # what is found by its number, as an optimizer's state, finds it there
                module._parameters[name] = module._parameters.pop(name)

        self.undo.append(back)
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
                kept, without = own.clone(), self._with_norms()
                try:
                    own.add_(torch.linspace(-1, 1, own.numel(), device=own.device, dtype=own.dtype).sin().flip(0))
                    shifted = self._with_norms()
                finally:
                    own.copy_(kept)
            if apart(without, shifted) < SAME:
                self.bias(owner, None)


def _words(norm: nn.Module) -> str:
    """A normalization and its channels, in a word."""
    groups = f"{norm.num_groups} groups of " if isinstance(norm, nn.GroupNorm) else ""
    weight = getattr(norm, "weight", None)
    return f"{type(norm).__name__}({groups}{weight.numel()})" if isinstance(weight, Tensor) else type(norm).__name__


def _normalize(module: nn.Module, _taken: Any, given: Any) -> Any:
    return module.norm(given)  # type: ignore[operator]


def apart(a: Any, b: Any) -> float:
    """The largest difference of two outputs over the largest number of the first."""
    pairs = list(zip(leaves(a), leaves(b), strict=True))
    size = max((float(x.abs().max()) for x, _ in pairs if x.is_floating_point() and x.numel()), default=0.0)
    return max((float((x - y).abs().max()) for x, y in pairs if x.is_floating_point()), default=0.0) / (size or 1.0)


def channels(module: nn.Module) -> int:
    """What a linear layer or a convolution gives."""
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)  # type: ignore[arg-type]


def _place(*modules: nn.Module) -> tuple[torch.device, torch.dtype] | None:
    """Device and dtype of the first number with a fraction that one of the modules has."""
    tensors = (x for module in modules for x in (*module.parameters(), *module.buffers()) if x.is_floating_point())
    first = next(tensors, None)
    return None if first is None else (first.device, first.dtype)
