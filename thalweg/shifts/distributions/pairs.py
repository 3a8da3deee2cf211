"""Two samples of rows as matrices that can be compared: numbers, the same columns, the same precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import Allowed, BadData

Floats = npt.NDArray[np.float64]
LEVEL = Allowed("a share of false alarms in (0, 0.5]", lambda v: isinstance(v, float) and 0 < v <= 0.5)


def pair(reference: Any, incoming: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both as (rows, d) matrices of floats, in the lower of their two precisions (at least float32).

    A copy in float32 of data in float64 differs from it in every value: compared as they are, they would share none.

    Raises:
        BadData: not numbers, not a matrix, no rows, or other numbers of columns.
    """
    both = [_matrix(name, rows) for name, rows in (("reference", reference), ("incoming", incoming))]
    if both[0].shape[1] != both[1].shape[1]:
        raise BadData(
            f"shift: reference rows have {both[0].shape[1]} features, incoming rows {both[1].shape[1]}",
            "give both the same columns, in the same order",
        )
    narrow = np.float32 if any(b.dtype.kind == "f" and b.dtype.itemsize <= 4 for b in both) else np.float64
    lowest = np.float16 if any(b.dtype == np.float16 for b in both) else narrow
    return both[0].astype(lowest, copy=False).astype(narrow, copy=False), both[1].astype(lowest, copy=False).astype(
        narrow, copy=False
    )


def _matrix(name: str, rows: Any) -> npt.NDArray[Any]:
    found = np.asarray(rows)
    if found.ndim == 1:
        found = found[:, None]
    if found.dtype.kind not in "biuf":
        raise BadData(f"shift: {name} holds {found.dtype}, not real numbers", "code categories as whole numbers")
    if found.ndim != 2 or not found.shape[0] or not found.shape[1]:
        raise BadData(
            f"shift: {name} must be rows × features with at least one of each, got shape {found.shape}",
            "flatten each example to one row",
        )
    return found


def some_rows(rows: npt.NDArray[Any], most: int, numbers: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    """All rows, or at most ``most`` rows and ``numbers`` numbers of them, drawn without replacement."""
    most = max(2, min(most, numbers // rows.shape[1]))
    return rows if len(rows) <= most else rows[np.sort(generator.choice(len(rows), most, replace=False))]
