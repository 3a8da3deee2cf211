"""The signal report: what every layer gives and which gradient it gets, measured and predicted, before training.

The prediction is that of `thalweg.mean_field`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from . import building, lengths, loop
from .batch import leaves
from .cohort import Solo
from .console import columns
from .errors import COUNT, Allowed, check
from .inits import Weights
from .mean_field import theory
from .modes import batch_statistics, evaluating, not_in_place
from .recipe import Recipe
from .seeds import stream
from .wiring import Layer, Looking

if TYPE_CHECKING:
    from .task import Task

BINS = 32
RANK_ROWS = 128  # rows of which the effective rank is taken
SATURATED = {"tanh": (-0.97, 0.97), "sigmoid": (0.03, 0.97)}
STEPS = Allowed("a whole number >= 0", lambda v: v == 0 or COUNT.test(v))


@dataclass(frozen=True)
class LayerSignal:
    """A layer with its non-linearity, on a batch of training rows.

    Attributes:
        name: of the module.
        kind: ``linear``, ``convolution``, ``embedding`` or ``recurrent``.
        activation: the non-linearity behind it.
        mean: of the activations, that is, of what the non-linearity gives.
        std: of the activations.
        second_moment: their mean square.
        spread: root mean square over units of the standard deviation over rows: what tells one row from another.
        histogram: counts of `BINS` bins of equal width, and the first one's lower and the last one's upper end.
        dead: share of ReLU units that give 0 on every row; None for others.
        saturated: share of activations at the flat ends: |tanh| > .97, a sigmoid below .03 or above .97; None for others.
        effective_rank: exp of the entropy of the shares of the singular values of activations (rows × units).
        gradient_norm: of the weight's gradient.
        update_ratio: length of the recipe's first update of the weight, at its full rate, over that of the weight.
        factor: second moment over that of the layer's input.
        predicted_factor: the same by theory; None where there is none for the non-linearity.
        gradient_factor: mean square of the loss's gradient by the layer's input over that by its activations.
        predicted_gradient_factor: the same by theory.
    """

    name: str
    kind: str
    activation: str | None
    mean: float
    std: float
    second_moment: float
    spread: float
    histogram: tuple[tuple[int, ...], float, float]
    dead: float | None
    saturated: float | None
    effective_rank: float
    gradient_norm: float
    update_ratio: float
    factor: float
    predicted_factor: float | None
    gradient_factor: float | None
    predicted_gradient_factor: float | None

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Signal:
    """The report of a model.

    Attributes:
        layers: in the order in which they act, with the initial weights.
        later: the same after ``steps`` updates; empty for none.
        steps: how many.
        loss: with the initial weights.
        rows: of the batch.

    Example:
        >>> import thalweg
        >>> thalweg.signal(thalweg.Task.load("digits")).layers[0].activation
        'relu'
    """

    layers: tuple[LayerSignal, ...]
    later: tuple[LayerSignal, ...]
    steps: int
    loss: float
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        both = {"layers": self.layers, "later": self.later}
        return {k: [layer.as_dict() for layer in v] for k, v in both.items()} | {
            "steps": self.steps,
            "loss": self.loss,
            "rows": self.rows,
        }

    def __str__(self) -> str:
        lines = [f"Initial loss {self.loss:.4g} on {self.rows} training rows.", _table(self.layers)]
        if self.steps:
            lines += ["", f"After {self.steps} updates:", _table(self.later)]
        return "\n".join(lines)


def _table(layers: Sequence[LayerSignal]) -> str:
    head = ("layer", "gives", "mean", "std", "flat", "rank", "factor", "theory", "gradient", "theory", "norm", "update")
    rows: list[Sequence[str]] = [head]
    for s in layers:
        flat = s.dead if s.dead is not None else s.saturated
        forward = (s.mean, s.std, flat, s.effective_rank, s.factor, s.predicted_factor)
        backward = (s.gradient_factor, s.predicted_gradient_factor, s.gradient_norm, s.update_ratio)
        rows.append((s.name or "model", s.activation or s.kind, *map(_short, forward + backward)))
    return columns(rows)


def _short(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2g}"


class _Listening(Looking):  # type: ignore[no-untyped-call]
    """Keeps of every layer the tensors that it takes and gives, and that its non-linearity gives."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.taken: dict[str, Tensor] = {}
        self.product: dict[str, Tensor] = {}
        self.given: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        self.square: dict[str, float] = {}  # mean squares of what layers take

    def act(self, own: Any, direct: frozenset[str], given: list[Tensor], out: Any) -> frozenset[str]:
        """A layer's first product."""
        known = set(self.layers)
        found = super().act(own, direct, given, out)
        x = next(x for x in given if not self.trail(x).parameter)
        for name in found - known:
            self.taken[name], self.product[name] = x, leaves(out)[0]
            self._see(name, self.product[name])
            self.square[name] = _square(x) if x.is_floating_point() else 1.0
        return found

    def passed(self, direct: frozenset[str], out: Any) -> None:
        """A bias, a normalization or a non-linearity comes first behind a layer."""
        for name in direct:
            if not self.layers[name].settled and self.layers[name].branch is None:
                self._see(name, leaves(out)[0])

    def _see(self, name: str, out: Tensor) -> None:
        """Keep the tensor, and its numbers as they are now: what is added to it in place comes later."""
        self.given[name], self.values[name] = out, out.detach().float().clone()


