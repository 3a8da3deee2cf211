"""One forward pass on a few rows: what the loss, the kind of task and its metric are, and whether all of it fits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thalweg.batch import Batch, leaves
from thalweg.errors import BadTask, ThalwegError
from thalweg.metrics import IGNORED

METRIC_OF = {
    "classification": "accuracy",
    "binary": "accuracy",
    "language-model": "nll",
    "regression": "mse",
    "other": "loss",
}
Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Fit:
    """What a trial found out.

    Attributes:
        loss: of (output, targets), or None where ``batch_loss`` or the model itself computes it.
        loss_name: as printed and as part of the fingerprint.
        kind: ``classification``, ``binary``, ``language-model``, ``regression`` or ``other``.
        classes: how many, or None.
        own_loss: what the model needs to give its own loss, ``"inputs"`` or ``"raw"``; None: it gives none.
        notes: sentences on what was inferred.
    """

    loss: Loss | None
    loss_name: str
    kind: str
    classes: int | None
    own_loss: str | None
    notes: tuple[str, ...]


def call(model: Any, inputs: Any) -> Any:
    """``model(x)``, ``model(*x)`` or ``model(**x)``."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def call_raw(model: Any, raw: Any) -> Any:
    """The model on inputs and targets together, for models that compute their own loss."""
    return call(model, tuple(raw) if isinstance(raw, list) else raw)


def output_tensor(output: Any) -> Any:
    """The tensor in a model's output: itself, its ``logits``, or the first of a tuple."""
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "output", "out"):
        found = output.get(name) if isinstance(output, dict) else getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    return output[0] if isinstance(output, tuple | list) and output else output


def own_loss(output: Any) -> Tensor | None:
    """The loss that a model's output carries, or None."""
    found = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", None)
    return found if isinstance(found, Tensor) else None


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of logits; the class dimension is the last one where that fits the target, else the second."""
    target = target.long()
    if output.ndim > 2 and output.shape[:-1] == target.shape:
        return F.cross_entropy(output.flatten(0, -2), target.flatten())
    return F.cross_entropy(output, target)


def binary_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits; targets take the output's shape."""
    return F.binary_cross_entropy_with_logits(output, target.reshape(output.shape).to(output.dtype))


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error; targets take the output's shape."""
    return F.mse_loss(output, target.reshape(output.shape).to(output.dtype))


LOSSES: dict[str, Loss] = {
    "classification": cross_entropy, "language-model": cross_entropy,
    "binary": binary_cross_entropy, "regression": mean_squared_error,
}  # fmt: skip


def shapes(value: Any) -> str:
    """Shapes and dtypes of the tensors in a nesting, in words."""
    if value is None:
        return "none"
    return (
        ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in leaves(value))
        or type(value).__name__
    )


@contextmanager
def blame(what: str, batch: Batch, hint: str = "try it by hand on one batch of these shapes") -> Iterator[None]:
    """Turns any exception inside into a `BadTask` that says what failed on which shapes."""
    try:
        yield
    except ThalwegError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if "dtype" in text or "scalar type" in text:
            hint = "convert the inputs: transform=lambda x: x.float()"
        message = f"{what} failed on inputs {shapes(batch.inputs)} and targets {shapes(batch.targets)}: {text}"
        raise BadTask(message, hint) from error


def kind_of(output: Any, targets: Any, known: Tensor | None = None) -> tuple[str, int | None]:
    """The kind of a task and its number of classes, by the output's and the targets' shapes and values.

    Args:
        output: of a few rows.
        targets: of the same rows.
        known: as many targets as are known, for their values.

    Example:
        >>> kind_of(torch.zeros(8, 3), torch.zeros(8, dtype=torch.int64))
        ('classification', 3)
    """
    if not isinstance(output, Tensor) or not isinstance(targets, Tensor) or output.ndim == 0:
        return "other", None
    values = targets if known is None else known
    if _trailing(output, targets):
        return ("binary", 2) if bool(((values == 0) | (values == 1)).all()) else ("regression", None)
    if output.ndim != targets.ndim + 1:
        return "other", None
    last = output.shape[:-1] == targets.shape
    if not last and output.shape[:1] + output.shape[2:] != targets.shape:
        return "other", None
    classes = output.shape[-1 if last else 1]
    if values.is_floating_point() and not bool(((values == values.round()) & (values >= 0) & (values < classes)).all()):
        return "other", None
    return ("language-model" if last and targets.ndim > 1 else "classification"), classes


def _trailing(output: Tensor, targets: Tensor) -> bool:
    """Whether the shapes are equal but for a trailing 1."""
    return output.shape == targets.shape or (*output.shape, 1) == targets.shape or output.shape == (*targets.shape, 1)


def _forward(model: Any, batch: Batch, seek_loss: bool) -> tuple[Any, str | None]:
    """The model's output, and what makes it give its own loss: ``"inputs"``, ``"raw"``, or None: nothing."""
    try:
        whole = call(model, batch.inputs)
    except Exception:
        if seek_loss and batch.targets is not None:  # a model that wants its labels too
            try:
                whole = call_raw(model, batch.raw)
            except Exception:
                whole = None
            if own_loss(whole) is not None:
                return whole, "raw"
        raise
    if not seek_loss or isinstance(whole, Tensor):
        return whole, None
    if batch.targets is not None:
        try:
            again = call_raw(model, batch.raw)
        except Exception:
            again = None
        if own_loss(again) is not None:
            return again, "raw"
    return whole, None if own_loss(whole) is None else "inputs"


