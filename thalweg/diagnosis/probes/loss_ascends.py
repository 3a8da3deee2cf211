"""Steps that go up: a loss with the wrong sign."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import trial
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("loss-ascends",)


def look(exam: Examination) -> Iterator[Finding]:
    """The loss of outputs nearer to the targets against that of farther ones; else what a short run makes worse."""
    if exam.recipe.options.get("maximize"):
        yield _finding(
            "recipe", "The optimizer goes up: maximize is on.", {}, Remedy("maximize=False", {"maximize": False})
        )
        return
    right, wrong = _both(exam) if exam.data.fit.loss is not None else _trained(exam)
    if right > wrong:
        yield _finding(
            "loss", f"The loss is higher for outputs nearer to the targets ({right:.3g}) than for farther ones ({wrong:.3g}): "
            f"training it makes the "
            "model worse.",
            {"nearer": Evidence(right, wrong)},
            Remedy("take the minus sign out of the loss", apply=lambda task, recipe: (_turned(task), recipe)),
        )  # fmt: skip


def _finding(where: str, sentence: str, evidence: dict[str, Evidence], remedy: Remedy) -> Finding:
    return Finding(CODES[0], "error", where, sentence, evidence, 0.98, remedy)


def _turned(task: Any) -> Any:
    if task.batch_loss is not None:
        return replace(task, batch_loss=lambda model, batch: -task.batch_loss(model, batch))
    return replace(task, loss=lambda output, target: -task.loss(output, target))


def _both(exam: Examination) -> tuple[float, float]:
    batch, loss = exam.batch, exam.data.fit.loss
    output, target = exam.output(), batch.targets
    assert loss is not None and target is not None
    try:
        good, bad = _outputs(output, target, exam.kind, exam.classes)
        return float(loss(good, target)), float(loss(bad, target))
    except NotMeasured:
        raise
    except Exception as error:  # a loss may want more than a tensor
        raise NotMeasured(f"the loss does not take made-up outputs: {error}") from error


def _outputs(output: Tensor, target: Tensor, kind: str, classes: int | None) -> tuple[Tensor, Tensor]:
    """Outputs a little nearer to what is right than the model's own, and as much farther."""
    if kind in ("classification", "language-model") and classes:
        hot = F.one_hot(target.long().clamp(min=0), classes).float() - 1 / classes
        right = hot if output.shape == hot.shape else hot.movedim(-1, 1)
    elif kind == "binary":
        right = 0.4 * (target.reshape(output.shape).float() - 0.5)
        output = output.clamp(0.25, 0.75)  # so that a loss of probabilities takes them as well
    elif kind == "regression":
        right = target.reshape(output.shape).float() - output
    else:
        raise NotMeasured(f"what right outputs are for a task of kind {kind} is not known")
    return output + 0.2 * right, output - 0.2 * right


def _trained(exam: Examination) -> tuple[float, float]:
    """After and before a short run: the usual loss of such outputs."""
    usual, model = trial.LOSSES.get(exam.kind), exam.base.model
    if usual is None or exam.base.outcome.status == "diverged":
        raise NotMeasured("what the loss should be is not known")
    with torch.no_grad():
        try:
            after, before = (float(usual(exam.output(m), exam.batch.targets)) for m in (model, exam.copy()))
        except (RuntimeError, ValueError) as error:
            raise NotMeasured(f"the usual loss does not fit: {error}") from error
    falls = exam.base.end < float(exam.first.mean())
    return (after, before * 1.05) if falls else (0.0, 1.0)
