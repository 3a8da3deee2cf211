"""RMSprop: gradient over the root of a running average of its square."""

from __future__ import annotations

from typing import Any

from thalweg import errors
from thalweg.rules.rule import UNIT, Option, Rule, State, weight_decay_option


def rmsprop(
    xp: Any, p: Any, g: Any, r: Any, a: Any = None, b: Any = None, *, lr: Any, alpha: Any, eps: Any, momentum: Any
) -> tuple[Any, ...]:
    """Average the squares: r ← αr + (1 − α)g²; p ← p − lr·g / (√r + eps); centred: a ← αa + (1 − α)g, r − a² for r."""
    r = alpha * r + (1 - alpha) * g * g
    s = r
    if a is not None:
        a = alpha * a + (1 - alpha) * g
        s = xp.maximum(r - a * a, 0.0)  # rounding can make it negative when g hardly changes
    d = xp.sqrt(s) + eps
    if b is None:
        return p - lr * g / d, r, a, None
    b = momentum * b + g / d
    return p - lr * b, r, a, b


RMSPROP = Rule(
    name="rmsprop",
    title="RMSprop",
    summary="Gradient over the root of a running average of its square.",
    update=rmsprop,
    state=(
        State("r", "square_avg"),
        State("a", "grad_avg", lambda options: bool(options["centered"])),
        State("b", "momentum_buffer", lambda options: bool(options["momentum"] != 0)),
    ),
    options=(
        Option("lr", 1e-2, errors.NOT_NEGATIVE, "learning rate"),
        Option("alpha", 0.99, errors.FRACTION, "α, how much of the running averages is kept"),
        Option("eps", 1e-8, errors.NOT_NEGATIVE, "keeps the division finite"),
        weight_decay_option(),
        Option("momentum", 0.0, UNIT, "ρ, how much of the buffer b is kept"),
        Option("centered", False, errors.FLAG, "take the square of the mean gradient from r"),
    ),
    equation="r ← α·r + (1 − α)·g²;  d = √r + eps;  p ← p − lr·g / d\n"
    "centered: a ← α·a + (1 − α)·g;  d = √max(r − a², 0) + eps\n"
    "momentum: b ← ρ·b + g / d;  p ← p − lr·b",
    source="Tieleman, Hinton, Lecture 6.5, Neural networks for machine learning, 2012; "
    "centered: Graves, Generating sequences with recurrent neural networks, arXiv 1308.0850",
    differs="Graves adds eps under the root; torch and this rule add it outside. Where rounding makes r − a² negative, "
    "torch's centered form returns NaN and this one divides by eps.",
    rates=(1e-4, 1e-1),
)
