"""Parameters that are to be trained and get no gradient: cut off from the loss, or not used."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import torch

from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

SOME = 4  # parameters that are tried, from either end
CODES = ("graph-detached", "parameters-without-gradient")


def look(exam: Examination) -> Iterator[Finding]:
    """A gradient that is None; then whether the output changes with the parameter."""
    frozen = exam.recipe.freeze
    without = [n for n, g in exam.gradients.items() if g is None and not any(fnmatch.fnmatchcase(n, f) for f in frozen)]
    if not without:
        return
    if exam.base.outcome.status != "diverged":  # what acts in training only, or now and then, has moved
        before, after = dict(exam.start.named_parameters()), dict(exam.base.model.named_parameters())
        without = [name for name in without if torch.equal(before[name], after[name]) or exam.recipe.weight_decay]
    ends = {*without[:SOME], *without[-SOME:]}
    cut = without if any(_matters(exam, name) for name in ends) else []
    unused = [name for name in without if name not in cut]
    if not without:
        return
    share = len(without) / len(exam.gradients)
    evidence = {"share of parameters": Evidence(share, 0.0)}
    if cut:
        yield Finding(
            CODES[0], "error" if share > 0.5 else exam.severity(), _shown(cut),
            f"{len(cut)} parameters change the output, yet the loss gives them no gradient: the graph is cut behind "
            f"{cut[-1]}.", evidence, 0.97,
            Remedy("take out .detach(), .data, .numpy() or torch.no_grad() behind it, or requires_grad_(False) if it is meant"),
        )  # fmt: skip
    if unused:
        yield Finding(
            CODES[1], "warning", _shown(unused), f"{len(unused)} parameters have no part in the output: {_shown(unused)}.",
            evidence, 0.9, Remedy("use them in forward, or take them out of the model"),
        )  # fmt: skip


def _shown(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _matters(exam: Examination, name: str) -> bool:
    try:
        before = exam.output()
        model = exam.copy()
        with torch.no_grad():
            parameter = model.get_parameter(name)
            parameter.copy_(parameter * 1.5 + 0.1 * torch.ones_like(parameter))
        return not torch.equal(before, exam.output(model))
    except NotMeasured:
        return False
