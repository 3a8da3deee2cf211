"""Several layers that are together no more than one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...batch import make_batch, map_leaves
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("linear-network",)
GAIN = 0.1
FEATURES, RIDGES = 300, (1e-3, 1e-1)


def look(exam: Examination) -> Iterator[Finding]:
    """f(ax + (1 - a)y) = a f(x) + (1 - a) f(y) for rows of the data, for a model with two weights in a row and more."""
    layers = [layer for layer in exam.layers if layer.kind in ("linear", "convolution")]
    inputs = exam.batch.inputs
    if len(layers) < 2 or not any(layer.inputs for layer in layers) or not isinstance(inputs, Tensor):
        return
    if any(layer.activation for layer in layers if not layer.output):
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
        gains = _bends(exam)
        yield Finding(
            CODES[0], "warning" if gains > GAIN else "note", f"{layers[0].name} to {layers[-1].name}",
            f"{len(layers)} layers with nothing between them: together they are one linear map"
            + (f", and a bent one would explain {gains:.0%} of what it leaves." if gains > GAIN else "."),
            {"departure from a linear map": Evidence(apart, 1e-3), "gained by bending": Evidence(gains, GAIN)}, 0.97,
            Remedy("put a non-linearity between the layers: nn.ReLU()"),
        )  # fmt: skip


def _bends(exam: Examination) -> float:
    """The share of a linear fit's squared error on held rows that a fit on random ReLU features takes away."""
    x, y = exam.rows(exam.data.train)
    if y is None or len(x) < 50 or exam.kind not in ("classification", "binary", "regression"):
        return 1.0  # it cannot be told: what is usual counts
    target = torch.nn.functional.one_hot(y.long().flatten()) if exam.kind == "classification" else y.reshape(len(y), -1)
    x, target = x.double().flatten(1), target.double()
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-9)
    generator = torch.Generator().manual_seed(exam.seed)
    drawn = torch.randn(x.shape[1], FEATURES, generator=generator, dtype=torch.float64) / x.shape[1] ** 0.5
    bent = torch.cat([x, torch.relu(x @ drawn + torch.randn(FEATURES, generator=generator, dtype=torch.float64))], 1)
    straight, other = (min(_left(z, target, ridge) for ridge in RIDGES) for z in (x, bent))
    return max(0.0, 1 - other / straight) if straight > 0 else 0.0


def _left(x: Tensor, y: Tensor, ridge: float) -> float:
    """The mean squared error on the last quarter of the rows, of a ridge regression on the others."""
    cut = len(x) * 3 // 4
    wide = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    known = wide[:cut]
    gram = known.T @ known / cut + ridge * torch.eye(wide.shape[1], dtype=x.dtype)
    w = torch.linalg.solve(gram, known.T @ y[:cut] / cut)
    return float((wide[cut:] @ w - y[cut:]).square().mean())
