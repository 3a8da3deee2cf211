"""What is kept of a reference so that windows of a stream can be held against it: counts between its quantiles.

Each count of a window is held against that of the reference by Fisher's exact test. Below a quantile of the reference, its
tail is the chance that so many new rows lie below the k-th smallest of N old ones, which is the same for every continuous
feature: the test is exact however far out, as levels that are spent over many windows need it. Where values repeat, both
sides of each gap between values are counted, so that it keeps its level there too.

Legend: N reference rows, n rows of a window, e edges, c categories.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BadData

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
LEAST = 20  # reference rows


@dataclass(frozen=True)
class Column:
    """The sketch of one column.

    Numeric: ``low_e`` and ``high_e`` are neighbouring values of the reference, ``below_e`` of whose rows are at or below
    ``low_e`` and the others at or above ``high_e``; the first edge lies below all, the last above all. Categorical:
    ``below_e`` are the counts of the categories 0, 1, …, and there are no edges.

    Attributes:
        name: of the column.
        rows: N, those that are missing left out.
        missing: reference rows without a value.
        mean: of the reference.
        sd: its standard deviation.
        low_e: see above.
        high_e: see above.
        below_e: see above.
        categorical: whether it counts categories.
    """

    name: str
    rows: int
    missing: int
    mean: float
    sd: float
    low_e: Floats
    high_e: Floats
    below_e: Ints
    categorical: bool = False

    @classmethod
    def of(cls, name: str, values_N: Floats, categories: int | None = None) -> Column:
        """The sketch of values, NaN for missing ones.

        Args:
            name: of the column.
            values_N: of the reference.
            categories: how many there are; None: it is numeric.

        Raises:
            BadData: fewer than 20 values.

        Example:
            >>> column = Column.of("age", np.arange(1000.0))
            >>> column.below_e.tolist()
            [0, 10, 50, 100, 250, 500, 750, 900, 950, 990, 1000]
        """
        known = np.sort(values_N[~np.isnan(values_N)])
        rows, none = len(known), np.empty(0)
        if rows < LEAST:
            raise BadData(f"monitor: {name!r} has {rows} values in the reference", f"give {LEAST} or more")
        mean, sd, missing = float(known.mean()), float(known.std()), len(values_N) - rows
        if categories is not None:
            counts = np.bincount(known.astype(np.int64), minlength=categories)
            return cls(name, rows, missing, mean, sd, none, none, counts, True)
        places = np.searchsorted(known, [known[max(0, round(q * rows) - 1)] for q in QUANTILES], "right")
        below = np.unique(np.r_[0, places, rows]).astype(np.int64)
        low, high = np.r_[-math.inf, known][below], np.r_[known, math.inf][below]
        return cls(name, rows, missing, mean, sd, low, high, below)

    def count(self, values_n: Floats) -> Ints:
        """What is counted of a window's rows, so that counts of parts add up.

        Rows with a value, without one, and for each edge those at or below ``low_e`` and those below ``high_e``, or for
        each category its rows.
        """
        known = np.sort(values_n[~np.isnan(values_n)])
        head = [len(known), len(values_n) - len(known)]
        if self.categorical:
            counted: Ints = np.r_[head, np.bincount(known.astype(np.int64), minlength=len(self.below_e))]
            return counted
        at_most, below = np.searchsorted(known, self.low_e, "right"), np.searchsorted(known, self.high_e, "left")
        counted = np.r_[head, at_most, below].astype(np.int64)
        return counted

    @property
    def empty(self) -> Ints:
        """The counts of no rows."""
        return self.count(np.empty(0))

    def test(self, counts: Ints) -> tuple[float, float, str]:
        """Whether a window's rows are drawn as the reference's were: effect, p, and where they differ most.

        The effect is the largest difference of shares: of rows below an edge, of a category, of missing ones. p is the
        smallest tail of all counts, times their number.
        """
        from scipy.stats import hypergeom

        n, missing = int(counts[0]), int(counts[1])
        own, at_most, below = self.below_e, counts[2:], counts[2:]
        if self.categorical:
            words = [(f"fewer of {k}", f"more of {k}") for k in range(len(own))]
        else:
            at_most, below = np.split(counts[2:], 2)
            words = [
                (f"more above {a:.4g}", f"more below {b:.4g}") for a, b in zip(self.low_e, self.high_e, strict=True)
            ]
        words.append(("fewer missing", "more missing"))
        # The last place is the missing ones, of all rows.
        old, fewest, most = np.r_[own, self.missing], np.r_[at_most, missing], np.r_[below, missing]
        old_rows = np.r_[np.full(len(own), self.rows), self.rows + self.missing]
        rows = np.r_[np.full(len(own), n), n + missing]
        lower = hypergeom.cdf(fewest, old_rows + rows, old + fewest, rows)
        upper = hypergeom.sf(most - 1, old_rows + rows, old + most, rows)
        tails = np.stack([lower, upper])
        share = np.maximum(rows, 1)
        apart = np.maximum(old / old_rows - fewest / share, most / share - old / old_rows) * (rows > 0)
        side, place = np.unravel_index(int(np.argmin(tails)), tails.shape)
        return float(apart.max()), min(1.0, tails.size * float(tails.min())), words[place][side]

    @property
    def bytes(self) -> int:
        """Memory of the sketch and of one window's counts."""
        return self.low_e.nbytes + self.high_e.nbytes + self.below_e.nbytes + self.empty.nbytes + 8 * 5

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return self.__dict__ | {
            "low_e": self.low_e[1:].tolist(),
            "high_e": self.high_e[:-1].tolist(),
            "below_e": self.below_e.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Column:
        """The inverse of `as_dict`."""
        edges = not data["categorical"]
        low = np.array([-math.inf] * edges + data["low_e"], np.float64)
        high = np.array(data["high_e"] + [math.inf] * edges, np.float64)
        return cls(**(data | {"low_e": low, "high_e": high, "below_e": np.array(data["below_e"], np.int64)}))
