"""Batch norm whose statistics are noise, were never gathered, or are not those of the data."""

from __future__ import annotations

from collections.abc import Iterator

from torch.nn.modules.batchnorm import _BatchNorm

from ... import norms
from ...errors import BadData
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy
from ..rebuilding import rebuilt

CODES = ("batchnorm-small-batch", "batchnorm-stale", "batchnorm-gap")
FEW = 4  # values of a channel in a batch
LEFT = 0.1  # of the first statistics, that may still be in them at the end of a run
USUAL = 0.1  # momentum, under which short runs are as short for everybody
BATCHES = 20


def look(exam: Examination) -> Iterator[Finding]:
    """What the layers say of themselves; for a trained model the gap between running statistics and the data's."""
    model = exam.copy().train()
    own = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm) and m.training}
    if not own:
        return
    for name, module in own.items():
        left = (1 - module.momentum) ** exam.horizon if module.momentum is not None else 0.0
        if module.track_running_stats and left > LEFT and not exam.trained and (module.momentum or 0) < USUAL:
            yield Finding(
                CODES[1], "error" if module.momentum == 0 else "warning", name,
                f"momentum={module.momentum:g}: after a run of {exam.horizon} steps {left:.0%} of the running "
                f"statistics are still "
                "those of the start.",
                {"left": Evidence(left, LEFT)}, 0.98,
                Remedy("momentum=0.1, or norms.recalibrate(model, batches) after training",
                       apply=lambda task, recipe: (rebuilt(task, _usual), recipe)),
            )  # fmt: skip
            break
    rows = exam.recipe.batch_size or exam.data.batch_size
    if rows != "full" and int(rows) <= FEW:
        yield from _small(exam, int(rows), next(iter(own)))
    if exam.trained:
        yield from _gap(exam)


def _usual(model):  # type: ignore[no-untyped-def]
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 0.1
    return model


def _small(exam: Examination, rows: int, name: str) -> Iterator[Finding]:
    other = exam.recipe.but(norm="layer")
    positions = _positions(exam, name)
    if rows * positions > FEW:
        return
    yield Finding(
        CODES[0], exam.severity(), name,
        f"A channel's statistics come of {rows * positions} values: with two they are ±1 whatever the input.",
        {"values": Evidence(rows * positions, FEW)}, 0.96,
        Remedy('norm="layer", or larger batches', {"norm": other.norm}),
    )  # fmt: skip


def _positions(exam: Examination, name: str) -> int:
    seen: list[int] = []
    model = exam.copy()
    module = model.get_submodule(name)
    handle = module.register_forward_pre_hook(lambda m, taken: seen.append(taken[0].numel() // max(1, m.num_features)))
    try:
        exam.loss(model, exam.batch)
    finally:
        handle.remove()
    return max(1, (seen[0] if seen else exam.batch.rows) // exam.batch.rows)


def _gap(exam: Examination) -> Iterator[Finding]:
    size = exam.recipe.batch_size or exam.data.batch_size
    batches = []
    for batch in exam.data.train.training(size, [exam.seed]):
        batches.append(batch.of(0))
        if len(batches) == BATCHES:
            break
    try:
        report = norms.gap(exam.copy(), batches, exam.task.loss_of)
    except BadData:
        return
    for code, sentence in zip(report.codes, report.sentences, strict=True):
        yield Finding(
            code, "warning", report.layers[0].name, sentence,
            {"loss, running statistics": Evidence(report.running), "loss, computed anew": Evidence(report.population)}, 0.95,
            Remedy("thalweg.norms.recalibrate(model, train_batches)"),
        )  # fmt: skip
