"""An eps that swallows the gradients, and averages that do not fit each other."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("adam-epsilon", "adam-betas")
LARGE = 1e-6
USUAL = 1e-8
BETAS = (0.9, 0.999)
SHARE = 0.25  # of the run, that β1 may remember


def look(exam: Examination) -> Iterator[Finding]:
    """The usual values in a short run, where these are unusual."""
    options = exam.recipe.options
    eps, betas = options.get("eps"), options.get("betas")
    if eps is not None and eps > LARGE:
        sizes = torch.cat([g.double().abs().flatten() for g in exam.gradients.values() if g is not None])
        share = float((sizes < eps).double().mean())
        if share > 0.5:
            other = exam.mini(exam.recipe.but(eps=USUAL), what="short run at the usual eps")
            if exam.better(other):
                yield Finding(
                    CODES[0], exam.severity(), "recipe",
                    f"{share:.0%} of the gradient's numbers are below eps = {eps:g}: they move in proportion to "
                    f"their size, and hardly. "
                    f"At {USUAL:g} a short run ends at {other.end:.3g} instead of {exam.base.end:.3g}.",
                    {"share below eps": Evidence(share, 0.5)}, 0.95, Remedy(f"eps={USUAL:g}", {"eps": USUAL}),
                )  # fmt: skip
    if betas is not None and len(betas) == 2:
        yield from _betas(exam, float(betas[0]), float(betas[1]))


def _betas(exam: Examination, beta1: float, beta2: float) -> Iterator[Finding]:
    """β1 that remembers a large part of the run, which a short run does not show; else the usual ones are tried."""
    memory = 1 / (1 - beta1)
    long = beta1 > 0.98 and memory > SHARE * exam.horizon
    if not long and beta1**2 < beta2 and beta2 >= 0.9:
        return
    if not long and not exam.better(exam.mini(exam.recipe.but(betas=BETAS), what="short run at the usual betas")):
        return
    yield Finding(
        CODES[1], exam.severity(), "recipe",
        f"betas=({beta1:g}, {beta2:g}): β1 remembers {memory:.0f} steps of a run of {exam.horizon}, and β1² "
        f"ought to be below β2, so that "
        "steps stay bounded.",
        {"beta1 squared": Evidence(beta1**2, beta2), "steps remembered": Evidence(memory, SHARE * exam.horizon)}, 0.9,
        Remedy(f"betas={BETAS}", {"betas": BETAS}),
    )  # fmt: skip
