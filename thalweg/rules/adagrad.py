"""Adagrad: a rate for each parameter that shrinks with the sum of its squared gradients."""

from __future__ import annotations

from typing import Any

from thalweg import errors
from thalweg.rules.rule import Option, Rule, State, weight_decay_option


def adagrad(xp: Any, p: Any, g: Any, r: Any, *, lr: Any, lr_decay: Any, eps: Any, t: Any) -> tuple[Any, ...]:
    """Sum the squares: r ← r + g²; p ← p − lr / (1 + (t − 1)·lr_decay) · g / (√r + eps)."""
    r = r + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (xp.sqrt(r) + eps), r


ADAGRAD = Rule(
    name="adagrad",
    title="Adagrad",
    summary="Gradient over the root of the sum of all squared gradients.",
    update=adagrad,
    state=(State("r", "sum", initial="initial_accumulator_value"),),
    options=(
        Option("lr", 1e-2, errors.NOT_NEGATIVE, "learning rate"),
        Option("lr_decay", 0.0, errors.NOT_NEGATIVE, "divides lr by 1 + (t − 1)·lr_decay"),
        weight_decay_option(),
        Option("initial_accumulator_value", 0.0, errors.NOT_NEGATIVE, "the first value of r"),
        Option("eps", 1e-10, errors.NOT_NEGATIVE, "keeps the division finite"),
    ),
    equation="r ← r + g²;  p ← p − lr / (1 + (t − 1)·lr_decay) · g / (√r + eps)",
    source="Duchi, Hazan, Singer, Adaptive subgradient methods for online learning and stochastic optimization, "
    "JMLR 12, 2011",
    differs="The paper has no lr_decay, and its δ stands where eps does. As in torch.",
    rates=(1e-3, 1.0),
)