def signal(task: Task, recipe: Recipe | None = None, *, steps: int = 0, seed: int = 0) -> Signal:
    """What every layer of a task's model gives and which gradient it gets, measured on a batch and predicted by theory.

    Dropout is off, batch norm goes by the batch. Nothing of the task changes.

    Args:
        task: with its model; see `thalweg.Task`.
        recipe: its ``init`` and ``norm`` make the model; its first update, at its full rate, is in ``update_ratio``.
            None: AdamW at 1e-3.
        steps: updates of training after which the report is made again.
        seed: of weights and order.

    Raises:
        BadTask: the model or the loss fails.

    Example:
        >>> import thalweg
        >>> report = signal(thalweg.Task.load("digits"))
        >>> [(layer.name, round(layer.predicted_factor, 2)) for layer in report.layers]
        [('0', 0.17), ('2', 0.62)]
    """
    check("signal", "steps", steps, STEPS)
    recipe = recipe or Recipe("adamw", lr=1e-3)
    recipe = recipe.but(lr=recipe.lr or 1e-3)
    data = task.prepare()
    if task.compile:
        memory, task = task._memory, replace(task, compile=False)
        task._memory.update(memory)
    with stream(seed, "dropout"):
        solo = Solo(task, recipe, seed, lengths.horizon(task, recipe))
        first = look(task, solo.model, recipe)
        later: tuple[LayerSignal, ...] = ()
        updates = loop.updates(data.train, recipe.batch_size or data.batch_size, task.accumulate, seed=seed)
        for _, batches in zip(range(steps), updates, strict=False):
            for batch, share in batches:
                solo.backward(solo.forward(batch), share)
            solo.step()
        if steps:
            later = look(task, solo.model, recipe).layers
    return replace(first, later=later, steps=steps)


def look(task: Task, model: nn.Module, recipe: Recipe, ratios: Mapping[str, float] | None = None) -> Signal:
    """The report of a model as it is; its gradients are gone afterwards.

    Args:
        task: gives the rows and the loss.
        model: is looked at.
        recipe: whose first update is measured, where ``ratios`` do not say what an update does.
        ratios: length of an update over that of the parameter, by name.
    """
    batch, listening = building.sample(task), _Listening(model)
    with evaluating(model), batch_statistics(model), not_in_place(model), torch.enable_grad():
        losses: list[Tensor] = []
        listening.during(lambda m: losses.append(task.loss_of(m, building.fresh(batch))))
        loss = losses[-1]
        held = {id(x): x for kept in (listening.taken, listening.given) for x in kept.values() if x.requires_grad}
        for x in held.values():
            x.retain_grad()
        loss.backward()  # type: ignore[no-untyped-call]
    ratios = _updates(model, recipe) if ratios is None else ratios
    weights = Weights(model)
    found = tuple(_measure(layer, listening, weights, ratios) for layer in listening.layers.values())
    for parameter in model.parameters():
        parameter.grad = None
    return Signal(found, (), 0, float(loss.detach()), batch.rows)


def _updates(model: nn.Module, recipe: Recipe) -> dict[str, float]:
    """Length of the first update over that of the parameter, by name; the parameters and gradients stay."""
    named = dict(model.named_parameters())
    before = {name: p.detach().clone() for name, p in named.items()}
    grads = {name: p.grad for name, p in named.items()}
    optimizer, _ = recipe.but(schedule="constant", warmup=None, average=None).build(model)
    optimizer.step()
    ratios = {name: float((p.detach() - before[name]).norm() / before[name].norm()) for name, p in named.items()}
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(before[name])
            p.grad = grads[name]
    return ratios


