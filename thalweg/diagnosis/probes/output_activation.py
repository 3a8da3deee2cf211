"""What stands behind the last layer, against what the loss and the targets need."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from ...building import fresh
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy
from ..rebuilding import last_module, rebuilt, without

CODES = ("double-softmax", "output-range")
BEHIND = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.GELU, nn.ELU,
          nn.LeakyReLU, nn.Hardtanh, nn.Hardsigmoid, nn.SiLU)  # fmt: skip
RANGES = {"relu": (0.0, float("inf")), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softplus": (0.0, float("inf")),
          "hardtanh": (-1.0, 1.0), "hardsigmoid": (0.0, 1.0)}  # fmt: skip
OUTSIDE = 0.02  # share of the targets


def look(exam: Examination) -> Iterator[Finding]:
    """Probabilities that go into a loss of logits; outputs that cannot reach the targets."""
    output, target = exam.output(), exam.batch.targets
    if target is None:
        raise NotMeasured("no targets")
    name = last_module(exam.copy(), fresh(exam.batch).inputs, BEHIND)
    behind = next((layer.activation for layer in exam.layers if layer.output and layer.activation), None)
    said = _doubled(exam, output, target, behind)
    if said:
        yield Finding(
            CODES[0], exam.severity(), name or "output", said,
            {"sum of a row": Evidence(float(_rows(output).sum(-1).mean()), 1.0)},
            0.98, _remedy("give the loss the logits: take the activation out of the model", exam, name, probabilities=True),
        )  # fmt: skip
        return
    if behind not in RANGES:
        return
    low, high = RANGES[behind]
    if exam.kind in ("classification", "language-model", "binary") and _takes_logits(exam, output, target):
        stuck = float((output <= low).float().mean()) if behind == "relu" else 1.0
        if stuck > 0.02:
            yield Finding(
                CODES[1], exam.severity(), name or "output",
                f"A {behind} behind the last layer keeps the logits within [{low:g}, {high:g}]" + (
                    f"; {stuck:.0%} of them are at its flat end." if behind == "relu" else
                    ", so that no class can become sure."),
                {"share at the flat end": Evidence(stuck)}, 0.95,
                _remedy(f"take the {behind} behind the last layer out", exam, name),
            )  # fmt: skip
    elif exam.kind == "regression" and exam.targets is not None:
        share = float(((exam.targets < low) | (exam.targets > high)).float().mean())
        if share > OUTSIDE:
            yield Finding(
                CODES[1], exam.severity(), name or "output",
                f"A {behind} behind the last layer gives numbers within [{low:g}, {high:g}]; {share:.0%} of the "
                f"targets lie outside.",
                {"targets outside": Evidence(share, OUTSIDE)}, 0.97,
                _remedy(f"take the {behind} behind the last layer out, or scale the targets", exam, name),
            )  # fmt: skip


def _rows(output: Tensor) -> Tensor:
    return output if output.ndim < 3 else output.movedim(1, -1)


def _doubled(exam: Examination, output: Tensor, target: Tensor, behind: str | None) -> str:
    inside = bool(((output >= 0) & (output <= 1)).all())
    if not inside:
        return ""
    if exam.kind in ("classification", "language-model"):
        for dim in {-1, 1 % output.ndim}:
            one = bool(((output.sum(dim) - 1).abs() < 1e-3).all()) and output.shape[dim] == exam.classes
            if one and _takes_logits(exam, output, target):
                return (
                    "The model gives probabilities, and the cross-entropy takes logits: the softmax is applied twice."
                )
    if exam.kind == "binary" and behind == "sigmoid" and _takes_logits(exam, output, target):
        return "The model gives probabilities, and the loss takes logits: the sigmoid is applied twice."
    return ""


def _takes_logits(exam: Examination, output: Tensor, target: Tensor) -> bool:
    """Whether the loss is the cross-entropy that has its softmax or sigmoid inside."""
    loss = exam.data.fit.loss
    if loss is None:
        return False
    try:
        probe = output.clamp(0.05, 0.95) if exam.kind == "binary" else output + 0.1
        seen = float(loss(probe, target))
        if exam.kind == "binary":
            usual = F.binary_cross_entropy_with_logits(probe, target.reshape(probe.shape).to(probe.dtype))
            return abs(seen - float(usual)) < 0.01 * max(1.0, abs(seen))
        return abs(float(loss(probe + 1, target)) - seen) < 1e-3 * max(1.0, abs(seen))  # a softmax sees no constant
    except Exception:  # a loss may want more than a tensor
        return False


def _remedy(text: str, exam: Examination, name: str | None, probabilities: bool = False) -> Remedy:
    if name is not None:
        return Remedy(text, apply=lambda task, recipe: (without(task, name), recipe))
    if probabilities and exam.kind == "classification":
        return Remedy(
            text, apply=lambda task, recipe: (rebuilt(task, lambda m: nn.Sequential(m, _Logarithm())), recipe)
        )
    return Remedy(text)


class _Logarithm(nn.Module):
    """Of probabilities: logits whose softmax they are."""

    def forward(self, p: Tensor) -> Tensor:
        return p.clamp(min=1e-9).log()
