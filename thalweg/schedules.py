"""Learning-rate schedules: pure functions from the number of the update to a multiplier of the rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from thalweg import errors

Schedule = Callable[[int], float]


def _constant(k: int, steps: int | None) -> float:
    return 1.0


def _linear(k: int, steps: int | None) -> float:
    return 1.0 if steps is None else max(steps - k, 0) / steps


def _cosine(k: int, steps: int | None) -> float:
    return 1.0 if steps is None else 0.5 * (1 + math.cos(math.pi * min(k, steps) / steps))


def _inverse(k: int, steps: int | None) -> float:
    return 1 / (k + 1)


def _inverse_root(k: int, steps: int | None) -> float:
    return 1 / math.sqrt(k + 1)


SCHEDULES: dict[str, Callable[[int, int | None], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "1/t": _inverse,
    "1/sqrt(t)": _inverse_root,
}


def make(name: str, steps: int | None = None, warmup: int = 0) -> Schedule:
    """The multiplier of the learning rate for the updates k = 0, 1, …, as for torch's ``LambdaLR``.

    The warm-up is (k + 1)/w for k < w = ``warmup``. After it, with j = k − w and n = ``steps`` − w:

    - "constant": 1
    - "linear": (n − j)/n
    - "cosine": (1 + cos(πj/n))/2
    - "1/t": 1/(j + 1)
    - "1/sqrt(t)": 1/√(j + 1)

    Args:
        name: one of the above.
        steps: how many updates there will be, warm-up included; None: unknown, and "linear" and "cosine" stay at 1
            after the warm-up. After the last update both stay at 0.
        warmup: how many updates warm up.

    Returns:
        A function of k.

    Raises:
        BadOption: the name is unknown, or a number is outside what is allowed.

    Example:
        >>> rate = make("linear", steps=6, warmup=2)
        >>> [rate(k) for k in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if name not in SCHEDULES:
        raise errors.unknown("schedules", "schedule", str(name), SCHEDULES)
    errors.check("schedules", "steps", steps, errors.optional(errors.COUNT))
    whole = errors.Allowed("a whole number >= 0", lambda v: v == 0 or errors.COUNT.test(v))
    errors.check("schedules", "warmup", warmup, whole)
    shape, left = SCHEDULES[name], None if steps is None else max(steps - warmup, 1)

    def multiplier(k: int) -> float:
        return (k + 1) / warmup if k < warmup else shape(k - warmup, left)

    return multiplier


def default_warmup(steps: int, beta2: float | None = None) -> int:
    """A length for the warm-up: the smaller of a tenth of the run and 2/(1 − β2), rounded down.

    By 2/(1 − β2) updates the second moment has forgotten its start (arXiv 1910.04209).

    Args:
        steps: how many updates there will be.
        beta2: the β2 of the rule; None: it has none.

    Returns:
        A number of updates.

    Raises:
        BadOption: a number is outside what is allowed.

    Example:
        >>> default_warmup(100_000, 0.999), default_warmup(5_000, 0.999), default_warmup(5_000)
        (2000, 500, 500)
    """
    errors.check("schedules", "steps", steps, errors.COUNT)
    errors.check("schedules", "beta2", beta2, errors.optional(errors.FRACTION))
    tenth = steps // 10
    return tenth if beta2 is None else min(tenth, int(2 / (1 - beta2) + 1e-6))
