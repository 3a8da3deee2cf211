"""Initial weights: a scheme of the table put on the user's own model, by what each weight does there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..console import columns
from ..errors import BadOption
from ..modes import batch_statistics
from ..seeds import stream
from ..wiring import Layer, Looking, wiring
from .schemes import FANS, SCHEMES, gain, read, shown
from .weights import Weights

Forward = Callable[[nn.Module], Any]
Prior = Callable[[int], "Tensor | None"]
TOLERANCE = 0.05  # of LSUV's variance
PASSES = 10


@dataclass(frozen=True)
class Row:
    """What was done to a weight: standard deviations asked for and got; None: the scheme has none."""

    layer: str
    role: str
    scheme: str
    fan: int
    gain: float | None
    asked: float | None
    got: float


@dataclass(frozen=True)
class Initialization:
    """What was done to a model.

    Attributes:
        rows: a line a weight.
        notes: what else was done, and what could not be.
        groups: the rates by name that go with the weights (``mup``); for ``Recipe(groups=...)``.
        groups_by_size: the same for optimizers whose steps are as long as the gradient says: SGD and momentum.
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    groups_by_size: dict[str, dict[str, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            (r.layer, r.role, r.scheme, str(r.fan), _number(r.gain), _number(r.asked), _number(r.got))
            for r in self.rows
        ]
        head = ("layer", "role", "scheme", "fan in", "gain", "std asked", "std got")
        return "\n".join([columns([head, *lines]), *self.notes])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def initialize(
    model: nn.Module, scheme: str, forward: Forward, *, seed: int | None = 0, prior: Prior = lambda outputs: None
) -> Initialization:
    """Give a model new weights, in place.

    Linear layers and convolutions get the scheme, with the gain of the non-linearity that follows them (see `gain`), and
    zero as bias; embeddings only from ``normal``, ``constant`` and ``zeros``; normalizations stay as they were built, and
    so does what is not trained (``requires_grad`` False).

    Args:
        model: its layers are found by `wiring`.
        scheme: names of `SCHEMES` and `AFTER`, joined by ``+``; arguments in brackets: ``sparse(15)``.
        forward: gives the model's output on a batch; ``lsuv`` gives every layer variance 1 there.
        seed: of the stream ``"init"``; None: draws come from the global generator.
        prior: gives the bias of so many outputs, for ``output_bias``; see `output_prior`.

    Returns:
        What was done.

    Raises:
        BadOption: not a scheme, or it cannot be used on this model.

    Example:
        >>> net = nn.Sequential(nn.Linear(100, 400), nn.ReLU(), nn.Linear(400, 10))
        >>> done = initialize(net, "he_normal", lambda m: m(torch.zeros(1, 100)))
        >>> [(row.layer, round(row.gain, 2), round(row.asked, 3)) for row in done.rows]
        [('0', 1.41, 0.141), ('2', 1.0, 0.05)]
    """
    (name, argument), after = read(scheme)
    layers = wiring(model, forward)
    weights = Weights(model)
    notes: list[str] = []
    how = SCHEMES[name]
    drawn = [layer for layer in layers if weights.trained(layer.weight)]
    with torch.no_grad(), weights.all_or_nothing(), nullcontext() if seed is None else stream(seed, "init"):
        for layer in drawn if name != "torch" else ():
            if layer.kind != "embedding" or how.everything:
                with weights.writing(layer.weight) as weight:
                    how.fill(weight, layer, _gain(layer), argument)
                weights.unbias(layer)
        for step, _ in after:
            notes += _STEPS[step](_Built(model, layers, weights, forward, prior))
    scaled = ("lsuv", None) in after
    rows = [
        _row(layer, weights.read(layer.weight), name, argument, scaled)
        if layer in drawn
        else Row(layer.name, layer.kind, "frozen", layer.fans[0], None, None, _std(weights.read(layer.weight)))
        for layer in layers
    ]
    if name != "mup":
        return Initialization(rows, notes)
    return Initialization(rows, notes, *_mup_rates(drawn, weights, float(argument)))


def _mup_rates(
    layers: Sequence[Layer], weights: Weights, base: float
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """By name, for optimizers that divide by the gradient's size, and for those that do not; 1 at the base width.

    Source: G. Yang et al., arXiv 2203.03466, table 3.
    """
    inner = [layer for layer in layers if layer.inputs and layer.kind != "embedding"]
    adaptive = {layer.weight: {"lr_scale": base / layer.fans[0]} for layer in inner}
    by_size = {layer.weight: {"lr_scale": base / layer.fans[0]} for layer in inner if layer.output}
    for layer in layers:
        if layer not in inner:
            by_size[layer.weight] = {"lr_scale": layer.fans[1] / base}
        norm = (layer.norm or "").rpartition(".")[0]
        for vector in (layer.bias, *(f"{norm}.{part}" for part in ("weight", "bias"))):
            if not layer.output and vector in weights.named and weights.trained(vector):
                by_size[vector] = {"lr_scale": weights.named[vector].numel() / base}
    return adaptive, by_size


def _gain(layer: Layer) -> float:
    """That of the non-linearity behind a layer; 1 for a recurrent one, whose state is a sum that comes back."""
    return 1.0 if layer.kind == "recurrent" else gain(layer.activation, layer.numbers)


def _row(layer: Layer, weight: Tensor, name: str, argument: Any, scaled: bool) -> Row:
    scheme, role = SCHEMES[name], "output" if layer.output and layer.branch is None else layer.kind
    fan = layer.fans[0]
    if (name == "torch" and not scaled) or (layer.kind == "embedding" and not scheme.everything):
        return Row(layer.name, role, "as built", fan, None, None, _std(weight))
    if scaled and layer.kind in ("linear", "convolution"):
        return Row(layer.name, role, "lsuv", fan, None, None, _std(weight))
    own = _gain(layer)
    asked = scheme.std(layer, own, argument) if scheme.std else None
    return Row(
        layer.name,
        role,
        name + (shown(argument) if argument != FANS[0] else ""),
        fan,
        own if scheme.gains else None,
        asked,
        _std(weight),
    )


def _std(weight: Tensor) -> float:
    return float(weight.detach().std(correction=0)) if weight.numel() else 0.0


def output_prior(kind: str, targets: Tensor, outputs: int) -> Tensor | None:
    """The output's bias that predicts the targets' frequencies, or their mean, before anything is learned.

    log p_c for classes (a class that is never seen counts half a row), the logit for one sigmoid each, the mean for
    regression; None where targets and outputs do not fit together.

    Args:
        kind: of the task: ``classification``, ``binary``, ``language-model`` or ``regression``.
        targets: of the training rows.
        outputs: how many numbers the model gives a row.

    Example:
        >>> output_prior("binary", torch.tensor([1, 0, 0, 0]), 1).sigmoid()
        tensor([0.2500])
    """
    if kind in ("classification", "language-model"):
        counts = torch.bincount(targets[targets >= 0].long().flatten(), minlength=outputs).double()
        fits = len(counts) == outputs and float(counts.sum()) > 0
        return (counts.clamp(min=0.5) / counts.sum()).log().float() if fits else None
    values = targets.double().reshape(len(targets), -1)
    if values.shape[1] != outputs or kind not in ("binary", "regression"):
        return None
    if kind == "regression":
        return values.mean(0).float()
    return values.mean(0).clamp(0.5 / len(values), 1 - 0.5 / len(values)).logit().float()


@dataclass(frozen=True)
class _Built:
    """A model with weights, to do something to: see `initialize`."""

    model: nn.Module
    layers: Sequence[Layer]
    weights: Weights
    forward: Forward
    prior: Prior

    def ends(self, name: str) -> list[Layer]:
        """The layers at the end of residual branches."""
        found = [layer for layer in self.layers if layer.branch is not None]
        if not found:
            raise BadOption(f"init: {name} needs residual branches, and none was found", "take another scheme")
        return found


def _zero_residual(built: _Built) -> list[str]:
    """What scales the end of a residual branch, a normalization's or its own weight, is zero."""
    ends = built.ends("zero_residual")
    zero = [str(layer.branch) for layer in ends if built.weights.trained(str(layer.branch))]
    for name in zero:
        built.weights.scale(name, 0.0)
    kept = [str(layer.branch) for layer in ends if str(layer.branch) not in zero]
    said = [f"Frozen, and so not zero: {', '.join(kept)}."] if kept else []
    return [*said, *([f"Zero, so that residual branches add nothing at first: {', '.join(zero)}."] if zero else [])]


def _fixup(built: _Built) -> list[str]:
    """The last layer of each of L branches and the output are zero, the other m - 1 of a branch times L^(-1/(2m - 2))."""
    ends = built.ends("fixup")
    blocks = {layer.block for layer in built.layers if layer.block is not None}
    for layer in built.layers:
        own = [other for other in built.layers if other.block == layer.block]
        if not built.weights.trained(layer.weight):
            continue
        if layer in ends or (layer.output and layer.block is None):
            built.weights.scale(layer.weight, 0.0)
        elif layer.block is not None:
            built.weights.scale(layer.weight, len(blocks) ** (-1 / max(1, 2 * len(own) - 2)))
    return [f"Fixup of {len(blocks)} residual branches; its scalar biases and multipliers are not added."]


class _Scaling(Looking):  # type: ignore[no-untyped-call]
    """Divides every weight by the standard deviation of what it gives, as the pass comes to it."""

    def __init__(self, built: _Built) -> None:
        super().__init__(built.model)
        self.weights, self.variances = built.weights, dict[str, float]()

    def act(self, own: Any, direct: frozenset[str], given: list[Tensor], out: Any) -> frozenset[str]:
        """A layer's first product gets variance 1."""
        known = set(self.layers)
        found = super().act(own, direct, given, out)
        for name in found - known:
            scaled = self.layers[name].kind in ("linear", "convolution") and self.weights.trained(name)
            if scaled and out.numel() > 1:
                variance = self.variances[name] = float(out.var(correction=0))
                if variance > 0 and math.isfinite(variance):
                    self.weights.scale(name, variance**-0.5)
                    out.div_(variance**0.5)
        return found


def _lsuv(built: _Built) -> list[str]:
    """Layer-sequential unit variance: a pass scales each layer before the next one sees it."""
    for layer in built.layers:
        built.weights.unbias(layer)
    for _ in range(PASSES):
        look = _Scaling(built)
        with batch_statistics(built.model):
            look.over(built.forward)
        wrong = {name: v for name, v in look.variances.items() if not abs(v - 1) <= TOLERANCE}
        if not any(wrong.values()):  # all was well before this pass
            break
    return [f"{name} gives {f'variance {v:.3g}' if v else 'nothing'} on this batch." for name, v in wrong.items()]


def _output_bias(built: _Built) -> list[str]:
    """The bias of the output is what the targets say before anything is learned."""
    outputs = [layer for layer in built.layers if layer.output]
    if len(outputs) != 1 or outputs[0].bias is None or outputs[0].branch is not None:
        what = f"there are {len(outputs)}" if len(outputs) != 1 else f"{outputs[0].name} has none of its own"
        raise BadOption(f"init: output_bias needs one output layer with a bias; {what}", "leave output_bias out")
    bias = built.weights.named[outputs[0].bias]
    if not bias.requires_grad:
        raise BadOption(f"init: output_bias would change {outputs[0].bias}, which is frozen", "leave output_bias out")
    prior = built.prior(bias.numel())
    if prior is None:
        raise BadOption(
            "init: output_bias needs targets that are classes, 0 or 1, or numbers, as many as the model's outputs",
            "leave output_bias out",
        )
    bias.copy_(prior)
    return [f"{outputs[0].bias} is the prior of the targets."]


_STEPS: dict[str, Callable[[_Built], list[str]]] = {
    "lsuv": _lsuv,
    "zero_residual": _zero_residual,
    "fixup": _fixup,
    "output_bias": _output_bias,
}
