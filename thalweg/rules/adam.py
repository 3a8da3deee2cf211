"""Adam and AdamW: running averages of the gradient and of its square, corrected for their start at zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thalweg import errors
from thalweg.rules.rule import Option, Rule, State, weight_decay_option


def adam(
    xp: Any, p: Any, g: Any, m: Any, v: Any, w: Any = None, *, lr: Any, beta1: Any, beta2: Any, eps: Any, t: Any
) -> tuple[Any, ...]:
    """m, v ← averages of g and g²; p ← p − lr·m̂ / (√v̂ + eps); amsgrad: the largest v so far, w, in place of v."""
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    if w is not None:
        w = xp.maximum(w, v)
    d = xp.sqrt(v if w is None else w) / (1 - beta2**t) ** 0.5 + eps
    return p - lr / (1 - beta1**t) * m / d, m, v, w


ADAM = Rule(
    name="adam",
    title="Adam",
    summary="Mean gradient over the root of the mean squared gradient.",
    update=adam,
    state=(
        State("m", "exp_avg"),
        State("v", "exp_avg_sq"),
        State("w", "max_exp_avg_sq", lambda options: bool(options["amsgrad"])),
    ),
    options=(
        Option("lr", 1e-3, errors.NOT_NEGATIVE, "learning rate"),
        Option("betas", (0.9, 0.999), errors.BETAS, "β1 and β2, how much of m and of v is kept"),
        Option("eps", 1e-8, errors.NOT_NEGATIVE, "keeps the division finite"),
        weight_decay_option(),
        Option("amsgrad", False, errors.FLAG, "divide by the root of the largest v so far"),
    ),
    equation="m ← β1·m + (1 − β1)·g;  v ← β2·v + (1 − β2)·g²\n"
    "m̂ = m / (1 − β1ᵗ);  v̂ = v / (1 − β2ᵗ);  p ← p − lr·m̂ / (√v̂ + eps)\n"
    "amsgrad: w ← max(w, v);  v̂ = w / (1 − β2ᵗ)",
    source="Kingma, Ba, Adam: a method for stochastic optimization, arXiv 1412.6980; "
    "amsgrad: Reddi, Kale, Kumar, On the convergence of Adam and beyond, arXiv 1904.09237",
    differs="amsgrad corrects the start at zero, as torch does and its paper does not.",
    rates=(1e-4, 1e-1),
)


def _decoupled() -> tuple[Option, ...]:
    decay = weight_decay_option(1e-2, decoupled=True)
    return tuple(decay if option.name == "weight_decay" else option for option in ADAM.options)


ADAMW = replace(
    ADAM,
    name="adamw",
    title="AdamW",
    summary="Adam with weight decay that does not pass through the averages.",
    options=_decoupled(),
    equation=ADAM.equation + "\ndecay: p ← p − lr·λ·p, with the p of before the step",
    source="Loshchilov, Hutter, Decoupled weight decay regularization, arXiv 1711.05101; " + ADAM.source,
    differs="As in torch the decay is multiplied by lr; in the paper only by the schedule. " + ADAM.differs,
    weight_decay="decoupled",
)
