"""Every error a user can meet, with its stable code (a page for each: ``docs/errors.md``).

ThalwegError
├── BadOption   bad-option   an argument outside what is allowed (also a ``ValueError``)
├── BadData     bad-data     data that cannot be read, or that do not fit the task
├── BadRule     bad-rule     an optimizer of one's own that cannot be compiled (also a ``TypeError``)
├── BadTask     bad-task     a model, loss or metric that does not work, or a task that cannot be loaded
├── BadStudy    bad-study    a study folder that cannot be written, read or resumed
└── Missing     missing      an optional package that a feature needs
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


class ThalwegError(Exception):
    """Wrong use: says what was wrong, what was allowed, what was got, and what to do.

    Args:
        message: the fact, in a sentence or two.
        hint: what to do about it.
        finding: code of the finding that it is to `thalweg.diagnose`; None: it is none.
    """

    code = "error"

    def __init__(self, message: str, hint: str, finding: str | None = None) -> None:
        super().__init__(message, hint)
        self.message, self.hint, self.finding = message, hint, finding

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}"


class BadOption(ThalwegError, ValueError):
    """An argument outside what is allowed."""

    code = "bad-option"


class BadData(ThalwegError, ValueError):
    """Data that cannot be read, or that do not fit the task."""

    code = "bad-data"


class BadRule(ThalwegError, TypeError):
    """An optimizer of one's own that cannot be compiled."""

    code = "bad-rule"


class BadTask(ThalwegError, ValueError):
    """A model, loss or metric that does not work, or a task that cannot be loaded."""

    code = "bad-task"


class BadStudy(ThalwegError, ValueError):
    """A study folder that cannot be written, read or resumed."""

    code = "bad-study"


class Missing(ThalwegError, ImportError):
    """An optional package that a feature needs is not installed."""

    code = "missing"


@dataclass(frozen=True)
class Allowed:
    """What a value may be: the words for the message and the test for the value."""

    text: str
    test: Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """Whether a value is a number, no flag, that a float can hold.

    Example:
        >>> is_number(2), is_number(10**400), is_number(math.nan), is_number(True)
        (True, False, False, False)
    """
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


POSITIVE = Allowed("a finite number > 0", lambda v: is_number(v) and v > 0)
NOT_NEGATIVE = Allowed("a finite number >= 0", lambda v: is_number(v) and v >= 0)
FRACTION = Allowed("a number in [0, 1)", lambda v: is_number(v) and 0 <= v < 1)
BETAS = Allowed(
    "two numbers, each in [0, 1)",
    lambda v: isinstance(v, tuple | list) and len(v) == 2 and all(is_number(b) and 0 <= b < 1 for b in v),
)
FLAG = Allowed("True or False", lambda v: isinstance(v, bool))
COUNT = Allowed("a whole number >= 1", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 1)


def optional(allowed: Allowed) -> Allowed:
    """``allowed``, or None."""
    return Allowed(f"{allowed.text}, or None", lambda v: v is None or allowed.test(v))


def one_of(*names: Any) -> Allowed:
    """One of the given values."""
    return Allowed("one of " + ", ".join(map(repr, names)), lambda v: any(v is n or v == n for n in names))


def check(owner: str, name: str, value: Any, allowed: Allowed, hint: str | None = None) -> None:
    """Raise `BadOption` unless ``value`` is allowed.

    Example:
        >>> check("Adam", "lr", -1.0, NOT_NEGATIVE)
        Traceback (most recent call last):
        thalweg.errors.BadOption: Adam: lr must be a finite number >= 0, got -1.0
        hint: change lr to a finite number >= 0
    """
    if not allowed.test(value):
        raise BadOption(
            f"{owner}: {name} must be {allowed.text}, got {value!r}", hint or f"change {name} to {allowed.text}"
        )


def unknown(owner: str, what: str, got: str, known: Iterable[str]) -> BadOption:
    """The error for a name that is not known; its hint suggests the nearest.

    Example:
        >>> print(unknown("Recipe", "optimizer", "adamv", ["adam", "adamw", "sgd"]))
        Recipe: unknown optimizer 'adamv'; known: adam, adamw, sgd
        hint: did you mean 'adam'?
    """
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(names)}"
    return BadOption(f"{owner}: unknown {what} {got!r}; known: {', '.join(names)}", hint)
