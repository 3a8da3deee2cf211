"""Links: functions of scalars that wrap a rule's update function, composed into one function before it runs."""

from __future__ import annotations

from functools import cache
from typing import Any

from thalweg.rules.rule import Rule, Update


def maximize(update: Update) -> Update:
    """Ascend: g ← −g."""

    def maximized(xp: Any, p: Any, g: Any, *state: Any, **scalars: Any) -> tuple[Any, ...]:
        return update(xp, p, -g, *state, **scalars)

    return maximized


def clip(update: Update) -> Update:
    """Shrink the gradient by a host scalar: g ← clip·g."""

    def clipped(xp: Any, p: Any, g: Any, *state: Any, clip: Any, **scalars: Any) -> tuple[Any, ...]:
        return update(xp, p, clip * g, *state, **scalars)

    return clipped


def coupled_decay(update: Update) -> Update:
    """Weight decay through the gradient: g ← g + λ·p."""

    def decayed(xp: Any, p: Any, g: Any, *state: Any, weight_decay: Any, **scalars: Any) -> tuple[Any, ...]:
        return update(xp, p, g + weight_decay * p, *state, **scalars)

    return decayed


def decoupled_decay(update: Update) -> Update:
    """Weight decay beside the gradient: p ← (the rule's p) − lr·λ·(the p of before)."""

    def decayed(xp: Any, p: Any, g: Any, *state: Any, lr: Any, weight_decay: Any, **scalars: Any) -> tuple[Any, ...]:
        p_new, *state_new = update(xp, p, g, *state, lr=lr, **scalars)
        return p_new - lr * weight_decay * p, *state_new

    return decayed


@cache
def compose(rule: Rule, *, maximized: bool = False, clipped: bool = False, decayed: bool = False) -> Update:
    """One function of scalars for a rule with its links, in the order maximize, clip, coupled decay, rule, decoupled.

    Args:
        rule: the rule.
        maximized: whether to ascend.
        clipped: whether there is a coefficient ``clip`` for the gradient.
        decayed: whether there is a ``weight_decay``; the rule says of which kind.

    Returns:
        ``update(xp, p, g, *state, **scalars)`` with the further scalars ``clip`` and ``weight_decay`` where asked for.

    Example:
        >>> from thalweg import rules
        >>> update = compose(rules.get("sgd"), maximized=True, clipped=True)
        >>> update(None, 1.0, 4.0, None, lr=0.5, momentum=0, dampening=0, nesterov=False, first=True, clip=0.25)
        (1.5, None)
    """
    update = rule.update
    if decayed:
        update = coupled_decay(update) if rule.weight_decay == "coupled" else decoupled_decay(update)
    if clipped:
        update = clip(update)
    return maximize(update) if maximized else update
