"""A rule: what an optimizer does to one number, with the facts that surround it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

from thalweg import errors

Options = Mapping[str, Any]
Update = Callable[..., tuple[Any, ...]]

UNIT = errors.Allowed(
    "a number in [0, 1]",
    lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1,
)
BETAS3 = errors.Allowed(
    "three numbers, each in [0, 1)",
    lambda v: isinstance(v, tuple | list) and len(v) == 3 and all(map(errors.FRACTION.test, v)),
)


def always(options: Options) -> bool:
    """Whether the state is needed: always."""
    return True


@dataclass(frozen=True)
class State:
    """What a rule remembers: a number for each element of a parameter, or one for the whole tensor.

    Args:
        letter: its letter in the equation and its name in the update function.
        name: its key in ``state_dict``, as torch names it.
        when: whether the options ask for it.
        initial: its first value, or the option that holds it; "p": the parameter's value before the first step.
        scalar: one number for the whole tensor: a host scalar, kept in float64. It may depend on no element.
    """

    letter: str
    name: str
    when: Callable[[Options], bool] = always
    initial: float | str = 0.0
    scalar: bool = False

    def first(self, options: Options) -> float:
        """Its value before the first step."""
        return float(options[self.initial] if isinstance(self.initial, str) else self.initial)


@dataclass(frozen=True)
class Measure:
    """A sum over the elements of a tensor, taken in a pass before the update; the update gets it as a host scalar.

    Args:
        name: the scalar's name among the inputs of the update function.
        of: ``of(xp, p, g, *state, **scalars)``, the number that each element adds; its keyword-only arguments say which
            scalars it needs.
    """

    name: str
    of: Callable[..., Any]


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
    that the options do not ask for is None, and bools, strings and None are plain Python values: they are static, and
    an ``if`` may ask for them. Everything else chooses with ``xp.where``.

    Besides the options an update may take ``t`` (the step, from 1), ``first`` (whether the state was made just now),
    the names of its measures, and ``n`` (the number of elements of the tensor). ``xp`` has sqrt, abs, sign, minimum,
    maximum, exp, log and where.

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
        weight_decay: "coupled" adds λp to the gradient; "decoupled" takes lr·λ·p from the parameter; "own" leaves it to
            the update function, which takes ``weight_decay`` among its scalars.
        measures: sums that are taken before the update.
        averaged: ``averaged(xp, p, *state, **scalars)``, the weights to evaluate with where they are not ``p``.
        full_batch: whether it is only for gradients of the whole data set.
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
    weight_decay: Literal["coupled", "decoupled", "own"] = "coupled"
    measures: tuple[Measure, ...] = ()
    averaged: Callable[..., Any] | None = None
    full_batch: bool = False
    counts_steps: bool = True
    conflict: Callable[[Options], str | None] = lambda options: None

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The default of every option."""
        return {option.name: option.default for option in self.options}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The scalars that the update function takes, ``t`` and ``first`` among them."""
        return scalar_names(self.update)

    def scalars(self, options: Options) -> dict[str, Any]:
        """What the update function takes from ``options``: ``betas`` becomes ``beta1`` and ``beta2``.

        Args:
            options: a value for every option that the update function uses.

        Returns:
            The keyword arguments of the update function that are options.
        """
        known = spread(options)
        return {name: known[name] for name in self.inputs if name in known}

    def decay_kind(self, options: Options) -> Literal["coupled", "decoupled", "own"]:
        """The kind of weight decay: torch's ``decoupled_weight_decay`` decides where an optimizer has it."""
        return "decoupled" if options.get("decoupled_weight_decay") else self.weight_decay

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
        return 12 + 8 * sum(state is not None and not state.scalar for state in states)

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


@cache
def scalar_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's keyword-only arguments."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def spread(options: Options) -> dict[str, Any]:
    """The options with every tuple ``xs`` also as ``x1``, ``x2``, ....

    Example:
        >>> spread({"lr": 0.1, "betas": (0.9, 0.99)})
        {'lr': 0.1, 'betas': (0.9, 0.99), 'beta1': 0.9, 'beta2': 0.99}
    """
    tuples = [(name.removesuffix("s"), value) for name, value in options.items() if isinstance(value, tuple | list)]
    return {**options, **{f"{name}{i}": x for name, value in tuples for i, x in enumerate(value, 1)}}


def weight_decay_option(default: float = 0.0, *, decoupled: bool = False) -> Option:
    """The option ``weight_decay`` with the meaning that the rule's kind of decay gives it."""
    meaning = "λ, takes lr·λ·p from the parameter" if decoupled else "λ, adds λ·p to the gradient"
    return Option("weight_decay", default, errors.NOT_NEGATIVE, meaning)


def either_decay_option() -> Option:
    """The option ``weight_decay`` of a rule that has the option ``decoupled_weight_decay``."""
    meaning = "λ, adds λ·p to the gradient, or where decoupled takes lr·λ·p from the parameter"
    return Option("weight_decay", 0.0, errors.NOT_NEGATIVE, meaning)
