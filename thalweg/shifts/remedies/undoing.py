"""What was done to a column on its way here, guessed from its values, and how to undo it: units, a swap, a code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..causes.pipeline import distance
from ..sample import Flat, Floats, Sample

UNITS = (10.0, 100.0, 1000.0, 1e4, 1e5, 1e6, 12.0, 60.0, 255.0, 3600.0, 86400.0)  # far enough apart to be told
FACTORS = tuple(f for unit in UNITS for f in (1 / unit, unit))
MANY = 12  # columns that are said to have changed, from which on one factor for all inputs is looked for
EXCESS = 0.02  # of the rows: how much more of them hold a code
ROWS = 4000  # of each side that are looked at
CRITICAL = 1.63  # the Kolmogorov–Smirnov distance at the level .01, times √(n m / (n + m))
AS_IT_IS = (1.0, 0.0)


@dataclass(frozen=True)
class Undo:
    """One column put right: value ← factor · source + shift, or ``fill`` where it holds ``code``; in the column's own units.

    Attributes:
        column: its place among the model's inputs; None: all of them.
        name: how it is called.
        source: the column that holds its values now.
        source_name: how that is called.
        factor: see above.
        shift: see above.
        code: that stands for a missing value, or None.
        fill: the reference's median.
        units: (scale, centre) of the column: its own units are scale · input + centre.
        source_units: of the source.
        distance: Kolmogorov–Smirnov, to the reference, before and after.
    """

    column: int | None
    name: str
    source: int | None
    source_name: str
    factor: float = 1.0
    shift: float = 0.0
    code: float | None = None
    fill: float = 0.0
    units: tuple[float, float] = AS_IT_IS
    source_units: tuple[float, float] = AS_IT_IS
    distance: tuple[float, float] = (math.nan, math.nan)

    def of(self, values: Floats) -> Floats:
        """The source's values, in its own units, put right."""
        if self.code is not None:
            return np.where(np.isclose(values, self.code, rtol=1e-5, atol=1e-6), self.fill, values)
        return self.factor * values + self.shift

    def of_inputs(self, inputs: Floats) -> Floats:
        """The same of the model's inputs."""
        scale, centre = self.source_units
        right = self.of(scale * inputs + centre)
        return np.asarray((right - self.units[1]) / self.units[0], dtype=np.float64)

    def __str__(self) -> str:
        if self.code is not None:
            return f"{self.name}: {self.code:g} stands for missing, {self.fill:.4g} in its place"
        scaled = f" / {1 / self.factor:.6g}" if self.factor < 1 else f" · {self.factor:.6g}" if self.factor > 1 else ""
        return f"{self.name} = {self.source_name}{scaled}" + (f" {self.shift:+.4g}" if self.shift else "")


