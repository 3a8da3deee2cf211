"""The classes' shares on both sides. Legend of shapes: C classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..distributions.categories import homogeneity
from ..sample import Floats

SHARE_GATE = 0.05  # total variation of class shares below which they have not


@dataclass(frozen=True)
class Shares:
    """Class shares on both sides.

    Attributes:
        reference: (C,).
        incoming: (C,); counted, or estimated from predictions.
        p: of "they are the same".
        alarm: p below the level and half the sum of |differences| at least .05.
        counted: from labels.
    """

    reference: Floats
    incoming: Floats
    p: float
    alarm: bool
    counted: bool

    @property
    def moved(self) -> float:
        """Half the sum of the absolute differences."""
        return float(np.abs(self.reference - self.incoming).sum() / 2)

    @classmethod
    def counted_from(cls, a_C: npt.NDArray[Any], b_C: npt.NDArray[Any], level: float) -> Self:
        """Of rows of each class, tested for the same proportions."""
        p = homogeneity(np.stack([a_C, b_C])).p
        shares = [x / max(x.sum(), 1) for x in (a_C, b_C)]
        moved = float(np.abs(shares[0] - shares[1]).sum() / 2)
        return cls(shares[0], shares[1], p, p < level and moved >= SHARE_GATE, True)
