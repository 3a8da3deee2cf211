"""Evaluation mode: a model that draws random numbers in it, or that trains in it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ... import trial
from ...building import fresh
from ...modes import evaluating
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("training-in-eval-mode", "eval-not-deterministic")


def look(exam: Examination) -> Iterator[Finding]:
    """The modes after train() and a forward pass; two passes in evaluation mode."""
    model = exam.copy().train()
    with torch.no_grad():
        exam.task.loss_of(model, fresh(exam.batch))
    held = {id(part) for m in model.modules() for part in (m.modules() if _frozen(m) else ())}
    acting = [(n, m) for n, m in model.named_modules() if isinstance(m, _BatchNorm | _DropoutNd) and id(m) not in held]
    left = [n for n, m in acting if not m.training]
    dropout = any(isinstance(m, _DropoutNd) for _, m in acting)
    if left and len(left) == len(acting) and (dropout or not model.training):
        yield Finding(
            CODES[0], "warning", left[0],
            "After train() and a forward pass the model is in evaluation mode: dropout is off and batch norm goes by its running "
            "statistics.",
            {"layers in evaluation mode": Evidence(len(left), 0)}, 0.95,
            Remedy("model.train() before each epoch, and no eval() inside forward"),
        )  # fmt: skip
    one = exam.copy()
    first, again = (_pass(exam, one) for _ in range(2))
    if not torch.equal(first, again) and not bool(first.isnan().any()):
        size = float((first - again).abs().mean() / first.abs().mean().clamp(min=1e-12))
        if size > 1e-4:
            yield Finding(
                CODES[1], "warning", "output",
                f"In evaluation mode two passes over the same rows differ by {size:.1%}: something draws random numbers there.",
                {"difference": Evidence(size, 1e-4)}, 0.97,
                Remedy("F.dropout(x, p, training=self.training); no noise where not self.training"),
            )  # fmt: skip


def _frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def _pass(exam: Examination, model: nn.Module) -> torch.Tensor:
    """Not under the same random numbers each time, as `Examination.output` is."""
    with torch.no_grad(), evaluating(model), exam.task._autocast():
        try:
            found = trial.output_tensor(trial.call(model, fresh(exam.batch).inputs))
        except Exception as error:
            raise NotMeasured(f"the model does not run on its inputs alone: {error}") from error
    if not isinstance(found, torch.Tensor):
        raise NotMeasured("the output is not a tensor")
    return found.float()
