"""What a landscape's slices and planes have in common: fields, directions that are found once, what was seen so far."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from ..batch import Batch
from ..console import Progress
from ..data import Tensors
from ..trial import call
from . import directions
from .balance import balance
from .field import ModelField
from .slice import Mark, Slice, look
from .subject import Subject

if TYPE_CHECKING:
    from ..data import Feed

BATCH = 250  # rows that are evaluated at once
CURVED_ROWS = 1000  # for the Hessian
FILTERS = "Random directions; each filter of them is as long as the model's own, biases and norms stay as they are."


@dataclass
class Views:
    """What is needed to look, and what was seen.

    Attributes:
        subject: whose surface.
        surface: the loss on training rows.
        others: on other rows, by name.
        resolution: points along an axis.
        refine: whether points are left out where the surface is nearly straight.
        seed: of random directions.
        words: what is true of every surface.
        progress: where it is said how far it is.
        slices: that were seen.
        planes: that were seen.
        notes: what was left out, and why.
        interrupted: whether Ctrl-C came.
    """

    subject: Subject
    surface: ModelField
    others: dict[str, ModelField]
    resolution: int
    refine: bool
    seed: int
    words: tuple[str, ...]
    progress: Progress
    slices: dict[str, Slice] = field(default_factory=dict)
    planes: dict[str, Slice] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def report(self, name: str, done: int, whole: int) -> None:
        """Say how many points of a surface are done."""
        self.progress.at(f"{self.subject.task.name} · {name} · {done}/{whole} points")

    def see(
        self, kind: str, names: tuple[str, ...], origin: Tensor, axes: Tensor, spans: Sequence[tuple[float, float]],
        marks: Sequence[Mark] = (), words: tuple[str, ...] = (), others: dict[str, ModelField] | None = None,
        explained: tuple[float, ...] | None = None,
    ) -> bool:  # fmt: skip
        """Evaluate a slice or plane; False after Ctrl-C."""
        found = look(
            kind, names, self.surface, dict(self.others if others is None else others), origin, axes, spans,
            resolution=self.resolution, marks=marks, words=(*words, *self.words), explained=explained,
            refine=self.refine, report=self.report,
        )  # fmt: skip
        (self.slices if len(spans) == 1 else self.planes)[kind] = found
        return found.complete

    @cached_property
    def scales(self) -> Tensor:
        """What balances the network, so that all its rescaled twins give the same picture."""
        batch = self.surface.batches[0]
        scales, units = balance(self.subject.model, lambda model: call(model, batch.inputs))
        if units:
            said = f"Directions are drawn where the incoming weights of each of {units} rescalable units have length 1."
            self.notes.append(said)
        return scales

    @cached_property
    def ends(self) -> directions.Ends:
        """The ends of the Hessian's spectrum at the model."""
        self.progress.at("eigenvectors")
        batches, rows = list[Batch](), 0
        for batch in self.surface.batches:
            batches.append(batch)
            rows += batch.rows
            if rows >= CURVED_ROWS:
                break
        field = self.surface.over(batches)
        self.notes.append(f"Eigenvectors are of the Hessian over {field.rows} of these rows.")
        return directions.ends(lambda v: field.hessian_product(field.start, v), field.n)

    @cached_property
    def here(self) -> float:
        """The loss in the middle."""
        return self.surface.loss(self.surface.start)


def sample(feed: Feed, rows: int, seed: int = 0) -> list[Batch]:
    """Rows of a feed in batches: drawn at random where they can be, else the first; never a batch of one row beside others."""
    found: list[Batch] = []
    taken, size = 0, min(BATCH, rows)
    if isinstance(feed, Tensors):
        drawn = copy.copy(feed) if feed.rows <= rows else feed.split(rows, seed)[1]
        drawn.shuffle = True
        batches = drawn.batches(min(size, drawn.rows), seed=seed)
    else:
        batches = feed.batches(feed.batch_size or size)
    for batch in batches:
        if found and (taken + batch.rows > rows or batch.rows == 1):
            break
        found.append(batch)
        taken += batch.rows
        if taken >= rows:
            break
    return found


def mode_of(surface: ModelField) -> tuple[str, ...]:
    """Data and mode of every surface, in words."""
    mode = "evaluation mode"
    if surface.normalizes:
        mode += (
            ", batch norms by each batch's own statistics"
            if surface.norm == "batch"
            else ", batch norms by the statistics of the model in the middle"
        )
    return (f"{surface.rows} training rows, drawn at random, in batches of {surface.batches[0].rows}; {mode}.",)


def mark(name: str) -> Mark:
    """A mark that has no place yet."""
    return Mark(name, "", None, (), 0.0, 0.0)
