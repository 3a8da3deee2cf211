"""A layer so narrow that what is to be told apart does not go through it."""

from __future__ import annotations

from collections.abc import Iterator

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("underfitting",)
NARROW = 2  # units
TIMES = 4  # as many numbers before it, and outputs or inputs


def look(exam: Examination) -> Iterator[Finding]:
    """Hidden layers of one or two units between many more; a network that gives back its inputs may want them."""
    output = exam.output()
    if exam.kind not in ("classification", "regression") or output.shape[1:] == exam.batch.raw[0].shape[1:]:
        return
    for layer in exam.layers:
        if layer.output or layer.kind != "linear" or layer.branch or len(layer.shape) != 2:
            continue
        units, before = layer.shape[1], layer.fans[0]
        wanted = exam.classes or before
        if units <= NARROW and before >= TIMES * units and wanted >= TIMES * units and _all_through(exam, layer.name):
            yield Finding(
                CODES[0], "warning", layer.name,
                f"{before} numbers go through {units} unit{'s' if units > 1 else ''}"
                + (f", and {exam.classes} classes are to be told apart behind it." if exam.classes else "."),
                {"units": Evidence(units, NARROW)}, 0.8, Remedy("make the layer wider"),
            )  # fmt: skip
            return


def _all_through(exam: Examination, name: str) -> bool:
    """Whether outputs no longer differ from row to row where the layer gives the mean over the batch."""
    model = exam.copy()
    handle = model.get_submodule(name).register_forward_hook(
        lambda _m, _i, out: out.mean(0, keepdim=True).expand_as(out)
    )
    try:
        output = exam.output(model)
    finally:
        handle.remove()
    return float(output.std(0).mean()) < 1e-4 * float(exam.output().std(0).mean())
