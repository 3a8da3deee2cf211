"""A momentum that remembers a large part of the run: what it gathered early it cannot turn any more.

The velocity is a sum over the last 1/(1 - ρ) gradients, and steps are as many times as long. Short runs do not show it: in
them such a velocity is still growing.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("momentum-too-high",)
LEAST, MOST = 0.98, 0.998
SHARE = 0.25  # of the run
USUAL = 0.9


def look(exam: Examination) -> Iterator[Finding]:
    """Steps that are remembered against those of the run."""
    rho = exam.recipe.options.get("momentum")
    if rho is None or rho < LEAST or rho >= 1 or (1 / (1 - rho) < SHARE * exam.horizon and rho < MOST):
        return
    memory = 1 / (1 - rho)
    yield Finding(
        CODES[0], exam.severity(), "recipe",
        f"Momentum {rho:g} remembers {memory:.0f} steps of a run of {exam.horizon}, and makes steps {memory:.0f} times as long: "
        "the loss swings.",
        {"steps remembered": Evidence(memory, SHARE * exam.horizon)}, 0.85,
        Remedy(f"momentum={USUAL}", {"momentum": USUAL}),
    )  # fmt: skip
