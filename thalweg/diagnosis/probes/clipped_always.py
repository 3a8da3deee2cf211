"""Gradients that are clipped at every step, far below their length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("clipped-always",)
FAR = 10.0  # times as long as the limit


def look(exam: Examination) -> Iterator[Finding]:
    """Lengths before clipping against the limit; a finding only where training without the limit is better."""
    limit = exam.recipe.clip_norm
    if limit is None:
        return
    norms = np.array(exam.base.trace.grad_norm, dtype=float)
    norms = norms[np.isfinite(norms)]
    if not len(norms) or np.quantile(norms, 0.1) < FAR * limit:
        return
    free = exam.mini(exam.recipe.but(clip_norm=None), what="short run without clipping")
    typical = float(np.median(norms))
    if not exam.better(free):
        return
    new = float(f"{3 * typical:.1g}")
    yield Finding(
        CODES[0], exam.severity(), "recipe",
        f"Every gradient is clipped, typically from {typical:.3g} to {limit:.3g}: the rate is in truth {typical / limit:.0f} "
        f"times lower. Without it a short run ends at {free.end:.3g} instead of {exam.base.end:.3g}.",
        {"typical length": Evidence(typical, limit)}, 0.95,
        Remedy(f"clip_norm={new:g}", {"clip_norm": new}),
    )  # fmt: skip
