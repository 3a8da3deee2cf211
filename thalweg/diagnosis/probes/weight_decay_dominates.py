"""Weight decay that outweighs the gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ... import rules
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("weight-decay-dominates",)
FORGOTTEN = 0.5  # share of the weights that a run would take away by decay alone, below which nothing is tried
USUAL = 1e-2


def look(exam: Examination) -> Iterator[Finding]:
    """λ·lr summed over the run says how much decay alone forgets; then a short run without it."""
    decay = float(exam.recipe.weight_decay or 0)
    if not decay:
        return
    rate = exam.recipe.lr or 0.0
    forgets = decay * rate * exam.horizon
    length = sum(float(p.detach().double().square().sum()) for p in exam.start.parameters()) ** 0.5
    slope = sum(float(g.double().square().sum()) for g in exam.gradients.values() if g is not None) ** 0.5
    pull = decay * length / max(slope, 1e-30)
    coupled = "decoupled" not in str(rules.get(exam.recipe.optimizer).defaults.get("decay", ""))
    if forgets < FORGOTTEN and not (coupled and pull > 1):
        return
    free = exam.mini(exam.recipe.but(weight_decay=0), what="short run without weight decay")
    if not exam.better(free):
        return
    with torch.no_grad():
        after = sum(float(p.double().square().sum()) for p in exam.base.model.parameters()) ** 0.5
    yield Finding(
        CODES[0], exam.severity(), "recipe",
        f"Weight decay {decay:g} pulls {pull:.2g} times as hard as the gradient; the weights go from length {length:.3g} to "
        f"{after:.3g}. Without it a short run ends at {free.end:.3g} instead of {exam.base.end:.3g}.",
        {"pull over gradient": Evidence(pull, 1.0), "forgotten over the run": Evidence(forgets, FORGOTTEN)}, 0.95,
        Remedy(f"weight_decay={min(USUAL, decay / 100):g}", {"weight_decay": min(USUAL, decay / 100)}),
    )  # fmt: skip
