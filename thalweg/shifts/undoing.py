"""What was done to a column on its way here, guessed from its values, and how to undo it: units, a swap, a code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .sample import Sample

Floats = npt.NDArray[np.float64]
FACTORS = tuple(f for k in (10.0, 100.0, 1000.0, 1e4, 1e6, 60.0, 255.0, 3600.0) for f in (1 / k, k))
MANY = 12  # columns that are said to have changed, from which on one factor for all inputs is looked for
EXCESS = 0.02  # of the rows: how much more of them hold a code
ROWS = 4000  # of each side that are looked at
CRITICAL = 1.63  # the Kolmogorov–Smirnov distance at the level .01, times √(n m / (n + m))


@dataclass(frozen=True)
class Undo:
    """One column put right: value ← factor · source + shift, or ``fill`` where it holds ``code``.

    Attributes:
        column: its place among the model's inputs; None: all of them.
        name: how it is called.
        source: the column that holds its values now.
        source_name: how that is called.
        factor: see above.
        shift: see above.
        code: that stands for a missing value, or None.
        fill: the reference's median.
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
    distance: tuple[float, float] = (math.nan, math.nan)

    def of(self, values: Floats) -> Floats:
        """The source's values put right."""
        if self.code is not None:
            return np.where(values == self.code, self.fill, values)
        return self.factor * values + self.shift

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

    Args:
        reference: rows as the model knows them.
        incoming: rows with changed columns.
        features: names of these, as `Sample.flat` gives them.

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
    (old, names), (new, _) = reference.flat(), incoming.flat()
    if old.shape[1] != reference.inputs[0].numel() or new.shape[1] != old.shape[1]:  # type: ignore[index]
        return []  # the features are not the inputs themselves
    wanted = set(features)
    columns = [j for j, name in enumerate(names) if name in wanted]
    if len(columns) > MANY:
        found = [_whole(old, new)]
    else:
        found = [_column(old, new, j, columns, names) for j in columns]
    return [undo for undo in found if undo is not None]


def undone(sample: Sample, undos: Sequence[Undo]) -> Sample:
    """The rows with their columns put right; labels and names stay."""
    inputs = sample.inputs
    if not undos or not isinstance(inputs, Tensor):
        return sample
    before = inputs.reshape(len(inputs), -1).double().numpy()
    after = before.copy()
    for undo in undos:
        if undo.column is None:
            after = undo.of(before)
        else:
            after[:, undo.column] = undo.of(before[:, undo.source])
    return replace(sample, inputs=torch.from_numpy(after).to(inputs.dtype).reshape(inputs.shape), table=None)


def _whole(old: Floats, new: Floats) -> Undo | None:
    """One factor for all inputs."""
    every = -(-old.size // (100 * ROWS))
    a, b = old.ravel()[::every], new.ravel()[::every]
    found = [Undo(None, "x", None, "x", factor=factor) for factor in FACTORS]
    return _best([(0, undo, _distance(undo.of(b), a)) for undo in found], _distance(b, a), len(old), len(new))


def _column(old: Floats, new: Floats, j: int, columns: Sequence[int], names: Sequence[str]) -> Undo | None:
    """Tries what may have been done to one column; simpler guesses have lower ranks."""
    a, b, same = old[:, j], new[:, j], (j, names[j])
    others = [(k, names[k]) for k in columns if k != j]
    guesses: list[tuple[int, Undo, float]] = []
    values, counts = np.unique(b, return_counts=True)
    code = float(values[counts.argmax()])
    if counts.max() / len(b) - float(np.mean(a == code)) > EXCESS and counts.max() < len(b):
        undo = Undo(*same, *same, code=code, fill=float(np.median(a)))
        guesses.append((0, undo, _distance(b[b != code], a)))  # the other rows were not touched: they alone must agree
    for factor in FACTORS:
        guesses.append((1, Undo(*same, *same, factor=factor), _distance(factor * b, a)))
    for other in others:
        guesses.append((2, Undo(*same, *other), _distance(new[:, other[0]], a)))
    spread, center = _shape(a)
    for other in [same, *others]:
        own_spread, own_center = _shape(new[:, other[0]])
        if own_spread:
            factor = spread / own_spread
            undo = Undo(*same, *other, factor, center - factor * own_center)
            guesses.append((3 if other is same else 4, undo, _distance(undo.of(new[:, other[0]]), a)))
    return _best(guesses, _distance(b, a), len(a), len(b))


def _best(guesses: Sequence[tuple[int, Undo, float]], before: float, n: int, m: int) -> Undo | None:
    """Of the simplest guesses that are near enough the nearest; else the nearest of all, if it is far nearer than before."""
    near = CRITICAL * math.sqrt((n + m) / (n * m))
    if before <= near:
        return None
    fitting = [(rank, distance, k) for k, (rank, _, distance) in enumerate(guesses) if distance <= near]
    _, distance, k = min(fitting) if fitting else min((0, d, k) for k, (_, _, d) in enumerate(guesses))
    if not fitting and distance > before / 2:
        return None
    return replace(guesses[k][1], distance=(before, distance))


def _shape(values: Floats) -> tuple[float, float]:
    """Interquartile range and median."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(high - low), float(middle)


def _distance(a: Floats, b: Floats) -> float:
    """Kolmogorov–Smirnov's distance of two samples."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    below_a, below_b = np.searchsorted(a, both, "right") / len(a), np.searchsorted(b, both, "right") / len(b)
    return float(np.abs(below_a - below_b).max())
