"""How many rows it takes to see a shift, and what can be seen with those that are there.

For a feature tested by the Kolmogorov–Smirnov distance of n reference and m incoming rows.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from ...errors import COUNT, POSITIVE, Allowed, check
from .pairs import LEVEL

POWER = Allowed("a chance in (0, 1)", lambda v: isinstance(v, float) and 0 < v < 1)
PATHS, STEPS = 4000, 256  # of the simulated limit process
OVERSHOOT = 0.5826  # −ζ(1/2)/√(2π): of a step's sd, how far a path is above a boundary that it is seen to have crossed
PEAK = 1 / math.sqrt(2 * math.pi)  # slope of 2 Φ(δ/2) − 1 at zero


def critical_distance(n: int, m: int, level: float = 0.05) -> float:
    """The distance that is exceeded with probability ``level`` when nothing moved: K⁻¹(level) √((n + m) / (n m)).

    The limit for many rows of a feature without ties; with few it is somewhat too large, never too small.

    Args:
        n: reference rows.
        m: incoming rows.
        level: false alarms of this one test.

    Example:
        >>> round(critical_distance(1000, 1000), 3)
        0.061

    Source: N. Smirnov, Annals of Mathematical Statistics 19, 1948.
    """
    for name, value in (("n", n), ("m", m)):
        check("shift", name, value, COUNT)
    check("shift", "level", level, LEVEL)
    from scipy.special import kolmogi

    return float(kolmogi(level)) * math.sqrt((n + m) / (n * m))


def rows_needed(effect: float, level: float = 0.05, power: float = 0.8, tests: int = 1) -> int:
    """Rows on each side with which a shift of a normal feature is seen with probability ``power``.

    Args:
        effect: shift of the mean, in standard deviations.
        level: false alarms of the whole family.
        power: chance to see it.
        tests: size of the family; each is held to level / tests.

    Example:
        >>> 80 <= rows_needed(0.5) <= 100
        True

    Source: the limit under a small shift is a Brownian bridge with drift: J. Hájek, Z. Šidák, Theory of Rank Tests, 1967,
    chapter VI; it is simulated here, with a fixed seed.
    """
    check("shift", "effect", effect, POSITIVE)
    check("shift", "level", level, LEVEL)
    check("shift", "power", power, POWER)
    check("shift", "tests", tests, COUNT)
    from scipy.special import ndtr

    far = float(2 * ndtr(effect / 2) - 1)
    peak = _drift(level / tests, power) * PEAK
    # √(n/2) (D − 1/(2n)) = peak: of n and n rows the distance is a multiple of 1/n, on average half of one too low.
    root = (math.sqrt(2) * peak + math.sqrt(2 * peak**2 + 2 * far)) / (2 * far)
    rows = math.ceil(root**2)
    while 2 / math.comb(2 * rows, rows) > level / tests:  # the least p-value there is
        rows += 1
    return rows


def visible(n: int, m: int, *, level: float = 0.05, power: float = 0.8, tests: int = 1) -> float:
    """The shift of a normal feature, in standard deviations, that so many rows show with probability ``power``.

    Args:
        n: reference rows.
        m: incoming rows.
        level: false alarms of the whole family.
        power: chance to see it.
        tests: features; each is held to level / tests.

    Returns:
        Infinite where no shift of the mean is seen so often.

    Example:
        >>> round(visible(91, 91), 1), visible(4, 4)
        (0.5, inf)
    """
    for name, value in (("n", n), ("m", m), ("tests", tests)):
        check("shift", name, value, COUNT)
    check("shift", "level", level, LEVEL)
    check("shift", "power", power, POWER)
    from scipy.special import ndtri

    root = math.sqrt(2 * n * m / (n + m))
    far = (math.sqrt(2) * _drift(level / tests, power) * PEAK * root + 0.5) / root**2  # as `rows_needed`, the other way
    few = 2 / math.comb(n + m, n) > level / tests if n + m < 100 else False
    return math.inf if far >= 1 or few else float(2 * ndtri((1 + far) / 2))


def enough(
    n: int, m: int, *, effect: float = 0.5, level: float = 0.05, power: float = 0.8, tests: int = 1
) -> str | None:
    """That there are too few rows to see a shift, and how many it takes; None where there are enough.

    Args:
        n: reference rows.
        m: incoming rows.
        effect: shift that is to be seen, in standard deviations.
        level: false alarms of the whole family.
        power: chance to see it.
        tests: features.

    Example:
        >>> enough(1000, 1000)
        >>> enough(1000, 20).startswith("Too few rows to see a shift of 0.5 sd")
        True
    """
    for name, value in (("n", n), ("m", m)):
        check("shift", name, value, COUNT)
    wanted = rows_needed(effect, level, power, tests)
    if 2 * n * m >= wanted * (n + m):
        return None
    said = (
        f"Too few rows to see a shift of {effect:g} sd ({tests} feature{'s' * (tests > 1)}, {100 * level:g} % level, "
        f"{100 * power:g} % power): {n} reference and {m} incoming; "
    )
    for count, other, name in ((n, m, "incoming"), (m, n, "reference")):
        # the harmonic mean of both sides counts
        if count > other and 2 * count > wanted:
            return said + f"{math.ceil(count * wanted / (2 * count - wanted))} {name} would do."
    return said + f"{wanted} of each would do."


@functools.lru_cache(maxsize=64)
def _drift(level: float, power: float) -> float:
    """The c such that sup |B(t) + c φ(Φ⁻¹(t))| exceeds the critical value with probability ``power``."""
    from scipy.special import kolmogi, ndtri

    boundary = float(kolmogi(level)) - OVERSHOOT / math.sqrt(STEPS)
    t = np.arange(1, STEPS) / STEPS
    walk = np.random.default_rng(0).normal(size=(PATHS, STEPS)).cumsum(1) / math.sqrt(STEPS)
    bridge = walk[:, :-1] - walk[:, -1:] * t
    shape = np.exp(-(ndtri(t) ** 2) / 2) * PEAK
    low, high = 0.0, 1.0
    while np.mean(np.abs(bridge + high * shape).max(1) >= boundary) < power:
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low + high) / 2
        seen = np.mean(np.abs(bridge + middle * shape).max(1) >= boundary) >= power
        low, high = (low, middle) if seen else (middle, high)
    return high
