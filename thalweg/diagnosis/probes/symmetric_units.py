"""Units of a layer that are the same, and stay so: they get the same gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ...inits import Weights
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding
from ..redrawing import redraw

CODES = ("symmetric-units",)
SHARE = 0.2  # of a layer's units that have a twin
SAME, ALIKE = 1e-5, 0.02  # of a row's length, before and after: rounding drives twins apart a little


def look(exam: Examination) -> Iterator[Finding]:
    """Hidden units with equal incoming weights, before and after a short run."""
    trained = {name for name, p in exam.start.named_parameters(remove_duplicate=False) if p.requires_grad}
    inner = [x for x in exam.layers if not x.output and x.kind in ("linear", "convolution") and x.weight in trained]
    worst = max(
        ((twins(exam.start, layer.weight, layer.last), layer) for layer in inner), default=None, key=lambda p: p[0]
    )
    if worst is None or worst[0] < SHARE:
        return
    if exam.base.outcome.status == "diverged":
        raise NotMeasured("the short run diverged")
    share, layer = worst
    after = twins(exam.base.model, layer.weight, layer.last, ALIKE)
    if after < SHARE:
        return
    yield Finding(
        CODES[0], "error" if after > 0.9 else exam.severity(), layer.name,
        f"{share:.0%} of the units have a twin with the same weights, and {after:.0%} after a short run: they get the same "
        "gradients and stay alike.",
        {"share before": Evidence(share, SHARE), "share after": Evidence(after, SHARE)}, 0.97, redraw(exam),
    )  # fmt: skip


def twins(model: nn.Module, weight: str, last: bool, near: float = SAME) -> float:
    """The share of a layer's units whose incoming weights another unit has too."""
    try:
        w: Tensor = Weights(model).read(weight).detach().double()
    except (KeyError, AttributeError):
        return 0.0
    rows = (w.movedim(-1, 0) if last and w.ndim == 2 else w).reshape(w.shape[-1 if last and w.ndim == 2 else 0], -1)
    if len(rows) < 2:
        return 0.0
    apart = torch.cdist(rows, rows).fill_diagonal_(float("inf")).amin(1)
    return float((apart <= near * rows.norm(dim=1).mean()).double().mean())
