"""Powers, exponentials and logarithms of the host's columns, each number as the C library has it.

NumPy's functions of a whole column may be a unit in the last place off, on some processors and not on others, of which
1 − β^t makes thousands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def _each(function: Callable[..., float]) -> Any:
    """A function of numbers as one of columns, or of a column and a number: NaN and infinities as in IEEE arithmetic."""
    return np.vectorize(function, otypes=[float])


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _log(x: float) -> float:
    return math.log(x) if x > 0 else float(np.log(x))


power = _each(lambda x, y: np.float64(x) ** y)
exp, log = _each(_exp), _each(_log)
