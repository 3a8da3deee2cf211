"""Steps that go round about the minimum: what is left of the loss is the gradient's noise, not the surface.

On a quadratic SGD at rate η with batches of b rows stays at a mean excess loss of about η·tr Σ/(4b): a lower rate, a larger batch
or an average of the weights lowers it, more steps do not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...building import BY_SIZE
from ...curvature import Surface, batches_of, gradient_noise, lanczos, limit, start_vector
from ...errors import BadOption
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("noise-floor",)
LAST = "roots"  # a consequence of what lies nearer to the root
BATCHES, PRODUCTS = 16, 3
SHARE = 0.05  # of the loss, that noise must make up
TREND = 0.1  # of the fall so far, that the second half still falls


def look(exam: Examination) -> Iterator[Finding]:
    """A run that has fallen and stands, a gradient lost in its noise, and noise that makes up the loss."""
    recipe, base = exam.recipe, exam.base
    assert recipe.lr is not None
    if exam.rows_of_batch >= (exam.data.train.rows or 0) > 0:
        return  # gradients without noise
    if recipe.optimizer not in BY_SIZE or base.outcome.status == "diverged" or not (exam.learns or exam.trained):
        return
    last = recipe.multiplier(exam.horizon)(exam.horizon - 1)
    losses = np.array(base.trace.loss)
    third = max(1, len(losses) // 3)
    fallen, still = (
        losses[:2].mean() - losses[-third:].mean(),
        losses[third : 2 * third].mean() - losses[-third:].mean(),
    )
    if last < 0.3 or not (still < TREND * max(fallen, 1e-12) or exam.trained):
        return
    exam.pay(BATCHES, "gradient noise")
    batches = batches_of(exam.task, BATCHES, exam.seed + 17)
    surface = Surface(exam.task, base.model, batches, training=True)
    noise = gradient_noise(surface.gradients(), batches[0].rows)
    momentum = float(recipe.options.get("momentum", 0.0) or 0.0)
    excess = recipe.lr / (1 - momentum) * noise.variance / (4 * batches[0].rows)
    if noise.significant or excess < SHARE * base.end:
        return
    exam.pay(2 * PRODUCTS * BATCHES, "sharpness")
    top = float(lanczos(surface.hessian(), start_vector(surface.n, exam.seed), PRODUCTS, vectors=False).values_k[-1])
    try:
        bound = limit(recipe.optimizer, recipe.options)
    except BadOption as error:
        raise NotMeasured(error.message) from error
    if recipe.lr * top > bound:
        return
    yield Finding(
        CODES[0], "warning", "recipe",
        f"The loss has stopped falling at {base.end:.3g} and the gradient is lost in its noise (squared length "
        f"{noise.squared:.2g} ± "
        f"{noise.error:.1g}): steps go round about the minimum. Of the loss about {excess:.2g} is theirs.",
        {"squared gradient": Evidence(noise.squared, 3 * noise.error, noise.error),
         "loss due to noise": Evidence(excess, SHARE * base.end),
         "rate times sharpness": Evidence(recipe.lr * top, bound)},
        0.9, Remedy('schedule="linear": let the rate fall to zero', {"schedule": "linear", "warmup": None}),
    )  # fmt: skip