def try_out(model: nn.Module, batch: Batch, targets: Tensor | None, loss: Any, batch_loss: Any) -> Fit:
    """Run ``model`` (a throw-away copy) on a batch and find out what fits.

    Args:
        model: on the batch's device.
        batch: a few rows.
        targets: as many as are known, to tell labels and classes.
        loss: the user's, of (output, targets), or None.
        batch_loss: the user's, of (model, raw batch), or None.

    Raises:
        BadTask: the model or the loss failed, is not a scalar, or nothing tells what the loss is.
    """
    if batch_loss is not None:
        with blame("batch_loss", batch):
            check_scalar(batch_loss(model, batch.raw), "batch_loss", batch)
        output = None
        if targets is not None:
            try:  # only to find the kind: batch_loss may call the model in any way it likes
                output = output_tensor(call(model, batch.inputs))
            except Exception:
                output = None
        kind, classes = kind_of(output, batch.targets, targets)
        return Fit(None, name_of(batch_loss), kind, classes, None, ())
    with blame("model", batch):
        whole, own = _forward(model, batch, loss is None)
    output = output_tensor(whole)
    kind, classes = kind_of(output, batch.targets, targets)
    if own is not None:
        check_scalar(own_loss(whole), "the model's own loss", batch)
        return Fit(None, "model", kind, classes, own, ("Loss: the one in the model's output.",))
    if loss is None and batch.targets is None:
        raise BadTask("the data have no targets and no loss is given", "give batch_loss=function of (model, batch)")
    if classes is not None and kind != "binary" and targets is not None:
        strange = _beyond(targets, classes)
        if len(strange) and _is_label_loss(loss):
            raise BadTask(
                f"label {int(strange[0])} does not fit the model's {classes} classes (0 to {classes - 1})",
                "widen the model's last layer or renumber the labels from 0",
                "label-range",
            )
        kind, classes = ("other", None) if len(strange) else (kind, classes)
    chosen = LOSSES.get(kind) if loss is None else loss
    if chosen is None:
        raise BadTask(
            f"no loss fits outputs {shapes(output)} and targets {shapes(batch.targets)}",
            "let the model give (N, classes) for integer targets or the targets' shape for numbers, or give loss=",
        )
    name = name_of(chosen)
    differs = kind in ("binary", "regression") and output.shape != batch.targets.shape  # type: ignore[union-attr]
    if differs and _is_elementwise(loss):
        chosen = Reshaped(chosen)
    with blame(f"loss {name}", batch):
        check_scalar(chosen(output if loss is None else whole, batch.targets), f"loss {name}", batch)
    notes = []
    if loss is None:
        words = name.replace("_", " ")
        notes.append(f"Loss: {words}, for outputs {shapes(output)} and targets {shapes(batch.targets)}.")
        if kind == "classification" and batch.targets is not None and batch.targets.is_floating_point():
            notes.append("The targets are whole numbers below the number of outputs: taken as classes.")
    if differs and (loss is None or _is_elementwise(loss)):
        notes.append("Targets are reshaped to the output's shape; only a trailing 1 differs.")
    return Fit(chosen, name, kind, classes, None, tuple(notes))


class Reshaped:
    """An elementwise loss whose targets take the output's shape, lest they broadcast against each other."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, output: Any, target: Any) -> Tensor:
        """The loss of an output and targets of as many numbers."""
        return self.loss(output, target.reshape(output.shape))


ELEMENTWISE = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy,
               F.binary_cross_entropy_with_logits)  # fmt: skip
ELEMENTWISE_TYPES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)


def _is_elementwise(loss: Any) -> bool:
    return isinstance(loss, ELEMENTWISE_TYPES) or any(loss is one for one in ELEMENTWISE)


def name_of(function: Any) -> str:
    """A stable name of a function, a class or a module."""
    if isinstance(function, nn.Module):
        return repr(function)
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def _is_label_loss(loss: Any) -> bool:
    return (
        loss is None
        or loss is F.cross_entropy
        or loss is F.nll_loss
        or isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss)
    )


def _beyond(targets: Tensor, classes: int) -> Tensor:
    """The targets that are no number of a class."""
    counted = targets[targets != IGNORED]
    return counted[(counted < 0) | (counted >= classes)]


def check_scalar(value: Any, what: str, batch: Batch) -> None:
    """Raise `BadTask` unless ``value`` is one number that can be differentiated."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise BadTask(f"{what} gave {got} for {batch.rows} rows, not one number", "return the mean over the batch")
    if torch.is_grad_enabled() and not value.requires_grad:
        raise BadTask(
            f"{what} does not depend on the model's parameters",
            "compute it with torch operations, without detach()",
            "graph-detached",
        )


def takes_probabilities(loss: Any) -> bool:
    """Whether a loss takes probabilities, not logits."""
    return loss is F.binary_cross_entropy or isinstance(loss, nn.BCELoss)


def as_logits(loss: Any, outputs: Tensor) -> Tensor:
    """Outputs as the table's metrics take them: probabilities under a loss of probabilities become logits."""
    if takes_probabilities(loss):
        return torch.logit(outputs.double(), eps=1e-12)
    return outputs
