"""The table of rules: every optimizer by its name in recipes."""

from __future__ import annotations

from thalweg import errors
from thalweg.rules.adagrad import ADAGRAD
from thalweg.rules.adam import ADAM, ADAMW
from thalweg.rules.rmsprop import RMSPROP
from thalweg.rules.rule import Option, Rule, State
from thalweg.rules.sgd import MOMENTUM, NESTEROV, SGD

TABLE: dict[str, Rule] = {rule.name: rule for rule in (SGD, MOMENTUM, NESTEROV, ADAGRAD, RMSPROP, ADAM, ADAMW)}
ALIASES = {"gd": "sgd"}

__all__ = ["ALIASES", "TABLE", "Option", "Rule", "State", "get"]


def get(name: str) -> Rule:
    """The rule of a name.

    Args:
        name: a name of the table, or "gd" for "sgd".

    Returns:
        The rule.

    Raises:
        BadOption: the name is not in the table; the hint suggests the nearest.

    Example:
        >>> get("adamw").weight_decay
        'decoupled'
    """
    rule = TABLE.get(ALIASES.get(name, name))
    if rule is None:
        raise errors.unknown("rules", "optimizer", str(name), [*TABLE, *ALIASES])
    return rule
