"""Several layers that are together no more than one."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ...batch import make_batch, map_leaves
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("linear-network",)


def look(exam: Examination) -> Iterator[Finding]:
    """f(ax + (1 - a)y) = a f(x) + (1 - a) f(y) for rows of the data, for a model with two weights in a row and more."""
    layers = [layer for layer in exam.layers if layer.kind in ("linear", "convolution")]
    inputs = exam.batch.inputs
    if len(layers) < 2 or not any(layer.inputs for layer in layers) or not isinstance(inputs, Tensor):
        return
    if any(layer.activation or layer.norm is not None for layer in layers if not layer.output):
        return
    if not inputs.is_floating_point() or exam.batch.rows < 4:
        return
    half = exam.batch.rows // 2
    x, y = inputs[:half], inputs[half : 2 * half]
    model = exam.copy()

    def f(rows: Tensor) -> Tensor:
        raw = map_leaves(lambda t: rows if t is inputs else t[:half], exam.batch.raw)
        return exam.output(model, make_batch(raw))

    one, two, mixed = f(x), f(y), f(0.3 * x + 0.7 * y)
    expected = 0.3 * one + 0.7 * two
    scale = float((one - two).abs().mean())
    apart = float((mixed - expected).abs().mean()) / max(scale, 1e-12)
    if scale > 0 and apart < 1e-3:
        yield Finding(
            CODES[0], "warning", f"{layers[0].name} to {layers[-1].name}",
            f"{len(layers)} layers with nothing between them: together they are one linear map.",
            {"departure from a linear map": Evidence(apart, 1e-3)}, 0.97,
            Remedy("put a non-linearity between the layers: nn.ReLU()"),
        )  # fmt: skip
