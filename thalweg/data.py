"""Data as batches: the feeds that give them to a loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from thalweg.batch import Batch, Inputs, Several, leaves, map_leaves, pack, same
from thalweg.errors import BadData, BadTask
from thalweg.order import count_batches, order, split_rows
from thalweg.seeds import Stream, stream

__all__ = ["Batch", "Feed", "Halves", "Tensors"]


CHUNK = 1024  # rows that a forward pass holds at once in full-batch descent


@dataclass(frozen=True)
class Halves:
    """Validation data that come in two given parts: ``select`` chooses, ``judge`` gives the verdict."""

    select: Any
    judge: Any


class Feed(ABC):
    """Gives batches; the same seed and epoch give the same batches.

    Attributes:
        rows: how many rows an epoch has; None where that is not known without reading.
        batch_size: the user's loader's own, or None.
        fixed_batches: whether the data come in ready-made batches whose size cannot be chosen.
        shuffle: True, False, or the size of the shuffle buffer.
        copies: whether a batch never shares memory with the data, for models that write into their inputs.
    """

    rows: int | None
    batch_size: int | None = None
    fixed_batches: bool = False
    shuffle: bool | int = True
    copies: bool = False

    @abstractmethod
    def batches(
        self, size: int, *, seed: int | None = None, epoch: int = 0, drop_last: bool = False
    ) -> Generator[Batch, None, None]:
        """The batches of one epoch; ``seed=None``: all rows in order, for evaluation."""

    def training(self, size: int | str, seeds: Sequence[int], epoch: int = 0) -> Iterator[Batch | Several]:
        """The batches of a training epoch; of seeds that differ in the order of each; "full": all rows, in chunks."""
        if size == "full":
            return self.batches(CHUNK)
        if len(set(seeds)) == 1:
            return self.batches(int(size), seed=seeds[0], epoch=epoch)
        return self.orders(int(size), seeds, epoch)

    def orders(self, size: int, seeds: Sequence[int], epoch: int) -> Iterator[Batch | Several]:
        """The batches of an epoch in the orders of some seeds, which may repeat."""
        distinct = list(dict.fromkeys(seeds))
        for batches in zip(*(self.batches(size, seed=seed, epoch=epoch) for seed in distinct), strict=True):
            yield Several([batches[distinct.index(seed)] for seed in seeds])

    @abstractmethod
    def steps_per_epoch(self, size: int) -> int:
        """How many batches `batches` gives with a seed; may read the data once where nothing else tells."""

    @abstractmethod
    def split(self, last: int, seed: int | None) -> tuple[Feed, Feed]:
        """All but ``last`` rows, and those: the last ones of a seeded permutation; ``seed=None``: the last in order."""

    @abstractmethod
    def halves(self, seed: int) -> tuple[Feed, Feed]:
        """Two disjoint halves."""

    @abstractmethod
    def transformed(self, transform: Callable[[Any], Any]) -> Feed:
        """The same data with ``transform`` applied to the inputs."""

    @abstractmethod
    def to(self, device: torch.device) -> Feed:
        """The same data, whose batches lie on ``device``."""

    def target_sample(self, limit: int = 10_000, seed: int | None = None) -> Tensor | None:
        """Targets of about ``limit`` rows, with a seed those of training's first batches; None: they are no tensor."""
        found: list[Tensor] = []
        for batch in self.batches(min(limit, 256), seed=seed):
            if not isinstance(batch.targets, Tensor):
                return None
            found.append(batch.targets)
            if sum(map(len, found)) >= limit:
                break
        if not found:
            return None
        shapes = {part.shape[1:] for part in found}
        return torch.cat(found) if len(shapes) == 1 else found[0]  # padded batches differ in width

    def count(self, limit: int = 100_000_000) -> int:
        """Rows of an evaluation pass, reading them where they are not known."""
        total = self.rows
        if total is None:
            total = 0
            for batch in self.batches(self.batch_size or 256):
                total += batch.rows
                if total > limit:
                    raise BadData(f"the data do not end (more than {limit} rows)", "give a finite data set")
        return total