def find_undo(reference: Sample, incoming: Sample, features: Iterable[str]) -> list[Undo]:
    """How named columns can be made to look like the reference's again.

    Of each, in this order: a value that stands for missing ones; another unit, by a usual factor; the values of another
    named column; any scale and shift, of its own values or of another named column's. The first that brings the column
    within the critical distance (level .01) counts, else the nearest, if it is at least twice as near as the column is now.
    Columns of a table are compared in their own units, where both sides know them.

    Args:
        reference: rows as the model knows them.
        incoming: rows with changed columns.
        features: names of these, as `Sample.columns` gives them.

    Returns:
        One a column that can be put right; [] where the inputs are not numbers, or nothing helps.

    Example:
        >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> for undo in find_undo(Sample(x[:200]), Sample(x[200:] * torch.tensor([1.0, 1000.0])), ["x1"]):
        ...     print(undo)
        x1 = x1 / 1000
    """
    if not all(isinstance(s.inputs, Tensor) and s.inputs.is_floating_point() for s in (reference, incoming)):
        return []
    reference, incoming = (s.take(range(0, s.rows, -(-s.rows // ROWS))) for s in (reference, incoming))
    inputs = reference.flat()
    if inputs.values.shape[1] != reference.inputs[0].numel():  # type: ignore[index]
        return []  # the features are not the inputs themselves
    tables = reference.table is not None and incoming.table is not None
    old, new = (s.columns() if tables else s.flat() for s in (reference, incoming))
    if old.values.shape[1] != new.values.shape[1]:
        return []
    wanted, known = set(features), set(inputs.names)
    columns = [j for j, name in enumerate(old.names) if name in wanted and name in known]
    if len(columns) > MANY:
        whole = _whole(old.values, new.values)
        return [] if whole is None or tables else [whole]
    found = [_column(old, new.values, j, columns) for j in columns]
    return [_placed(undo, inputs, old) for undo in found if undo is not None]


def undone(sample: Sample, undos: Sequence[Undo]) -> Sample:
    """The rows with their columns put right; labels and names stay."""
    inputs = sample.inputs
    if not undos or not isinstance(inputs, Tensor):
        return sample
    before = inputs.reshape(len(inputs), -1).double().numpy()
    after = before.copy()
    for undo in undos:
        if undo.column is None:
            after = undo.of_inputs(before)
        else:
            after[:, undo.column] = undo.of_inputs(before[:, undo.source])
    return replace(sample, inputs=torch.from_numpy(after).to(inputs.dtype).reshape(inputs.shape), table=None)


def _placed(undo: Undo, inputs: Flat, columns: Flat) -> Undo:
    """With the columns' places and units among the model's inputs, which are linear in the columns."""

    def units(name: str) -> tuple[int, tuple[float, float]]:
        place = inputs.names.index(name)
        raw, own = columns.values[:, columns.names.index(name)], inputs.values[:, place]
        low, high = int(np.nanargmin(raw)), int(np.nanargmax(raw))
        if own[high] == own[low]:
            return place, AS_IT_IS
        scale = float((raw[high] - raw[low]) / (own[high] - own[low]))
        return place, (scale, float(raw[low] - scale * own[low]))

    (column, own), (source, theirs) = units(undo.name), units(undo.source_name)
    return replace(undo, column=column, source=source, units=own, source_units=theirs)


def _whole(old: Floats, new: Floats) -> Undo | None:
    """One factor for all inputs."""
    every = -(-old.size // (100 * ROWS))
    a, b = old.ravel()[::every], new.ravel()[::every]
    found = [Undo(None, "x", None, "x", factor=factor) for factor in FACTORS]
    return _best([(0, undo, distance(undo.of(b), a)) for undo in found], distance(b, a), len(old), len(new))


def _column(old: Flat, new: Floats, j: int, columns: Sequence[int]) -> Undo | None:
    """Tries what may have been done to one column; simpler guesses have lower ranks."""
    a, b, same = old.values[:, j], new[:, j], (j, old.names[j])
    others = [(k, old.names[k]) for k in columns if k != j]
    guesses: list[tuple[int, Undo, float]] = []
    values, counts = np.unique(b[~np.isnan(b)], return_counts=True)
    if len(values) < 2 or np.isnan(a).all():
        return None
    code = float(values[counts.argmax()])
    if counts.max() / len(b) - float(np.mean(a == code)) > EXCESS:
        undo = Undo(*same, *same, code=code, fill=float(np.nanmedian(a)))
        guesses.append((0, undo, distance(b[b != code], a)))  # the other rows were not touched: they alone must agree
    for factor in FACTORS:
        guesses.append((1, Undo(*same, *same, factor=factor), distance(factor * b, a)))
    for other in others:
        guesses.append((2, Undo(*same, *other), distance(new[:, other[0]], a)))
    spread, centre = _shape(a)
    for other in [same, *others]:
        own_spread, own_centre = _shape(new[:, other[0]])
        if own_spread:
            factor = spread / own_spread
            undo = Undo(*same, *other, factor, centre - factor * own_centre)
            guesses.append((3 if other is same else 4, undo, distance(undo.of(new[:, other[0]]), a)))
    return _best(guesses, distance(b, a), len(a), len(b))


def _best(guesses: Sequence[tuple[int, Undo, float]], before: float, n: int, m: int) -> Undo | None:
    """Of the simplest guesses that are near enough the nearest; else the nearest of all, if it is far nearer than before."""
    near = CRITICAL * math.sqrt((n + m) / (n * m))
    if before <= near:
        return None
    fitting = [(rank, away, k) for k, (rank, _, away) in enumerate(guesses) if away <= near]
    _, after, k = min(fitting) if fitting else min((0, away, k) for k, (_, _, away) in enumerate(guesses))
    if not fitting and after > before / 2:
        return None
    return replace(guesses[k][1], distance=(before, after))


def _shape(values: Floats) -> tuple[float, float]:
    """Interquartile range and median."""
    low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75))
    return float(high - low), float(middle)
