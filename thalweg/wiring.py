"""How a model's layers are wired: which weights act in which order, and which non-linearity takes what they give.

Found by one forward pass that looks at every operator, so that it does not matter how the model is written: functions
as ``F.relu`` count like modules, and shared modules are one layer that is used more than once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .batch import leaves
from .modes import evaluating

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear", "_linear", "einsum"}
CONVOLUTIONS = {"convolution", "convolution_overrideable", "mkldnn_convolution", "cudnn_convolution"}
NORMS = {
    "native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update", "_batch_norm_no_update", "native_layer_norm", "native_group_norm", "_fused_rms_norm",
}  # fmt: skip
ACTIVATIONS = {
    "relu", "leaky_relu", "elu", "gelu", "silu", "mish", "tanh", "sigmoid", "hardtanh", "hardswish", "hardsigmoid",
    "softplus", "_softmax", "_prelu_kernel", "sin", "cos", "abs", "threshold", "log_sigmoid_forward", "rrelu_with_noise",
}  # fmt: skip
PARTS = {"select", "slice", "index", "index_select", "gather", "narrow", "split", "split_with_sizes", "unbind", "chunk"}
TURNS = {"t", "transpose", "permute", "numpy_T", "adjoint"}
RECURRENT = {"mkldnn_rnn_layer", "_cudnn_rnn", "lstm", "gru", "rnn_tanh", "rnn_relu", "_thnn_fused_lstm_cell"}


FIXED, MADE, BATCH = SOURCES = range(3)  # parameters and buffers; what the pass makes from nothing; what it is given


@dataclass
class Layer:
    """A weight in use.

    Attributes:
        weight: full name of the weight.
        name: of the module that owns it.
        kind: ``linear``, ``convolution``, ``embedding`` or ``recurrent``.
        shape: of what it gives, rows first.
        inputs: weights of the layers that its input comes from directly.
        bias: full name of what is added to the product, None for nothing.
        activation: the operator that is the first non-linearity behind it (``relu``, ``tanh``, ...); None: there is none
            before the next layer or the output.
        numbers: that go with the activation: a leaky ReLU's slope, the ends of a clipped one.
        norm: the weight of the normalization between it and its activation, or the next layer; "" for one without a weight.
        branch: where it ends a residual branch, that is, what it gives is added to something that goes around it: the
            parameter that scales the branch, of a normalization behind it, else its own weight.
        block: number of the residual branch that it is in, from 0.
        output: whether the model's output comes from it directly.
        fans: inputs of an output number, and outputs that an input number goes into.
        last: whether the outputs are the weight's last dimension, not its first.
        hidden: units of a recurrent layer.
        uses: how often it acts in a forward pass.
    """

    weight: str
    name: str
    kind: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    bias: str | None = None
    activation: str | None = None
    numbers: tuple[float, ...] = ()
    norm: str | None = None
    branch: str | None = None
    block: int | None = None
    output: bool = False
    fans: tuple[int, int] = (1, 1)
    last: bool = False
    hidden: int = 0
    uses: int = 1
    settled: bool = field(default=False, repr=False)  # what comes first behind it is known


@dataclass(frozen=True)
class _Trail:
    """What is known of a tensor: the layers it comes from with none between, all that it rests on, its parameter.

    ``source``: the last of `SOURCES` that it depends on; ``turned``: whether it is the parameter transposed; ``starts``: the
    tensors of the batch, or parts of them, that it comes from.
    """

    direct: frozenset[str] = frozenset()
    all: frozenset[str] = frozenset()
    parameter: str | None = None
    source: int = FIXED
    turned: bool = False
    starts: frozenset[int] = frozenset()


class Looking(TorchDispatchMode):
    """Follows every tensor of a forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model, self.modules = model, dict(model.named_modules())
        self.layers: dict[str, Layer] = {}
        self.trails: dict[int, _Trail] = {id(buffer): _Trail() for buffer in model.buffers()}
        for name, p in reversed(list(model.named_parameters(remove_duplicate=False))):
            self.trails[id(p)] = _Trail(parameter=name)
        self.blocks = 0
        self.alive: list[Tensor] = []  # an id is good while its tensor lives

    def over(self, forward: Callable[[nn.Module], Any]) -> list[Layer]:
        """The layers that a forward pass shows; see `wiring`."""
        with torch.no_grad(), evaluating(self.model):
            return self.during(forward)

    def during(self, forward: Callable[[nn.Module], Any]) -> list[Layer]:
        """As `over`, in the mode that the model is in; what is calculated from its output, as a loss, is not looked at."""
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # else its products are one operator
        handles = [
            self.model.register_forward_pre_hook(self._begin, prepend=True),
            self.model.register_forward_hook(self._end, always_call=True),
        ]
        try:
            out = forward(self.model)
            if not self.layers:  # a part of the model was called
                with self:
                    out = forward(self.model)
                self._outputs(out)
        finally:
            for handle in handles:
                handle.remove()
            torch.backends.mha.set_fastpath_enabled(fast)
        self.alive.clear()
        return list(self.layers.values())

    def _begin(self, _module: nn.Module, _taken: Any) -> None:
        self.__enter__()  # type: ignore[no-untyped-call]

    def _end(self, _module: nn.Module, _taken: Any, out: Any) -> None:
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._outputs(out)

    def _outputs(self, out: Any) -> None:
        for x in leaves(out):
            for weight in self.trail(x).direct:
                self.layers[weight].output = True

    def trail(self, x: Tensor) -> _Trail:
        """What is known of a tensor; one that nobody has made belongs to the batch."""
        return self.trails.get(id(x), _Trail(source=BATCH, starts=frozenset([id(x)])))

    def look(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and say what its result comes from."""
        out = func(*args, **(kwargs or {}))
        name = str(func).split(".")[1].rstrip("_")
        given = leaves((args, kwargs or {}))
        trails = [self.trail(x) for x in given]
        weights = [t.parameter for t in trails if t.parameter]
        direct = frozenset[str]().union(*(t.direct for t in trails))
        rests = frozenset[str]().union(*(t.all for t in trails))
        source, kind = max((t.source for t in trails), default=MADE), _kind(name)
        acts = kind is not None and any(t.parameter is None for t in trails)
        if weights and source == FIXED and not acts:  # a weight that is calculated from weights
            self.mark(out, self._calculated(name, given, trails) if kind is None else _Trail())
            return out
        own = _acting(name, kind, args, given, self.trail) if kind and acts else None
        if own is not None:
            direct = self.act(own, direct, given, out)
            rests |= direct
        elif kind == "linear":  # a product of two results, as in attention
            self.settle(direct, done=True)
        elif name in NORMS:
            self.normalized()
            self.passed(direct, out)
            self.settle(direct, norm=next(iter(weights), ""))
        elif name in ACTIVATIONS:
            self.passed(direct, out)
            self.settle(direct, activation=name.lstrip("_"), numbers=_numbers(name, args), done=True)
        elif name == "add" and len(given) > 1:
            self.add(given, trails, direct, out)
        starts = frozenset[int]().union(*(t.starts for t in trails))
        part = name in PARTS and not rests
        for x in leaves(out):
            self.mark(x, _Trail(direct, rests, None, source, starts=frozenset([id(x)]) if part else starts))
        return out

    def mark(self, out: Any, trail: _Trail) -> None:
        """Remember it of each tensor of a result."""
        for x in leaves(out):
            self.trails[id(x)] = trail
            self.alive.append(x)

    def passed(self, direct: frozenset[str], out: Any) -> None:
        """What layers gave went through a bias, a normalization or a non-linearity."""

    def normalized(self) -> None:
        """A normalization acts."""

    def _calculated(self, name: str, given: list[Tensor], trails: list[_Trail]) -> _Trail:
        """What an operator makes of parameters: the largest of them, in another form."""
        trail = max(zip(given, trails, strict=True), key=lambda pair: (bool(pair[1].parameter), pair[0].ndim))[1]
        return replace(trail, turned=trail.turned != (name in TURNS))

    def act(self, own: _Acting, direct: frozenset[str], given: list[Tensor], out: Any) -> frozenset[str]:
        """A weight acts, or the several of a recurrent layer; the layers before it have no non-linearity but what was seen."""
        self.settle(direct, done=True)
        shape = tuple(leaves(out)[0].shape)
        for weight in own.weights:
            if weight in self.layers:
                self.layers[weight].uses += 1
                continue
            owner, calculated, _ = weight.partition("parametrizations.")
            owner = owner.rstrip(".") if calculated else weight.rpartition(".")[0]
            module, fans = self.modules.get(owner), own.fans
            kind, hidden = own.kind, 0
            if isinstance(module, nn.RNNBase | nn.RNNCellBase):  # each gate has a matrix of its own
                kind, hidden = "recurrent", int(module.hidden_size)
                fans = int(module._parameters[weight.rpartition(".")[2]].shape[-1]), hidden  # type: ignore[union-attr]
            self.layers[weight] = Layer(
                weight, owner, kind, shape, tuple(sorted(direct)), own.bias, fans=fans, last=own.last, hidden=hidden
            )
        return frozenset(own.weights)

    def settle(self, direct: Iterable[str], done: bool = False, **seen: Any) -> None:
        """What comes behind layers, where it was not known."""
        for layer in (self.layers[weight] for weight in direct):
            if not layer.settled:
                for name, value in seen.items():
                    setattr(layer, name, value)
                layer.settled = done

    def add(self, given: list[Tensor], trails: list[_Trail], direct: frozenset[str], out: Any) -> None:
        """A sum: of a product and its bias, or of a residual branch and what goes around it."""
        bias = next((t.parameter for t in trails if t.parameter), None)
        if bias is not None:
            for layer in (self.layers[weight] for weight in direct):
                if layer.bias in (None, bias) and layer.name == bias.rpartition(".")[0]:
                    layer.bias = bias
                    self.passed(frozenset({layer.weight}), out)
            return
        a, b = trails[:2]
        alone = a.all - b.all, b.all - a.all
        shared = bool(a.all & b.all) or (a.source == b.source == BATCH)
        longer = 0 if len(alone[0]) > len(alone[1]) else 1
        branch, around = (a, b) if longer == 0 else (b, a)
        # Around a branch goes what it begins with, at most through one layer that gives it another width.
        if not shared or len(alone[1 - longer]) > 1 or not alone[longer] or given[0].shape != given[1].shape:
            return
        if len(alone[0]) == len(alone[1]) or not (around.all or around.source == BATCH):
            return
        if not a.all & b.all and not a.starts & b.starts:
            return  # of different inputs
        if alone[1 - longer] and len(branch.direct - around.direct) >= len(alone[longer]):
            return  # layers side by side are no branch
        for weight in branch.direct - around.direct:
            self.layers[weight].branch = self.layers[weight].norm or weight
        for weight in alone[longer]:
            if self.layers[weight].block is None:
                self.layers[weight].block = self.blocks
        self.blocks += 1


# Set here, since torch wraps a method that is defined under this name, and the wrapper imports its compiler: seconds.
Looking.__torch_dispatch__ = Looking.look  # type: ignore[assignment]


def _kind(name: str) -> str | None:
    if name in PRODUCTS:
        return "linear"
    if name in CONVOLUTIONS:
        return "convolution"
    return "embedding" if name == "embedding" else "recurrent" if name in RECURRENT else None


@dataclass(frozen=True)
class _Acting:
    """A weight, or several, in an operator: see `Layer`."""

    weights: tuple[str, ...]
    kind: str
    bias: str | None
    fans: tuple[int, int]
    last: bool = False


def _acting(name: str, kind: str, args: Any, given: list[Tensor], trail: Callable[[Tensor], _Trail]) -> _Acting | None:
    """The weight of a product, a convolution, a look-up or a recurrent layer; None where it is a product of results."""
    if kind == "recurrent":
        own = [(x, place.parameter) for x in given if (place := trail(x)).parameter]
        weights = tuple(str(weight) for x, weight in own if x.ndim > 1)
        bias = next((vector for x, vector in own if x.ndim == 1), None)
        return _Acting(weights, kind, bias, (int(own[0][0].shape[-1]), int(own[0][0].shape[0]))) if weights else None
    if kind == "convolution":
        weight, bias_of = args[1], args[2] if len(args) > 2 else None
        place = trail(weight)
        bias = trail(bias_of).parameter if isinstance(bias_of, Tensor) else None
        transposed, groups = (bool(args[6]), int(args[8])) if len(args) > 8 else (False, 1)
        inside, outside = weight.shape[1], weight.shape[0] // groups
        fans = (outside, inside) if transposed else (inside, outside)
        size = math.prod(weight.shape[2:])
        wide = (fans[0] * size, fans[1] * size)
        return _Acting((place.parameter,), kind, bias, wide, transposed) if place.parameter else None
    if kind == "embedding":
        place = trail(args[0])
        return _Acting((place.parameter,), kind, None, (1, args[0].shape[1]), True) if place.parameter else None
    added = name in ("addmm", "baddbmm")
    bias = trail(args[0]).parameter if added else None
    for k, x in enumerate(args[1:3] if added else args[:2]):
        place = trail(x)
        if place.parameter and x.ndim > 1:
            rows, columns = x.shape[-2:]
            straight = (k == 1) != (name in ("linear", "_linear"))  # x @ W; F.linear turns its weight by itself
            fans = (rows, columns) if straight else (columns, rows)
            return _Acting((place.parameter,), kind, bias, fans, straight != place.turned)
    return None


def _numbers(name: str, args: Any) -> tuple[float, ...]:
    """The numbers among an operator's arguments; of a PReLU the mean slope."""
    if name == "_prelu_kernel":
        return (float(args[1].mean()),)
    return tuple(float(a) for a in args[1:] if isinstance(a, int | float) and not isinstance(a, bool))


def wiring(model: nn.Module, forward: Callable[[nn.Module], Any]) -> list[Layer]:
    """The layers of a model in the order in which they act.

    Args:
        model: run in evaluation mode, and afterwards as before.
        forward: gives the model's output; called once, without gradients.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        >>> for layer in wiring(net, lambda m: m(torch.zeros(2, 4))):
        ...     print(layer.name, layer.kind, layer.activation, layer.output)
        0 linear tanh False
        2 linear None True
    """
    return Looking(model).over(forward)
