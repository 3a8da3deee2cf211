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
    if betas is not None and len(betas) == 2 and (betas[0] ** 2 >= betas[1] or betas[0] > 0.97 or betas[1] < 0.9):
        other = exam.mini(exam.recipe.but(betas=BETAS), what="short run at the usual betas")
        if exam.better(other):
            yield Finding(
                CODES[1], exam.severity(), "recipe",
                f"betas={betas}: β1² ought to be below β2, so that steps stay bounded, and β1 not remember more "
                f"than the run can bear.",
                {"beta1 squared": Evidence(betas[0] ** 2, betas[1])}, 0.93, Remedy(f"betas={BETAS}", {"betas": BETAS}),
            )  # fmt: skip
