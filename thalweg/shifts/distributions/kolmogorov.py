"""The two-sample Kolmogorov–Smirnov test, with the p-value of the distance given where the pooled sample has ties.

Under no shift every order of the n + m labels along the sorted pooled sample is as likely: a walk from (0, 0) to (n, m)
that is looked at only where a group of equal values ends. The share of walks that reach the distance is counted exactly
up to EXACT rows in all; above, the limit law at the same shares of the pooled sample is counted on a smaller lattice.

Legend: n, m rows; i of the n and j of the m passed after s = i + j.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
EXACT = 4000  # rows in all, up to which walks of this very size are counted
SIDE = 2000  # of the smaller lattice
REACH = 28, 9.2  # rows and standard deviations of i, beyond which no walk is followed: by Bennett's inequality 1e-18
FAR = 4.0  # D √(nm/(n+m)) beyond which the plain limit law, below 1e-13 there, is an upper bound that is good enough


@dataclass(frozen=True)
class Distance:
    """The largest distance of two empirical distribution functions.

    Attributes:
        scaled: D n m, a whole number.
        ends: rows of the pooled sample up to the end of each group of equal values.
        first: of those, rows of the first sample.
        n: rows of the first sample.
        m: rows of the second.
    """

    scaled: int
    ends: Integers
    first: Integers
    n: int
    m: int

    @property
    def value(self) -> float:
        """D, in [0, 1]."""
        return self.scaled / (self.n * self.m)

    def p(self) -> float:
        """The share of relabelled samples whose distance is as large.

        Source: ties: G. Schröer, D. Trenkler, Computational Statistics & Data Analysis 20, 1995; the limit: A. Kolmogorov,
        Giornale dell'Istituto Italiano degli Attuari 4, 1933.
        """
        n, m, scaled, ends = min(self.n, self.m), max(self.n, self.m), self.scaled, self.ends
        if not scaled:
            return 1.0
        if n + m > EXACT:
            effective, rows = n * m / (n + m), n + m
            if (x := self.value * math.sqrt(effective)) > FAR:
                return 2 * math.exp(-2 * x**2)
            if n >= SIDE:
                # D of the n' × n' lattice is a multiple k of 1/n': n' is taken so that x is the same at a whole k.
                if not (k := round(x * math.sqrt(2 * SIDE))):
                    return 1.0
                n = m = round(k**2 / (2 * x**2))
                scaled = k * n
            else:
                m = EXACT - n
                scaled = math.ceil(min(1.0, x / math.sqrt(n * m / (n + m))) * n * m * (1 - 1e-12))
            ends = np.unique(np.maximum(1, np.round(ends * ((n + m) / rows)).astype(np.int64)))
        return float(_compiled()[1](n, m, scaled, ends))


def distance(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Distance:
    """The distance of two sorted samples without missing values.

    Example:
        >>> found = distance(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 5.0, 6.0]))
        >>> found.value, round(found.p(), 4)
        (0.75, 0.2286)
    """
    ends, passed = (np.empty(len(first) + len(second), dtype=np.int64) for _ in range(2))
    scaled, groups = _compiled()[0](first, second, ends, passed)
    return Distance(int(scaled), ends[:groups], passed[:groups], len(first), len(second))


def _merge(first: Any, second: Any, ends: Any, passed: Any) -> Any:
    """D n m, and the number of groups, whose ends are written."""
    n, m = len(first), len(second)
    i = j = groups = largest = 0
    while i < n or j < m:
        value = first[i] if j == m or (i < n and first[i] <= second[j]) else second[j]
        while i < n and first[i] == value:
            i += 1
        while j < m and second[j] == value:
            j += 1
        ends[groups], passed[groups] = i + j, i
        groups += 1
        largest = max(largest, abs(i * m - j * n))
    return largest, groups


def _share(n: int, m: int, scaled: int, ends: Any) -> Any:
    """Of the walks to (n, m), those with |i m − j n| ≥ ``scaled`` at one of the ends at least."""
    rows = n + m
    mass = np.zeros(n + 2)  # at i + 1, so that there is a cell below the lowest
    reached = 0.0
    s = ends[0]
    low, high = max(0, s - m), min(n, s)
    constant = math.lgamma(n + 1) + math.lgamma(m + 1) - math.lgamma(rows + 1)
    constant += math.lgamma(s + 1) + math.lgamma(rows - s + 1)
    for i in range(low, high + 1):  # the first group at one stroke: the hypergeometric law
        gone = math.lgamma(i + 1) + math.lgamma(n - i + 1) + math.lgamma(s - i + 1) + math.lgamma(m - s + i + 1)
        mass[i + 1] = math.exp(constant - gone)
    for end in ends:
        while s < end:
            up, stay = 1.0 / (rows - s), (m - s) / (rows - s)
            if high < n:
                high += 1
            for i in range(high, low - 1, -1):
                mass[i + 1] = mass[i + 1] * (stay + i * up) + mass[i] * ((n - i + 1) * up)
            s += 1
            centre, reach = s * n / rows, REACH[0] + REACH[1] * math.sqrt(s * n / rows * m / rows * (rows - s) / rows)
            while low <= high and low < centre - reach:
                reached += mass[low + 1]
                mass[low + 1] = 0.0
                low += 1
            while low <= high and high > centre + reach:
                reached += mass[high + 1]
                mass[high + 1] = 0.0
                high -= 1
        while low <= high and high * rows - s * n >= scaled:
            reached += mass[high + 1]
            mass[high + 1] = 0.0
            high -= 1
        while low <= high and s * n - low * rows >= scaled:
            reached += mass[low + 1]
            mass[low + 1] = 0.0
            low += 1
        if low > high:
            return min(1.0, reached)
    return min(1.0, reached)


@functools.cache
def _compiled() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from numba import njit

    return njit(_merge), njit(_share)
