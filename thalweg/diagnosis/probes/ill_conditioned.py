"""A valley: what is left of the loss lies along directions of little curvature, and the steep ones forbid a higher rate.

Lanczos's iteration from the gradient g gives the curvatures θ that g meets, with shares w. On that quadratic a step along θ
would gain w‖g‖²/(2θ), of which gradient descent at rate η leaves the share (1 - ηθ)^(2N) after N steps.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ...building import BY_SIZE
from ...curvature import Surface, batches_of, lanczos
from ...recipe import Recipe
from ...task import Task
from ..examination import Examination
from ..findings import Evidence, Finding, Remedy

CODES = ("ill-conditioned",)
LAST = "roots"  # a consequence of what lies nearer to the root
KAPPA = 300.0
LEFT = 0.02  # of the first loss, that the run would leave
PRODUCTS = 12


def look(exam: Examination) -> Iterator[Finding]:
    """What the run would leave, by the quadratic; and that conjugate gradients really gain it, at once."""
    recipe, base = exam.recipe, exam.base
    if recipe.optimizer not in BY_SIZE or base.outcome.status == "diverged":
        return
    assert recipe.lr is not None
    [batch] = batches_of(exam.task, 1, exam.seed + 17)
    surface = Surface(exam.task, base.model, [batch], training=True)
    exam.pay(2 * PRODUCTS + 1, "curvature along the gradient")
    g, product = surface.gradient(), surface.hessian()
    square = float(g @ g)
    if square == 0:
        return
    found = lanczos(product, g / square**0.5, PRODUCTS, vectors=False)
    up = found.values_k > 1e-9 * found.values_k[-1]
    theta, gain = found.values_k[up], square * found.weights_k[up] / (2 * found.values_k[up])
    rate = recipe.lr / (1 - float(recipe.options.get("momentum", 0.0) or 0.0))
    slow = np.clip(1 - rate * theta, 0, 1) ** (2 * exam.horizon)
    left = float((gain * slow).sum())
    kappa = float(theta[-1] / np.average(theta, weights=gain * slow)) if left else 1.0
    first = abs(float(exam.first.mean()))
    if kappa < KAPPA or left < LEFT * first or recipe.lr * float(theta[-1]) < 0.05:
        return
    exam.pay(2 * PRODUCTS, "conjugate gradients")
    here = surface.loss()
    with surface.moved(_conjugate(product, -g)):
        there = surface.loss()
    if here - there < 0.25 * left:  # the surface is no such quadratic
        return
    yield Finding(
        CODES[0], exam.severity(), "parameters",
        f"Steep directions (curvature {theta[-1]:.2g}) bound the rate; along flat ones, {kappa:.1g} times less "
        f"curved, the run of "
        f"{exam.horizon} steps would leave {left:.2g} of loss. {PRODUCTS} steps of conjugate gradients take it "
        f"from {here:.3g} to "
        f"{there:.3g}.",
        {"condition": Evidence(kappa, KAPPA), "left by the run": Evidence(left, LEFT * first)}, 0.9,
        Remedy('optimizer="adam", or normalization: they take the scale out of the directions',
               {"optimizer": "adam", "lr": 1e-2}, _adam),
    )  # fmt: skip


def _adam(task: Task, recipe: Recipe) -> tuple[Task, Recipe]:
    kept = {k: v for k, v in recipe.as_dict().items() if k not in {"optimizer", "lr", *recipe.options}}
    return task, Recipe("adam", lr=1e-2, **kept)


def _conjugate(product, b: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """The x with A x near b, by a few steps of conjugate gradients; they end at a direction that does not curve up."""
    x, r = torch.zeros_like(b), b.clone()
    p, size = r.clone(), float(r @ r)
    for _ in range(PRODUCTS):
        ap = product(p)
        bend = float(p @ ap)
        if bend <= 0 or size == 0:
            break
        step = size / bend
        x, r = x + step * p, r - step * ap
        p, size = r + float(r @ r) / size * p, float(r @ r)
    return x
