"""What a short training looks like from outside, for the rules that others have published."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from thalweg.errors import ThalwegError

from .loops import play
from .setting import Setting

STEPS, EPOCHS = 120, 12


@dataclass
class Epoch:
    """At the end of a piece of training, per layer with weights in order of the model.

    Attributes:
        loss: mean of its batches.
        accuracy: the same; for numbers the explained share of their variance, at least 0.
        gradients: norms of the weights' gradients.
        still: mean absolute gradient of each layer's weights.
        zeros: share of all gradients that are exactly 0.
        weights: variances of the weights.
        steps: rate × norm of the gradient / norm of the weights.
        outputs: mean of each layer's output.
        dead: share of zeros in the output of each ReLU.
        saturated: share of inputs beyond ±5 of each tanh and sigmoid.
        largest: the largest absolute weight.
    """

    loss: float = math.nan
    accuracy: float = math.nan
    gradients: list[float] = field(default_factory=list)
    still: list[float] = field(default_factory=list)
    zeros: float = 0.0
    weights: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    outputs: list[float] = field(default_factory=list)
    dead: list[float] = field(default_factory=list)
    saturated: list[float] = field(default_factory=list)
    largest: float = 0.0


@dataclass(frozen=True)
class Trace:
    """A short training.

    Attributes:
        lr: the optimizer's rate at the start.
        inputs: smallest and largest.
        targets: smallest and largest.
        output: smallest and largest of the model's on some rows.
        end: what the output looks like: ``softmax``, ``sigmoid``, ``relu`` or ``linear``.
        classes: whether the targets are classes.
        linear: whether two layers with weights follow each other with nothing between them.
        dropout: the largest rate of a dropout.
        epochs: its course.
        valid_loss: after each half of it.
        valid_accuracy: the same.
    """

    lr: float
    inputs: tuple[float, float]
    targets: tuple[float, float]
    output: tuple[float, float]
    end: str
    classes: bool
    linear: bool
    dropout: float
    epochs: list[Epoch]
    valid_loss: tuple[float, float]
    valid_accuracy: tuple[float, float]


def _ends(x: Tensor) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _end(output: Tensor) -> str:
    low, high = _ends(output)
    if low >= 0 and output.shape[-1] > 1 and bool(((output.sum(-1) - 1).abs() < 1e-4).all()):
        return "softmax"
    return "linear" if low < 0 else "sigmoid" if high <= 1 else "relu"


class _Recorder:
    """Looks on at the end of each piece."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer, self.epochs, self.step = model, optimizer, list[Epoch](), 0
        self.lr = float(optimizer.param_groups[0]["initial_lr"] if "initial_lr" in optimizer.param_groups[0] else 0.0)
        self.layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]
        self.order: list[nn.Module] = []

    def seen(self, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        """After a leaf's forward pass."""
        if self.step == 0:
            self.order.append(module)
        if not self.due or not isinstance(output, Tensor):
            return
        epoch = self.epochs[-1]
        if isinstance(module, nn.ReLU):
            epoch.dead.append(float((output <= 0).float().mean()))
        elif isinstance(module, nn.Tanh | nn.Sigmoid):
            epoch.saturated.append(float((given[0].abs() >= 5).float().mean()))
        elif module in self.layers:
            epoch.outputs.append(float(output.detach().float().mean()))

    @property
    def due(self) -> bool:
        """Whether this step ends a piece."""
        if (self.step + 1) % (STEPS // EPOCHS):
            return False
        if len(self.epochs) * (STEPS // EPOCHS) <= self.step:
            self.epochs.append(Epoch())
        return True

    def before(self, *_: object) -> None:
        """Before a step of the optimizer."""
        if self.due:
            epoch = self.epochs[-1]
            grads = [m.weight.grad if m.weight.grad is not None else torch.zeros_like(m.weight) for m in self.layers]
            values = [m.weight.detach() for m in self.layers]
            rate = float(self.optimizer.param_groups[0]["lr"])
            epoch.gradients = [float(g.norm()) for g in grads]
            epoch.still = [float(g.abs().mean()) for g in grads]
            epoch.zeros = sum(int((g == 0).sum()) for g in grads) / sum(g.numel() for g in grads)
            epoch.weights = [float(w.float().var()) for w in values]
            epoch.steps = [
                rate * float(g.norm()) / max(float(w.norm()), 1e-30) for g, w in zip(grads, values, strict=True)
            ]
            epoch.largest = max(float(w.abs().max()) for w in values)
        self.step += 1


@contextmanager
def _recording(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[_Recorder]:
    recorder = _Recorder(model, optimizer)
    leaves = [m for m in model.modules() if not list(m.children())]
    handles = [m.register_forward_hook(recorder.seen) for m in leaves]
    handles.append(optimizer.register_step_pre_hook(recorder.before))
    try:
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


def trace(setting: Setting, seed: int) -> Trace:
    """Train a little, half of it twice to see both validation losses, and say what could be seen."""
    task, data = setting.task, setting.task.prepare()
    histories = [
        play(task, setting.recipe, setting.loop, seed, steps, watch=_recording, model=_copy(setting))
        for steps in (STEPS // 2, STEPS)
    ]
    history, recorder = histories[-1], histories[-1].watch
    batch = next(data.train.batches(256))
    spread = max(float(batch.targets.float().var()), 1e-12)
    size = STEPS // EPOCHS
    for k, epoch in enumerate(recorder.epochs):
        part = slice(k * size, (k + 1) * size)
        epoch.loss = sum(history.losses[part]) / size
        epoch.accuracy = sum(history.accuracies[part]) / size if data.classes else max(0.0, 1 - epoch.loss / spread)
    found = [_evaluated(setting, h.model) for h in histories]
    accuracies = [f["accuracy"] if "accuracy" in f else max(0.0, 1 - f["loss"] / spread) for f in found]
    with torch.no_grad():
        output = history.model.eval()(batch.inputs)
    pairs = zip(recorder.order, recorder.order[1:], strict=False)
    return Trace(
        lr=recorder.lr,
        inputs=_ends(batch.inputs),
        targets=_ends(batch.targets),
        output=_ends(output),
        end=_end(output),
        classes=data.classes is not None,
        linear=any(isinstance(a, nn.Linear) and isinstance(b, nn.Linear) for a, b in pairs),
        dropout=max((m.p for m in history.model.modules() if isinstance(m, nn.Dropout)), default=0.0),
        epochs=recorder.epochs,
        valid_loss=(found[0]["loss"], found[1]["loss"]),
        valid_accuracy=(accuracies[0], accuracies[1]),
    )


def _evaluated(setting: Setting, model: nn.Module) -> dict[str, float]:
    """On half of the validation data; NaN where the outputs are no numbers."""
    try:
        return setting.task.evaluate(model, setting.task.prepare().select)
    except ThalwegError:
        return {"loss": math.nan, "accuracy": math.nan}


def _copy(setting: Setting) -> nn.Module | None:
    """Of the model where training stands."""
    if setting.model is None:
        return None
    model = setting.task.build(0)
    model.load_state_dict(setting.model.state_dict())
    return model
