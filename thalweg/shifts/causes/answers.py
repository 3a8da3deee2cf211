"""What a model makes of rows: outputs, representations, and the loss of each.

Legend of shapes: N rows, k outputs, h width of the representation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ... import trial
from ...modes import evaluating
from ...task import Task
from ..rows import Rows
from ..sample import Floats, Sample
from ..targets import asked, ignored

CHUNK = 1024
INPUTS = "the inputs"


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to the rows of a sample.

    Attributes:
        outputs_Nk: probabilities of classes, or the outputs as they are.
        representation_Nh: the input of the last linear layer, averaged over positions; where there is none, the outputs.
        losses_N: of each row; None without labels; NaN where the row's target does not count (ignored by the loss, or of a
            class beyond the model's), infinite where the loss is not a finite number.
        wrong_N: 1 where the class is wrong, NaN where the target is ignored; None where there are no classes or labels.
        labels_N: class numbers, -1 where the target is ignored; None where there are none.
        where: what the representation is, in words.
    """

    outputs_Nk: Floats
    representation_Nh: Floats
    losses_N: Floats | None
    wrong_N: Floats | None
    labels_N: npt.NDArray[np.int64] | None
    where: str

    @property
    def predicted_N(self) -> npt.NDArray[np.int64]:
        """The class of the largest probability."""
        if self.outputs_Nk.shape[1] == 1:
            return (self.outputs_Nk[:, 0] > 0.5).astype(np.int64)
        found: npt.NDArray[np.int64] = self.outputs_Nk.argmax(1).astype(np.int64)
        return found

    def take(self, index: npt.NDArray[Any]) -> Answers:
        """The answers to some rows."""
        parts = {
            name: value[index]
            for name in ("outputs_Nk", "representation_Nh", "losses_N", "wrong_N", "labels_N")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **parts)


def answers(model: nn.Module, sample: Sample, task: Task | None) -> Answers:
    """Ask a model, in evaluation mode.

    Args:
        model: on its device.
        sample: the rows.
        task: says what outputs mean and what the loss is; None: outputs are taken as they are, without losses.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> found = answers(model, Sample(torch.randn(5, 4)), None)
        >>> found.outputs_Nk.shape, found.representation_Nh.shape, found.where
        ((5, 2), (5, 3), 'the input of the layer 2')
    """
    parameter = next(iter(model.parameters()), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    seen: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_pre_hook(_remember(seen, name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    outputs: list[Tensor] = []
    inner: list[Tensor] = []
    where = "the outputs"
    try:
        with torch.no_grad(), evaluating(model):
            for batch in sample.feed(device).batches(CHUNK):
                seen.clear()
                output = trial.output_tensor(trial.call(model, batch.inputs))
                outputs.append(output.detach().float().cpu())
                if seen and len(seen[-1][1]) == batch.rows:
                    where = f"the input of the layer {seen[-1][0]}" if seen[-1][0] else INPUTS
                    inner.append(_row_means(seen[-1][1].float().cpu()))
    finally:
        for handle in handles:
            handle.remove()
    whole = torch.cat(outputs)
    kind = "other" if task is None else task.prepare().kind
    logits = whole if task is None else trial.as_logits(task.loss, whole)
    shown = _shown(logits, kind)
    rows = sample.rows
    whole_inner = torch.cat(inner) if sum(map(len, inner)) == rows else None
    representation = shown if whole_inner is None else whole_inner.double().numpy()
    labels = None
    if sample.targets is not None and kind in ("classification", "binary"):
        labels = sample.targets.reshape(rows, -1)[:, 0].long().numpy()
        if task is not None:
            labels = np.where((labels < 0) | (labels == ignored(task)), -1, labels)
    wrong = None
    if labels is not None:
        guess = shown.argmax(1) if kind == "classification" else (shown[:, 0] > 0.5)
        wrong = np.where(labels < 0, np.nan, (guess.astype(np.int64) != labels).astype(np.float64))
    losses = None if task is None or sample.targets is None else _losses(task, model, sample, logits, device)
    return Answers(shown, representation, losses, wrong, labels, where if whole_inner is not None else "the outputs")


def _remember(seen: list[tuple[str, Tensor]], name: str) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if arguments and isinstance(arguments[0], Tensor):
            seen.append((name, arguments[0].detach()))

    return hook


def _row_means(x: Tensor) -> Tensor:
    """(N, ..., h) averaged over what is between."""
    return x.reshape(len(x), -1, x.shape[-1]).mean(1)


def _shown(logits: Tensor, kind: str) -> Floats:
    """Probabilities of classes, averaged over positions; other outputs as they are, (N, k)."""
    if kind == "classification":
        logits = logits.softmax(-1 if logits.ndim == 2 else 1)
    elif kind == "language-model":
        logits = logits.softmax(-1)
        return _row_means(logits).double().numpy()
    elif kind == "binary":
        logits = logits.sigmoid()
    if logits.ndim > 2 and kind == "classification":
        logits = logits.flatten(2).mean(2)
    return logits.reshape(len(logits), -1).double().numpy()


def _losses(task: Task, model: nn.Module, sample: Sample, logits: Tensor, device: torch.device) -> Floats:
    """The loss of each row (N,): NaN where the target does not count, infinite where it is no finite number."""
    found = np.full(sample.rows, np.nan)
    classes = (
        logits.shape[-1] if task.prepare().kind == "language-model" or logits.ndim == 2 else logits.shape[1:2].numel()
    )
    good = np.arange(sample.rows) if sample.targets is None else np.flatnonzero(asked(task, sample.targets, classes))
    if len(good):
        losses = Rows(task, model, list(sample.take(good).feed(device).batches(CHUNK))).losses()
        found[good] = np.where(np.isfinite(losses), losses, np.inf)
    return found
