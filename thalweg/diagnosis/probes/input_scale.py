"""Inputs that are far from mean 0 and standard deviation 1, where that costs.

The first layer's curvature grows with the mean square of its inputs, and its condition with the ratio of their scales.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ... import features
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("input-scale",)
LARGE = 5.0  # root mean square
APART = 30.0  # ratio of features' standard deviations
OFF = 5.0  # means, in standard deviations


def look(exam: Examination) -> Iterator[Finding]:
    """Scaled inputs are tried where theirs are unusual; a finding only where that trains better."""
    x, _ = exam.rows(exam.data.train)
    if not x.is_floating_point():
        return
    x = x.double().flatten(1)
    size, apart, off = _numbers(x)
    if not (size > LARGE or size < 1 / LARGE**2 or (apart > APART and size > 2) or off > OFF):
        return
    task = features.add(exam.task, "standardize")
    scaled = exam.mini(task=task, what="short run with standardized inputs")
    if not exam.better(scaled):
        return
    evidence = {
        "root mean square": Evidence(size, LARGE),
        "ratio of scales": Evidence(apart, APART),
        "loss": Evidence(exam.base.end),
        "loss, standardized": Evidence(scaled.end),
    }
    yield Finding(
        CODES[0], exam.severity(), "inputs",
        f"Inputs have root mean square {size:.3g} and standard deviations {apart:.3g}-fold apart; standardized, a short run "
        f"ends at loss {scaled.end:.3g} instead of {exam.base.end:.3g}.",
        evidence,
        remedy=Remedy('thalweg.features.add(task, "standardize"): (x − mean)/std of the training rows',
                      apply=lambda task, recipe: (features.add(task, "standardize"), recipe)),
    )  # fmt: skip


def _numbers(x: Tensor) -> tuple[float, float, float]:
    mean, std = x.mean(0), x.std(0, correction=0)
    known = std > 1e-3 * std.max()
    if not bool(known.any()):
        return float(x.square().mean().sqrt()), 1.0, 0.0
    one = torch.quantile(std[known], torch.tensor([0.05, 0.95], dtype=std.dtype))
    apart = float(one[1] / one[0]) if x.shape[1] > 20 else float(std[known].max() / std[known].min())
    return float(x.square().mean().sqrt()), apart, float((mean.abs() / std.clamp(min=1e-12))[known].median())
