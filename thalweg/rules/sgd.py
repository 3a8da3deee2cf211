"""Gradient descent, heavy-ball momentum, and Nesterov's momentum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thalweg import errors
from thalweg.rules.rule import UNIT, Option, Options, Rule, State, weight_decay_option


def sgd(
    xp: Any, p: Any, g: Any, v: Any = None, *, lr: Any, momentum: Any, dampening: Any, nesterov: bool, first: Any
) -> tuple[Any, ...]:
    """Descend: p − lr·g, or with a velocity v ← ρv + (1 − dampening)g and p − lr·v, or p − lr·(g + ρv)."""
    if v is None:
        return p - lr * g, None
    v = momentum * v + xp.where(first, 1.0, 1.0 - dampening) * g
    d = g + momentum * v if nesterov else v
    return p - lr * d, v


def _conflict(options: Options) -> str | None:
    if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
        return "nesterov=True needs momentum > 0 and dampening = 0"
    return None


SGD = Rule(
    name="sgd",
    title="SGD",
    summary="Gradient descent, with momentum where asked for.",
    update=sgd,
    state=(State("v", "momentum_buffer", lambda options: bool(options["momentum"] != 0)),),
    options=(
        Option("lr", 1e-2, errors.NOT_NEGATIVE, "learning rate"),
        Option("momentum", 0.0, UNIT, "ρ, how much of the velocity is kept"),
        Option("dampening", 0.0, UNIT, "how much of the gradient the velocity leaves out"),
        weight_decay_option(),
        Option("nesterov", False, errors.FLAG, "look ahead along the velocity"),
    ),
    equation="p ← p − lr·g                          (momentum = 0)\n"
    "v ← ρ·v + (1 − dampening)·g            (the first time: v = g)\n"
    "p ← p − lr·v,  nesterov: p ← p − lr·(g + ρ·v)",
    source="Polyak, Some methods of speeding up the convergence of iteration methods, 1964; "
    "Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013",
    differs="As in torch, the velocity does not contain lr (Sutskever's does): the two agree only while lr is "
    "constant. torch's default lr is 1e-3. Dampening starts at the second step.",
    rates=(1e-3, 1.0),
    counts_steps=False,
    conflict=_conflict,
)


def _with(**defaults: Any) -> tuple[Option, ...]:
    return tuple(replace(option, default=defaults.get(option.name, option.default)) for option in SGD.options)


MOMENTUM = replace(
    SGD,
    name="momentum",
    title="Momentum",
    summary="Gradient descent with heavy-ball momentum .9.",
    options=_with(momentum=0.9),
    equation="v ← ρ·v + (1 − dampening)·g  (the first time: v = g);  p ← p − lr·v",
)

NESTEROV = replace(
    SGD,
    name="nesterov",
    title="Nesterov",
    summary="Gradient descent with Nesterov's momentum .9.",
    options=_with(momentum=0.9, nesterov=True),
    equation="v ← ρ·v + g  (the first time: v = g);  p ← p − lr·(g + ρ·v)",
    source="Nesterov, A method for solving the convex programming problem with convergence rate O(1/k²), 1983; "
    "Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013",
)
