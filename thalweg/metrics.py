"""What a run is judged by: the table of metrics, users' own metrics, and which one decides.

Every function takes the outputs and targets of a whole evaluation set. Legend of shapes: N rows (or tokens), C classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from thalweg.errors import BadOption, BadTask, unknown

IGNORED = -100  # cross_entropy's own default for targets that do not count


def flatten(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels in their flat form: ``logits_NC, labels_N``, or ``logits_N, labels_N`` for binary outputs.

    The class dimension is the last one where ``outputs`` has the shape of ``targets`` before it, else dimension 1.
    Targets of -100 are left out.
    """
    if outputs.numel() == targets.numel():
        return outputs.reshape(-1), targets.reshape(-1)
    if outputs.shape[:-1] != targets.shape:
        outputs = outputs.movedim(1, -1)
    logits, labels = outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1).long()
    keep = labels != IGNORED
    return (logits, labels) if bool(keep.all()) else (logits[keep], labels[keep])


def _predicted(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits, labels = flatten(outputs, targets)
    predicted = logits.argmax(-1) if logits.ndim == 2 else (logits > 0).long()
    return predicted, labels.long()


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of rows whose largest logit (binary: whose logit's sign) is the label's.

    Example:
        >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        0.5
    """
    predicted, labels = _predicted(outputs, targets)
    return float((predicted == labels).double().mean())


def f1(outputs: Tensor, targets: Tensor) -> float:
    """Macro F1: the mean over classes of ``2 tp / (2 tp + fp + fn)``; classes that never occur do not count."""
    predicted, labels = _predicted(outputs, targets)
    count = int(torch.maximum(predicted.max(), labels.max())) + 1
    hits = torch.bincount(labels[predicted == labels], minlength=count).double()
    total = (torch.bincount(predicted, minlength=count) + torch.bincount(labels, minlength=count)).double()
    return float((2 * hits[total > 0] / total[total > 0]).mean())


def _auc(scores: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative), ties counted half, by mean ranks."""
    ahead, total = int(positive.sum()), positive.numel()
    if ahead == 0 or ahead == total:
        return math.nan
    _, group, sizes = torch.unique(scores, return_inverse=True, return_counts=True)
    ends = sizes.cumsum(0).double()
    ranks = (ends - (sizes.double() - 1) / 2)[group]
    return float((ranks[positive].sum() - ahead * (ahead + 1) / 2) / (ahead * (total - ahead)))


def auc(outputs: Tensor, targets: Tensor) -> float:
    """Area under the ROC curve; with more than two classes the mean over one-versus-rest; NaN where a class is absent.

    Source: Fawcett, An introduction to ROC analysis, 2006.
    """
    logits, labels = flatten(outputs, targets)
    if logits.ndim == 1:
        return _auc(logits, labels > 0.5)
    if logits.shape[1] == 2:
        return _auc(logits[:, 1] - logits[:, 0], labels == 1)
    shares = logits.double().softmax(-1)
    each = [_auc(shares[:, c], labels == c) for c in range(logits.shape[1])]
    return sum(each) / len(each)


def nll(outputs: Tensor, targets: Tensor) -> float:
    """Mean negative log-likelihood in nats, per row or token: cross-entropy of logits."""
    logits, labels = flatten(outputs, targets)
    if logits.ndim == 1:
        return float(F.binary_cross_entropy_with_logits(logits.double(), labels.double()))
    return float(F.cross_entropy(logits.double(), labels))


def perplexity(outputs: Tensor, targets: Tensor) -> float:
    """``exp(nll)``."""
    value = nll(outputs, targets)
    return math.exp(value) if value < 700 else math.inf


def ece(outputs: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Expected calibration error: ``Σ_b |B_b|/N · |accuracy_b − confidence_b|`` over bins of equal width.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    logits, labels = flatten(outputs, targets)
    if logits.ndim == 1:
        sure = logits.double().sigmoid()
        sure, right = torch.maximum(sure, 1 - sure), (logits > 0) == (labels > 0.5)
    else:
        sure, predicted = logits.double().softmax(-1).max(-1)
        right = predicted == labels
    place = (sure * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=sure.device).index_add_(0, place, right.double() - sure)
    return float(gap.abs().sum() / sure.numel())


def _pairs(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    targets = targets.reshape(outputs.shape).double()
    return outputs.double().reshape(len(outputs), -1), targets.reshape(len(outputs), -1)


def mse(outputs: Tensor, targets: Tensor) -> float:
    """Mean squared error over all numbers."""
    y, t = _pairs(outputs, targets)
    return float(((y - t) ** 2).mean())


def r2(outputs: Tensor, targets: Tensor) -> float:
    """``1 − Σ(t−y)² / Σ(t−mean t)²``, the mean over output columns; NaN for constant targets."""
    y, t = _pairs(outputs, targets)
    return float((1 - ((t - y) ** 2).sum(0) / ((t - t.mean(0)) ** 2).sum(0)).mean())


TABLE: dict[str, tuple[Callable[[Tensor, Tensor], float] | None, str]] = {
    "accuracy": (accuracy, "max"),
    "f1": (f1, "max"),
    "auc": (auc, "max"),
    "perplexity": (perplexity, "min"),
    "mse": (mse, "min"),
    "r2": (r2, "max"),
    "nll": (nll, "min"),
    "ece": (ece, "min"),
    "loss": (None, "min"),  # the task's own loss, which the evaluation knows
}


@dataclass(frozen=True)
class Metric:
    """One metric: its name, how it is computed (None: it is the loss) and which way is better (None: not known)."""

    name: str
    function: Any
    direction: str | None
    builtin: bool = False

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        """The value over a whole set.

        Raises:
            BadTask: the metric failed or did not return one number.
        """
        try:
            if hasattr(self.function, "update") and hasattr(self.function, "compute"):
                meter = copy.deepcopy(self.function)
                meter = meter.to(outputs.device) if hasattr(meter, "to") else meter
                meter.reset()
                meter.update(outputs, targets)
                value = meter.compute()
            else:
                value = self.function(outputs, targets)
            return float(value)
        except Exception as error:
            raise BadTask(
                f"metric {self.name!r} failed on outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}: "
                f"{type(error).__name__}: {error}",
                "a metric takes (outputs, targets) of the whole evaluation set and returns one number",
            ) from error


def _one(name: str, metric: Any) -> Metric:
    if isinstance(metric, str):
        if metric not in TABLE:
            raise unknown("Task", "metric", metric, TABLE)
        return Metric(name, *TABLE[metric], builtin=True)
    if not callable(metric) and not hasattr(metric, "compute"):
        raise BadOption(
            f"Task: metric must be a name, a function, a torchmetrics metric, or a dict of them, got {metric!r}",
            f"choose one of: {', '.join(TABLE)}",
        )
    higher = getattr(metric, "higher_is_better", None)
    return Metric(name, metric, None if higher is None else "max" if higher else "min")


def _named(metric: Any) -> dict[str, Metric]:
    if metric is None:
        return {}
    if isinstance(metric, Mapping):
        return {str(name): _one(str(name), one) for name, one in metric.items()}
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
    return {name: _one(name, metric)}


def choose(metric: Any, goal: str | None, default: str = "loss") -> tuple[dict[str, Metric], str, str]:
    """The metrics by name, the name of the one that decides, and its direction (``"max"`` or ``"min"``).

    Args:
        metric: a name of `TABLE`, a function of (outputs, targets), a torchmetrics metric, or a dict of them.
        goal: ``"max auc"``, or only ``"max"`` or ``"min"`` with one metric; None: the table's direction.
        default: the metric where the user named none.

    Raises:
        BadOption: an unknown name, or nothing says what decides or which way is better.

    Example:
        >>> choose(None, "max auc")[1:]
        ('auc', 'max')
    """
    words = [] if goal is None else goal.split()
    if goal is not None and (not 1 <= len(words) <= 2 or words[0] not in ("max", "min")):
        raise BadOption(f"Task: goal must be 'max NAME' or 'min NAME', got {goal!r}", "for example goal='max accuracy'")
    metrics = _named(metric)
    if len(words) == 2:
        name = words[1]
        if name not in metrics:
            if name not in TABLE:
                raise unknown("Task", "metric in goal", name, [*metrics, *TABLE])
            metrics[name] = _one(name, name)
        return metrics, name, words[0]
    metrics = metrics or _named(default)
    if len(metrics) > 1:
        raise BadOption(
            f"Task: {len(metrics)} metrics and nothing says which one decides",
            f"add goal='max {next(iter(metrics))}' (or min)",
        )
    name, only = next(iter(metrics.items()))
    direction = words[0] if words else only.direction
    if direction is None:
        raise BadOption(
            f"Task: nothing says whether a high {name!r} is good", f"add goal='max {name}' or goal='min {name}'"
        )
    return metrics, name, direction