@final
class Tensors(Feed):
    """Rows in memory, batched by indexing.

    Args:
        inputs: a tensor (N, ...), or a tuple or dict of tensors with N rows each.
        targets: a tensor (N, ...), or None.
        shuffle: see `order`; a buffer size also drops the last incomplete batch.
        form: how the user's batches look, see `unpack`.
        batch_size: the user's loader's own.
        drop_last: whether training leaves out the last incomplete batch.
        what: the name of the data, for messages.
        check: whether to look for NaN and infinity.

    Raises:
        BadData: no rows, different numbers of rows, or numbers that are not finite.

    Example:
        >>> feed = Tensors(torch.arange(5.0).reshape(5, 1), torch.arange(5))
        >>> [batch.targets.tolist() for batch in feed.batches(2)]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        inputs: Inputs,
        targets: Tensor | None = None,
        *,
        shuffle: bool | int = True,
        form: str | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
        what: str = "data",
        check: bool = True,
    ) -> None:
        self.inputs, self.targets, self.shuffle = inputs, targets, shuffle
        self.form = form or ("bare" if targets is None else "pair")
        self.batch_size, self.drop_last, self.what = batch_size, drop_last, what
        self.device = torch.device("cpu")
        self.transform: Callable[[Any], Any] | None = None
        self.encoder: Any = None  # of the table that the rows were, see `readers.Encoder`
        self._columns = columns = leaves((inputs, targets))
        if not leaves(inputs) or any(column.ndim == 0 for column in columns):
            raise BadData(
                f"{what}: the inputs are not tensors with rows", "give arrays whose first dimension counts the rows"
            )
        if len({len(column) for column in columns}) > 1:
            sizes = ", ".join(str(len(column)) for column in columns)
            raise BadData(
                f"{what}: inputs and targets have different numbers of rows: {sizes}", "give one target a row"
            )
        self.rows: int = len(columns[0])
        if self.rows == 0:
            raise BadData(f"{what}: the data are empty", "give at least one row")
        for name, part in (("inputs", leaves(inputs)), ("targets", [] if targets is None else [targets])):
            for column in part if check else []:
                _check_finite(column, f"{what} {name}")

    def _make(self, inputs: Inputs, targets: Tensor | None) -> Tensors:
        """The same settings with other rows."""
        made = Tensors(
            inputs, targets, shuffle=self.shuffle, form=self.form, batch_size=self.batch_size, drop_last=self.drop_last,
            what=self.what, check=False,
        )  # fmt: skip
        made.device, made.transform, made.copies = self.device, self.transform, self.copies
        made.encoder = self.encoder
        return made

    def target_sample(self, limit: int = 10_000, seed: int | None = None) -> Tensor | None:
        """All targets: they are in memory."""
        return self.targets

    @property
    def bytes(self) -> int:
        """Memory of all columns."""
        return sum(column.nbytes for column in self._columns)

    def batches(
        self, size: int, *, seed: int | None = None, epoch: int = 0, drop_last: bool = False
    ) -> Generator[Batch, None, None]:
        """See `Feed.batches`; shuffled batches are copies, the others views."""
        training = seed is not None
        drop_last = drop_last or (training and self._drops)
        used = min(self.rows, size * count_batches(self.rows, size, training=training, drop_last=drop_last))
        home = self._columns[0].device
        index: tuple[Tensor, ...] | None = None
        if seed is not None and self.shuffle is not False:
            index = order(self.rows, seed, epoch, self.shuffle)[:used].to(home).split(size)  # type: ignore[no-untyped-call]
        x, y = self.inputs, self.targets
        if (
            isinstance(x, Tensor)
            and y is not None
            and self.form == "pair"
            and self.transform is None
            and home == self.device
        ):
            if index is not None:
                for rows in index:
                    a, b = x.index_select(0, rows), y.index_select(0, rows)
                    yield Batch(a, b, len(a), (a, b))
                    del a, b
            else:
                for start in range(0, used, size):
                    a, b = (
                        self._slice(x, start, min(start + size, used)),
                        self._slice(y, start, min(start + size, used)),
                    )
                    yield Batch(a, b, len(a), (a, b))
            return
        draws = Stream(seed or 0, f"augmentation:{epoch}" if training else "evaluation")
        for place in range(-(-used // size)):
            start = place * size

            def take(column: Tensor, start: int = start, place: int = place) -> Tensor:
                if index is not None:
                    return column.index_select(0, index[place])
                return self._slice(column, start, min(start + size, used))

            inputs, targets = map_leaves(take, (x, y))
            if self.transform is not None:
                with draws:
                    inputs = self.transform(inputs)
            if home != self.device:
                inputs, targets = map_leaves(lambda t: t.to(self.device), (inputs, targets))
            yield Batch(inputs, targets, min(size, used - start), pack(inputs, targets, self.form))

    def orders(self, size: int, seeds: Sequence[int], epoch: int) -> Iterator[Batch | Several]:
        """See `Feed.orders`: one gathering for all."""
        home = self._columns[0].device
        if self.transform is not None or home != self.device:
            yield from super().orders(size, seeds, epoch)
            return
        if self.shuffle is False:
            yield from self.batches(size, seed=seeds[0], epoch=epoch)
            return
        used = min(self.rows, size * self.steps_per_epoch(size))
        distinct = list(dict.fromkeys(seeds))
        each = torch.stack([order(self.rows, seed, epoch, self.shuffle)[:used] for seed in distinct])
        index = each[[distinct.index(seed) for seed in seeds]].to(home)
        for rows in index.split(size, dim=1):  # type: ignore[no-untyped-call]
            flat, shape = rows.reshape(-1), rows.shape

            def take(column: Tensor, flat: Tensor = flat, shape: torch.Size = shape) -> Tensor:
                return column.index_select(0, flat).view(*shape, *column.shape[1:])

            inputs, targets = map_leaves(take, (self.inputs, self.targets))
            yield Batch(inputs, targets, shape[1], pack(inputs, targets, self.form), orders=True)

    def _slice(self, column: Tensor, start: int, end: int) -> Tensor:
        return column[start:end].clone() if self.copies else column[start:end]

    @property
    def _drops(self) -> bool:
        return self.drop_last or not isinstance(self.shuffle, bool)

    def steps_per_epoch(self, size: int) -> int:
        """See `Feed.steps_per_epoch`."""
        return count_batches(self.rows, size, training=True, drop_last=self._drops)

    def take(self, rows: Tensor) -> Tensors:
        """The rows of an index tensor, in its order."""
        inputs, targets = map_leaves(lambda t: t.index_select(0, rows.to(t.device)), (self.inputs, self.targets))
        return self._make(inputs, targets)

    def split(self, last: int, seed: int | None) -> tuple[Tensors, Tensors]:
        """See `Feed.split`; within each part the rows keep their order."""
        first, second = split_rows(self.rows, last, seed)
        return self.take(first), self.take(second)

    def halves(self, seed: int) -> tuple[Tensors, Tensors]:
        """Two halves by a seeded permutation; of an odd number the first has one row more."""
        return self.split(self.rows // 2, seed)

    def transformed(self, transform: Callable[[Any], Any]) -> Tensors:
        """Applied once where it draws no random numbers and the data grow at most 8 times; else a batch at a time."""
        few = map_leaves(lambda t: t[:8], self.inputs)
        with stream(1, "transform"):
            one = transform(map_leaves(Tensor.clone, few))
        with stream(2, "transform"):
            two = transform(map_leaves(Tensor.clone, few))
        sizes = [sum(t.nbytes for t in leaves(part)) for part in (few, one)]
        if same(one, two) and sizes[1] <= 8 * sizes[0]:
            with stream(0, "transform"):
                inputs = transform(map_leaves(Tensor.clone, self.inputs))
            if not leaves(inputs) or any(t.ndim == 0 or len(t) != self.rows for t in leaves(inputs)):
                raise BadTask(
                    "transform changed the number of rows", "transform gets a batch of inputs and returns as many"
                )
            return self._make(inputs, self.targets)
        made = self._make(self.inputs, self.targets)
        made.transform = transform
        return made

    def to(self, device: torch.device) -> Tensors:
        """Moved as a whole where they fit into a quarter of the device's free memory; else a batch at a time."""
        fits = device.type != "cuda" or self.bytes <= torch.cuda.mem_get_info(device)[0] // 4
        inputs, targets = self.inputs, self.targets
        if fits and self.transform is None:
            inputs, targets = map_leaves(lambda t: t.to(device), (inputs, targets))
        made = self._make(inputs, targets)
        made.device = device
        return made


def _check_finite(column: Tensor, what: str) -> None:
    if not column.is_floating_point() or bool(torch.isfinite(column.sum())):
        return
    bad = ~torch.isfinite(column.reshape(len(column), -1))
    if bool(bad.any()):  # the sum alone may overflow
        raise BadData(
            f"{what}: {int(bad.sum())} numbers are NaN or infinite, the first in row {int(bad.any(1).nonzero()[0])}",
            "remove those rows or fill the gaps (csv files: empty cells are filled and marked)",
            "input-non-finite",
        )