def _measure(layer: Layer, seen: _Listening, weights: Weights, ratios: Mapping[str, float]) -> LayerSignal:
    x, product, a = seen.taken[layer.weight], seen.product[layer.weight], seen.given[layer.weight]
    weight, named = weights.read(layer.weight), weights.named
    floating, values = x.is_floating_point(), seen.values[layer.weight]
    before, after = seen.square[layer.weight], _square(values)
    span = (float(values.min()), float(values.max()))
    fine = all(map(math.isfinite, span))
    counts = torch.histc(values, BINS, *span).int().tolist() if fine else [0] * BINS
    gradient = named[layer.weight].grad
    forward = backward = None
    activation = None if layer.branch else layer.activation  # behind the sum
    moments = theory(activation, _expected(layer, weight, named, before), layer.numbers)
    if moments is not None and layer.kind in ("linear", "convolution") and floating:
        forward = moments[0] / before if before else None
        backward = layer.fans[1] / _strides(x, product) * float(weight.float().square().mean()) * moments[1]
        backward = None if layer.norm is not None else backward
    both = x.grad is not None and a.grad is not None
    received = _square(a.grad) if both and a.grad is not None else 0.0
    units = (
        values.reshape(-1, values.shape[-1]) if layer.kind != "convolution" else values.movedim(1, -1).flatten(0, -2)
    )
    low, high = _flat_ends(activation, layer.numbers)
    flat = math.isfinite(low)
    return LayerSignal(
        name=layer.name,
        kind=layer.kind,
        activation=activation,
        mean=float(values.mean()),
        std=float(values.std(correction=0)),
        second_moment=after,
        spread=math.sqrt(float(values.var(0, correction=0).mean())),
        histogram=(tuple(counts), *span),
        dead=float((units == 0).all(0).float().mean()) if activation == "relu" else None,
        saturated=float(((values < low) | (values > high)).float().mean()) if flat else None,
        effective_rank=effective_rank(units[:: -(-len(units) // RANK_ROWS)]),
        gradient_norm=float(gradient.double().norm()) if gradient is not None else math.nan,
        update_ratio=ratios.get(layer.weight, math.nan),
        factor=after / before if before else math.nan,
        predicted_factor=forward,
        gradient_factor=_square(x.grad) / received if received and x.grad is not None else None,
        predicted_gradient_factor=backward,
    )


def _flat_ends(activation: str | None, numbers: tuple[float, ...]) -> tuple[float, float]:
    """Below and above which a non-linearity is flat."""
    if activation == "hardtanh":  # with its own ends; a ReLU6 is one
        low, high = numbers if len(numbers) == 2 else (-1.0, 1.0)
        room = 0.015 * (high - low)
        return low + room, high - room
    return SATURATED.get(activation or "", (-math.inf, math.inf))


def _square(x: Tensor) -> float:
    return float(x.detach().double().square().mean())


def _strides(x: Tensor, out: Tensor) -> float:
    """How many positions that a kernel could take it does not take: 1 without a stride."""
    return max(1.0, math.prod(x.shape[2:]) / max(1, math.prod(out.shape[2:]))) if x.ndim > 2 else 1.0


def _expected(layer: Layer, weight: Tensor, named: Mapping[str, Tensor], before: float) -> float:
    """Mean square of what goes into the non-linearity, given that of the input."""
    if layer.norm is not None:
        scale = named.get(layer.norm)
        shift = named.get(layer.norm.removesuffix("weight") + "bias") if layer.norm else None
        return (_square(scale) if scale is not None else 1.0) + (_square(shift) if shift is not None else 0.0)
    bias = named.get(layer.bias or "")
    return layer.fans[0] * _square(weight) * before + (_square(bias) if bias is not None else 0.0)


def effective_rank(x: Tensor) -> float:
    """exp(−Σ p log p) of the singular values of a matrix as shares p; 0 for zeros.

    Example:
        >>> round(effective_rank(torch.eye(5)), 3)
        5.0

    Source: O. Roy, M. Vetterli, EUSIPCO 2007, definition 1.
    """
    if not x.isfinite().all():
        return math.nan
    wide = x.double() if len(x) <= x.shape[1] else x.double().T
    values = torch.linalg.eigvalsh(wide @ wide.T).clamp(min=0).sqrt()  # of the smaller of the two products
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float((-(shares * shares.log()).sum()).exp()) if shares.numel() else 0.0
