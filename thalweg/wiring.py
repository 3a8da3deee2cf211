"""How a model's layers are wired: which weights act in which order, and which non-linearity takes what they give.

Found by one forward pass that looks at every operator, so that it does not matter how the model is written: functions
as ``F.relu`` count like modules, and shared modules are one layer that is used more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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
        slope: of a leaky ReLU's negative side; 0 for others.
        norm: the weight of the normalization between it and its activation, or the next layer; "" for one without a weight.
        branch: where it ends a residual branch, that is, what it gives is added to something that goes around it: the
            parameter that scales the branch, of a normalization behind it, else its own weight.
        block: number of the residual branch that it is in, from 0.
        output: whether the model's output comes from it directly.
        uses: how often it acts in a forward pass.
    """

    weight: str
    name: str
    kind: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    bias: str | None = None
    activation: str | None = None
    slope: float = 0.0
    norm: str | None = None
    branch: str | None = None
    block: int | None = None
    output: bool = False
    uses: int = 1
    settled: bool = field(default=False, repr=False)  # what comes first behind it is known


@dataclass(frozen=True)
class _Trail:
    """What is known of a tensor: the layers it comes from with none between, all that it rests on, its parameter.

    ``source``: the last of `SOURCES` that it depends on.
    """

    direct: frozenset[str] = frozenset()
    all: frozenset[str] = frozenset()
    parameter: str | None = None
    source: int = FIXED


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
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # else its products are one operator
        try:
            with torch.no_grad(), evaluating(self.model), self:
                out = forward(self.model)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        for x in leaves(out):
            for weight in self.trail(x).direct:
                self.layers[weight].output = True
        self.alive.clear()
        return list(self.layers.values())

    def trail(self, x: Tensor) -> _Trail:
        """What is known of a tensor; one that nobody has made belongs to the batch."""
        return self.trails.get(id(x), _Trail(source=BATCH))

    def look(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and say what its result comes from."""
        out = func(*args, **(kwargs or {}))
        name = str(func).split(".")[1].rstrip("_")
        given = leaves((args, kwargs or {}))
        trails = [self.trail(x) for x in given]
        weights = [(x, t.parameter) for x, t in zip(given, trails, strict=True) if t.parameter]
        direct = frozenset[str]().union(*(t.direct for t in trails))
        rests = frozenset[str]().union(*(t.all for t in trails))
        source, kind = max((t.source for t in trails), default=MADE), _kind(name)
        acts = kind is not None and any(t.parameter is None for t in trails)
        if weights and source == FIXED and not acts:  # a weight that is calculated from weights
            self.mark(out, _Trail(parameter=max(weights, key=lambda w: w[0].ndim)[1]))
            return out
        if weights and kind and acts:
            direct = self.act(kind, weights, direct, given, out)
            rests |= direct
        elif kind == "linear":  # a product of two results, as in attention
            self.settle(direct, done=True)
        elif name in NORMS:
            self.passed(direct, out)
            self.settle(direct, norm=next((p for _, p in weights), ""))
        elif name in ACTIVATIONS:
            self.passed(direct, out)
            self.settle(direct, activation=name.lstrip("_"), slope=_slope(name, args), done=True)
        elif name == "add" and len(given) > 1:
            self.add(given, trails, direct, out)
        self.mark(out, _Trail(direct, rests, None, source))
        return out

    def mark(self, out: Any, trail: _Trail) -> None:
        """Remember it of each tensor of a result."""
        for x in leaves(out):
            self.trails[id(x)] = trail
            self.alive.append(x)

    def passed(self, direct: frozenset[str], out: Any) -> None:
        """What layers gave went through a bias, a normalization or a non-linearity."""

    def act(
        self, kind: str, weights: list[tuple[Tensor, str]], direct: frozenset[str], given: list[Tensor], out: Any
    ) -> frozenset[str]:
        """A weight acts, or the several of a recurrent layer; the layers before it have no non-linearity but what was seen."""
        self.settle(direct, done=True)
        shape = tuple(leaves(out)[0].shape)
        matrices = [name for x, name in weights if x.ndim > 1]
        bias = next((name for x, name in weights if x.ndim == 1), None)
        for weight in matrices[: None if kind == "recurrent" else 1]:
            if weight in self.layers:
                self.layers[weight].uses += 1
                continue
            owner = weight.partition("parametrizations.")[0].rstrip(".")
            owner = owner if "parametrizations." in weight else weight.rpartition(".")[0]
            inside = isinstance(self.modules.get(owner), nn.RNNBase | nn.RNNCellBase)
            own = "recurrent" if inside else kind
            self.layers[weight] = Layer(weight, owner, own, shape, tuple(sorted(direct)), bias)
        return frozenset(matrices)

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
        for branch, around in (trails[:2], trails[1::-1]):
            if (around.all or around.source == BATCH) and around.all < branch.all and given[0].shape == given[1].shape:
                for weight in branch.direct - around.direct:
                    self.layers[weight].branch = self.layers[weight].norm or weight
                for weight in branch.all - around.all:
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


def _slope(name: str, args: Any) -> float:
    if name != "leaky_relu":
        return 0.0
    return float(args[1]) if len(args) > 1 else 0.01


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
