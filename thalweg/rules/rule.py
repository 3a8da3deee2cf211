"""A rule: what an optimizer does to one number, with the facts that surround it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from thalweg import errors

Options = Mapping[str, Any]
Update = Callable[..., tuple[Any, ...]]

UNIT = errors.Allowed(
    "a number in [0, 1]",
    lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1,
)


def always(options: Options) -> bool:
    """Whether the state is needed: always."""
    return True


@dataclass(frozen=True)
class State:
    """One number that a rule remembers for each parameter.

    Args:
        letter: its letter in the equation and its name in the update function.
        name: its key in ``state_dict``, as torch names it.
        when: whether the options ask for it.
        initial: the option that holds its first value; None: zero.
    """

    letter: str
    name: str
    when: Callable[[Options], bool] = always
    initial: str | None = None


@dataclass(frozen=True)
class Option:
    """One argument of an optimizer: its name, its default, what it may be, and what it means."""

    name: str
    default: Any
    allowed: errors.Allowed
    meaning: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """An optimizer: a pure function of scalars and the facts about it.

    ``update(xp, p, g, *state, **scalars)`` returns ``(p, *state)``. ``p``, ``g`` and the state are elements; the
    scalars are host numbers, and arithmetic among them alone is done in float64 before any element is touched. A state
    that the options do not ask for is None, and bools are plain Python bools: both are static.

    Args:
        name: the name in recipes, lower case.
        title: the name of the class in `thalweg.optim`.
        summary: one line.
        update: the function of scalars.
        state: what it remembers, in the order of the update function's arguments.
        options: what can be chosen, in torch's positional order.
        equation: the update in plain text.
        source: where it was published.
        differs: where it differs from its paper or from torch.
        rates: the range of learning rates to search, on a logarithmic scale.
        weight_decay: "coupled" adds λp to the gradient; "decoupled" takes lr·λ·p from the parameter.
        counts_steps: whether the state holds the number of steps, ``t`` in the equation.
        conflict: the reason why a combination of options makes no sense, or None.

    Example:
        >>> from thalweg import rules
        >>> rules.get("adam").scalars({"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8})
        {'lr': 0.1, 'beta1': 0.9, 'beta2': 0.999, 'eps': 1e-08}
    """

    name: str
    title: str
    summary: str
    update: Update
    state: tuple[State, ...]
    options: tuple[Option, ...]
    equation: str
    source: str
    differs: str
    rates: tuple[float, float]
    weight_decay: Literal["coupled", "decoupled"] = "coupled"
    counts_steps: bool = True
    conflict: Callable[[Options], str | None] = lambda options: None

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The default of every option."""
        return {option.name: option.default for option in self.options}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The scalars that the update function takes, ``t`` and ``first`` among them."""
        parameters = inspect.signature(self.update).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def scalars(self, options: Options) -> dict[str, Any]:
        """What the update function takes from ``options``: ``betas`` becomes ``beta1`` and ``beta2``.

        Args:
            options: a value for every option that the update function uses.

        Returns:
            The keyword arguments of the update function, without ``t`` and ``first``.
        """
        known = {**options, **{f"beta{i}": beta for i, beta in enumerate(options.get("betas", ()), 1)}}
        return {name: known[name] for name in self.inputs if name not in ("t", "first")}

    def active(self, options: Options) -> tuple[State | None, ...]:
        """The states that ``options`` ask for, with None in the place of the others."""
        return tuple(state if state.when(options) else None for state in self.state)

    def bytes_per_parameter(self, options: Options | None = None) -> int:
        """The least float32 traffic of a step: p and g read, p written, each state read and written.

        Args:
            options: what differs from the defaults.

        Returns:
            Bytes for each parameter: 12 without state and 8 more for each state.

        Example:
            >>> from thalweg import rules
            >>> rules.get("adam").bytes_per_parameter(), rules.get("adam").bytes_per_parameter({"amsgrad": True})
            (28, 36)
        """
        states = self.active({**self.defaults, **(options or {})})
        return 12 + 8 * sum(state is not None for state in states)

    def check(self, options: Options, owner: str | None = None) -> None:
        """Raise `BadOption` unless every option has an allowed value and the options fit together.

        Args:
            options: values by name; a name that is missing has its default.
            owner: who asks, for the message.

        Raises:
            BadOption: says which option, what is allowed, and what was got.
        """
        owner = owner or self.title
        for option in self.options:
            if option.name in options:
                errors.check(owner, option.name, options[option.name], option.allowed)
        reason = self.conflict({**self.defaults, **options})
        if reason:
            raise errors.BadOption(f"{owner}: {reason}", f"see the equation: {self.equation.splitlines()[0].strip()}")


def weight_decay_option(default: float = 0.0, *, decoupled: bool = False) -> Option:
    """The option ``weight_decay`` with the meaning that the rule's kind of decay gives it."""
    meaning = "λ, takes lr·λ·p from the parameter" if decoupled else "λ, adds λ·p to the gradient"
    return Option("weight_decay", default, errors.NOT_NEGATIVE, meaning)
