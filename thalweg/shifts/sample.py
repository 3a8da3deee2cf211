"""One side of a question about a shift: rows in memory, as the model gets them and as features with names.

Legend of shapes: N rows, d features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..batch import Inputs, leaves, map_leaves
from ..data import Feed, Tensors
from ..errors import BadData
from ..readers import Encoder

Floats = npt.NDArray[np.float64]
MOST_ROWS = 200_000  # of a feed that is read; more say nothing that these do not
LARGE, POOLED = 4096, 32  # images of more pixels are averaged to 32×32 blocks
BUCKETS = 256  # features that rows of tokens have


class Flat(NamedTuple):
    """Features (N, d) in float64, and their d names."""

    values: Floats
    names: list[str]


@dataclass(frozen=True, eq=False)
class Sample:
    """The rows of one side: what the model gets, what it should answer, and how its features are called.

    Args:
        inputs: a tensor (N, ...), or a tuple or dict of such.
        targets: (N, ...), or None: without labels.
        names: of the features, where they have any.
        order: whether the rows are known to come in the order of time.
        table: the columns of a table before they were encoded, NaN for missing cells; None: the inputs are the features.
        form: how the user's batches look, see `thalweg.batch.unpack`.

    Example:
        >>> sample = Sample(torch.zeros(3, 2, 2), torch.arange(3))
        >>> sample.rows, sample.flat().names, sample.take([2, 0]).targets.tolist()
        (3, ['pixel 0,0', 'pixel 0,1', 'pixel 1,0', 'pixel 1,1'], [2, 0])
    """

    inputs: Inputs
    targets: Tensor | None = None
    names: tuple[str, ...] | None = None
    order: bool = False
    table: Flat | None = None
    form: str | None = None

    @classmethod
    def of(
        cls,
        feed: Feed,
        *,
        encoder: Encoder | None = None,
        gaps: npt.NDArray[np.bool_] | None = None,
        order: bool = False,
    ) -> Sample:
        """The rows of a feed, at most 200 000, on the CPU.

        Args:
            feed: its transform is applied.
            encoder: made the inputs out of a table, whose columns are then known.
            gaps: (N, columns), which cells of that table were missing, also where no column of the inputs says so.
            order: see the class.

        Raises:
            BadData: batches that cannot be joined.
        """
        inputs, targets, form = _joined(feed)
        if encoder is None or not isinstance(inputs, Tensor) or inputs.shape[1:] != (len(encoder.names),):
            return cls(inputs, targets, order=order, form=form)
        values, names = encoder.decode(inputs)
        if gaps is not None:
            values = np.where(gaps, np.nan, values)
        return cls(inputs, targets, tuple(encoder.names), order, Flat(values, names), form)

    @property
    def rows(self) -> int:
        """N."""
        return len(leaves(self.inputs)[0])

    def flat(self) -> Flat:
        """The model's inputs as finite features: pixels, numbers, or the share of each token in a row.

        Large images are averaged to 32×32 blocks; of tokens the numbers are counted modulo 256.
        """
        if isinstance(self.inputs, Tensor):
            values, names = _flat(self.inputs)
            return Flat(values, list(self.names) if self.names and len(self.names) == len(names) else names)
        items = self.inputs.items() if isinstance(self.inputs, dict) else enumerate(self.inputs)
        parts = [(f"{key} ", _flat(part)) for key, value in items for part in leaves(value)]
        return Flat(
            np.concatenate([f.values for _, f in parts], 1), [key + name for key, f in parts for name in f.names]
        )

    def columns(self) -> Flat:
        """The columns of the table in their own units, NaN for missing cells; of other data `flat`."""
        return self.flat() if self.table is None else self.table

    def feed(self, device: torch.device | None = None) -> Tensors:
        """The rows as a feed, in order, whose batches lie on ``device``."""
        made = Tensors(self.inputs, self.targets, shuffle=False, form=self.form, check=False)
        return made if device is None else made.to(device)

    def take(self, index: Any) -> Sample:
        """The rows of an index, in its order."""
        rows = torch.as_tensor(np.asarray(index), dtype=torch.int64)
        inputs, targets = map_leaves(lambda t: t.index_select(0, rows), (self.inputs, self.targets))
        table = None if self.table is None else Flat(self.table.values[rows.numpy()], self.table.names)
        return replace(self, inputs=inputs, targets=targets, table=table)

    def split(self, seed: int, share: float = 0.5) -> tuple[Sample, Sample]:
        """Two disjoint parts, drawn; the first has ``share`` of the rows, rounded up. Within each the order is kept."""
        drawn = np.random.default_rng(seed).permutation(self.rows)
        cut = -int(-share * self.rows // 1)
        return self.take(np.sort(drawn[:cut])), self.take(np.sort(drawn[cut:]))

    def unlabeled(self) -> Sample:
        """The same rows without their labels."""
        return replace(self, targets=None, form=None)


def _joined(feed: Feed) -> tuple[Inputs, Tensor | None, str | None]:
    if isinstance(feed, Tensors) and feed.transform is None and feed.rows <= MOST_ROWS:
        inputs, targets = map_leaves(lambda t: t.detach().cpu(), (feed.inputs, feed.targets))
        return inputs, targets, feed.form
    found: list[tuple[Inputs, Tensor | None]] = []
    rows = 0
    for batch in feed.batches(feed.batch_size or 1024):
        found.append(map_leaves(lambda t: t.detach().cpu(), (batch.inputs, batch.targets)))
        rows += batch.rows
        if rows >= MOST_ROWS:
            break
    if not found:
        raise BadData("the data are empty", "give at least one row")
    parts = [leaves(part) for part in found]
    try:
        whole = iter([torch.cat(column) for column in zip(*parts, strict=True)])
    except (RuntimeError, ValueError) as error:
        raise BadData(f"the batches cannot be joined: {error}", "give rows of one shape (pad them)") from error
    inputs, targets = map_leaves(lambda _: next(whole), found[0])
    return inputs, targets, feed.form if isinstance(feed, Tensors) else None


def _flat(tensor: Tensor) -> Flat:
    """The features of one tensor (N, ...)."""
    tensor = tensor.detach().cpu()
    if tensor.ndim == 2 and tensor.dtype in (torch.int64, torch.int32):
        return _tokens(tensor.numpy())
    shape = tensor.shape[1:]
    block = ""
    if len(shape) == 3 and shape[1] * shape[2] > LARGE:
        tensor, block = F.adaptive_avg_pool2d(tensor.float(), POOLED), "block "
        shape = tensor.shape[1:]
    values = tensor.reshape(len(tensor), -1).double().numpy()
    places = np.ndindex(*shape) if shape else iter([(0,)])
    if len(shape) in (2, 3):
        channels = len(shape) == 3 and shape[0] > 1
        names = [
            (f"channel {place[0]} " if channels else "") + f"pixel {block}{place[-2]},{place[-1]}" for place in places
        ]
    else:
        names = ["x" + ",".join(map(str, place)) for place in places]
    return Flat(values, names)


def _tokens(rows_NT: npt.NDArray[Any]) -> Flat:
    """The share of each token in a row, by its number modulo 256."""
    bucket_NT = rows_NT.astype(np.int64) % BUCKETS
    place = np.arange(len(rows_NT))[:, None] * BUCKETS + bucket_NT
    counts = np.bincount(place.ravel(), minlength=len(rows_NT) * BUCKETS).reshape(-1, BUCKETS)
    word = "token" if rows_NT.size == 0 or rows_NT.max() < BUCKETS else f"tokens mod {BUCKETS} ="
    return Flat(counts / rows_NT.shape[1], [f"{word} {k}" for k in range(BUCKETS)])
