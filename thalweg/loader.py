"""The feed of data that cannot be held in memory: a DataLoader, rebuilt for each seed and epoch."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from typing import Any, final

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    default_collate,
)

from thalweg.batch import Batch, make_batch, map_leaves, pack, unpack
from thalweg.data import Feed
from thalweg.errors import BadData, BadTask, ThalwegError
from thalweg.order import buffered, count_batches, order, split_rows
from thalweg.seeds import Stream, derive, stream

COUNT_LIMIT = 1_000_000  # batches that are read to find out how long an epoch is
KEPT = ("num_workers", "pin_memory", "timeout", "prefetch_factor", "multiprocessing_context", "worker_init_fn")


class _Buffered(IterableDataset[Any]):
    """The items of an iterable data set through a shuffle buffer."""

    def __init__(self, dataset: Any, size: int, seed: int) -> None:
        self.dataset, self.size, self.seed = dataset, size, seed

    def __iter__(self) -> Iterator[Any]:
        return buffered(self.dataset, self.size, self.seed)


class _EveryOther(IterableDataset[Any]):
    """Every other item of an iterable data set."""

    def __init__(self, dataset: Any, offset: int) -> None:
        self.dataset, self.offset = dataset, offset

    def __iter__(self) -> Iterator[Any]:
        return (item for place, item in enumerate(self.dataset) if place % 2 == self.offset)


@final
class Loader(Feed):
    """Batches of a data set that is read anew each epoch.

    The order comes from `order` (or from the loader's own sampler, seeded), random augmentation from its own stream,
    both from the seed and the epoch alone. Without workers every batch is made inside that stream; else it seeds them.

    Args:
        source: a map or iterable ``Dataset``, or a ``DataLoader``, whose collate function, sampler and workers stay.
        shuffle: see `order`; True leaves it to the ``DataLoader`` where there is one.
        what: the name of the data, for messages.

    Example:
        >>> data = [(torch.tensor([float(i)]), i) for i in range(4)]
        >>> [batch.targets.tolist() for batch in Loader(data, shuffle=False).batches(2, seed=0)]
        [[0, 1], [2, 3]]
    """

    def __init__(self, source: Any, *, shuffle: bool | int = True, what: str = "data") -> None:
        self.what, self.shuffle = what, shuffle
        self.device = torch.device("cpu")
        self.transform: Callable[[Any], Any] | None = None
        self.settings: dict[str, Any] = {}
        self.collate: Any = default_collate
        self.drop_last = False
        self.sampler: Any = None
        self.batch_sampler: Any = None
        self.every: int | None = None  # 0 or 1: only every other batch
        self.unbatched = False  # the data set gives ready-made batches
        self._steps: dict[int, int] = {}
        self.dataset: Any = source
        if isinstance(source, DataLoader):
            self._adopt(source)
        self.iterable = isinstance(self.dataset, IterableDataset)
        self.fixed_batches = self.unbatched or self.batch_sampler is not None
        try:
            self.rows = len(self.sampler if self.sampler is not None else self.dataset)
        except TypeError:
            self.rows = None
        if self.rows is None and not self.iterable and self.sampler is None and self.batch_sampler is None:
            raise BadData(
                f"{what}: {type(self.dataset).__name__} has no __len__", "add it, or derive from IterableDataset"
            )
        if self.rows == 0 and not self.iterable:
            raise BadData(f"{what}: the data set is empty", "give at least one row")
        if self.fixed_batches:
            self.rows = None  # what counts is rows, and how many a ready-made batch has is not known

    def _adopt(self, loader: DataLoader[Any]) -> None:
        self.dataset, self.collate = loader.dataset, loader.collate_fn
        self.settings = {name: getattr(loader, name) for name in KEPT if getattr(loader, name) is not None}
        if not torch.cuda.is_available():  # pinning needs a device and warns without one
            self.settings.pop("pin_memory")
        self.batch_size, self.drop_last = loader.batch_size, loader.drop_last
        if isinstance(loader.dataset, IterableDataset):
            self.unbatched = loader.batch_size is None
            return
        if loader.batch_size is None:
            self.unbatched = loader.batch_sampler is None
            self.batch_sampler = loader.batch_sampler
            if type(loader.batch_sampler) is BatchSampler:
                self.batch_size = loader.batch_sampler.batch_size
            if self.batch_sampler is not None:
                return
        sampler: Any = loader.sampler
        own = self.shuffle
        if type(sampler) is SubsetRandomSampler:
            self.dataset = Subset(loader.dataset, [int(index) for index in sampler.indices])
        elif type(sampler) is SequentialSampler:
            own = False
        elif type(sampler) is not RandomSampler or sampler.replacement or sampler._num_samples is not None:
            self.sampler = sampler
        if self.shuffle is True:
            self.shuffle = own

    @property
    def plain(self) -> bool:
        """Whether rows are independent: torch's collate function, and no sampler of the user's."""
        return self.collate is default_collate and self.sampler is None and not self.fixed_batches

    def _twin(self) -> Loader:
        twin = copy.copy(self)
        twin._steps = {}
        return twin

    def _indices(self, size: int, seed: int | None, epoch: int, drop_last: bool) -> dict[str, Any]:
        """What says which rows each batch has, as arguments of a DataLoader."""
        number = derive(seed or 0, f"order:{epoch}" if seed is not None else "evaluation")
        if self.iterable:
            dataset = self.dataset
            if seed is not None and not isinstance(self.shuffle, bool):
                dataset = _Buffered(dataset, self.shuffle, number)
            if hasattr(self.dataset, "set_epoch"):
                self.dataset.set_epoch(epoch)
            return {"dataset": dataset, "batch_size": None if self.unbatched else size, **self._last(drop_last)}
        own = self.sampler if self.batch_sampler is None else self.batch_sampler
        drawn: Any = None
        if own is not None:
            with stream(seed or 0, f"order:{epoch}" if seed is not None else "evaluation"):
                drawn = reseeded(own, number, epoch)
                drawn = list(drawn) if hasattr(drawn, "__len__") else drawn
        if self.batch_sampler is not None:
            return {"dataset": self.dataset, "batch_sampler": drawn}
        if drawn is None:
            shuffle: bool | int = False if seed is None else self.shuffle
            drawn = order(len(self.dataset), seed or 0, epoch, shuffle).tolist()
        batching = {"batch_size": None} if self.unbatched else {"batch_size": size, **self._last(drop_last)}
        return {"dataset": self.dataset, "sampler": drawn, **batching}

    def _last(self, drop_last: bool) -> dict[str, bool]:
        return {} if self.unbatched else {"drop_last": drop_last}

    def read(self, purpose: str, seed: int = 0, size: int = 256) -> Iterator[Batch]:
        """All rows in order, under the random state of ``purpose``."""
        return self._pass(self._indices(size, None, 0, False), seed, purpose)

    def batches(
        self, size: int, *, seed: int | None = None, epoch: int = 0, drop_last: bool = False
    ) -> Generator[Batch, None, None]:
        """See `Feed.batches`; ``size`` is ignored where the data come in ready-made batches."""
        if seed is None:
            yield from self.read("evaluation", size=size)
            return
        if self.rows is not None:
            count_batches(self.rows, size, training=True, drop_last=False)
        drop_last = drop_last or self.drop_last or not isinstance(self.shuffle, bool)
        place = 0
        for batch in self._pass(self._indices(size, seed, epoch, drop_last), seed, f"augmentation:{epoch}"):
            if place and batch.rows == 1 and size > 1 and not self.fixed_batches:
                continue
            place += 1
            yield batch

    def _pass(self, indices: dict[str, Any], seed: int, purpose: str) -> Iterator[Batch]:
        draws: Any = Stream(seed, purpose) if not self.settings.get("num_workers") else nullcontext()
        generator = torch.Generator().manual_seed(derive(seed, purpose))
        place = -1
        try:
            loader = DataLoader(collate_fn=self.collate, generator=generator, **self.settings, **indices)
            with draws:
                iterator = iter(loader)
            while True:
                with draws:
                    raw = next(iterator, iterator)
                if raw is iterator:
                    return
                place += 1
                if self.every is None or place % 2 == self.every:
                    with draws:
                        batch = self._finish(raw)
                    yield batch
        except ThalwegError:
            raise
        except Exception as error:
            raise BadTask(
                f"{self.what}: the data set failed at batch {place + 1}: {type(error).__name__}: {error}",
                "read one item by hand, and call the collate function on a few",
            ) from error

    def _finish(self, raw: Any) -> Batch:
        if self.transform is not None:
            inputs, targets, form = unpack(raw)
            raw = pack(self.transform(inputs), targets, form)
        if self.device.type != "cpu":
            raw = map_leaves(lambda t: t.to(self.device, non_blocking=True), raw)
        return make_batch(raw)

    def steps_per_epoch(self, size: int) -> int:
        """See `Feed.steps_per_epoch`."""
        if self.rows is not None and not (self.iterable and self.settings.get("num_workers")):
            drops = self.drop_last or not isinstance(self.shuffle, bool)
            return count_batches(self.rows, size, training=True, drop_last=drops)
        if size not in self._steps:
            ready = self.batch_sampler if self.batch_sampler is not None else self.sampler or self.dataset
            if self.fixed_batches and hasattr(ready, "__len__"):
                steps = len(ready)
            else:
                steps = self._read_to_count(size)
            if not steps:
                raise BadData(
                    f"{self.what}: the data set gives no batch", "give at least one row, and a smaller batch size"
                )
            self._steps[size] = steps
        return self._steps[size]

    def _read_to_count(self, size: int) -> int:
        steps = 0
        for steps, _ in enumerate(self.batches(size, seed=0), 1):
            if steps > COUNT_LIMIT:
                raise BadData(f"{self.what}: an epoch does not end", "give steps= instead of epochs=")
        return steps

    def split(self, last: int, seed: int | None) -> tuple[Loader, Loader]:
        """See `Feed.split`.

        Raises:
            BadData: rows cannot be chosen, because the data are iterable or a sampler of the user's chooses them.
        """
        if self.iterable or self.sampler is not None or self.batch_sampler is not None or self.unbatched:
            kind = "an iterable data set" if self.iterable else "a data set with its own sampler"
            raise BadData(f"{self.what}: {kind} cannot be split", "give validation data: valid=...")
        first, second = split_rows(len(self.dataset), last, seed)
        return self._subset(first), self._subset(second)

    def _subset(self, rows: torch.Tensor) -> Loader:
        twin = self._twin()
        twin.dataset, twin.rows = Subset(self.dataset, rows.tolist()), len(rows)
        return twin

    def halves(self, seed: int) -> tuple[Loader, Loader]:
        """By rows where they can be chosen; every other item of an iterable; else every other batch."""
        if not self.iterable and self.sampler is None and not self.fixed_batches:
            return self.split(len(self.dataset) // 2, seed)
        twins = (self._twin(), self._twin())
        for offset, twin in enumerate(twins):
            twin.rows = None
            if self.iterable:
                twin.dataset = _EveryOther(self.dataset, offset)
            else:
                twin.every = offset
        return twins

    def transformed(self, transform: Callable[[Any], Any]) -> Loader:
        """``transform`` is applied to the inputs of each batch, within the augmentation's stream."""
        twin = self._twin()
        twin.transform = transform
        return twin

    def to(self, device: torch.device) -> Loader:
        """See `Feed.to`."""
        twin = self._twin()
        twin.device = device
        return twin


def reseeded(sampler: Any, seed: int, epoch: int) -> Any:
    """A copy of a sampler (and those inside it) whose own generators start from ``seed``; ``set_epoch`` is called."""
    twin = copy.copy(sampler)
    for name, value in list(getattr(twin, "__dict__", {}).items()):
        if isinstance(value, torch.Generator):
            setattr(twin, name, torch.Generator().manual_seed(seed))
        elif isinstance(value, np.random.Generator):
            setattr(twin, name, np.random.default_rng(seed))
        elif isinstance(value, np.random.RandomState):
            setattr(twin, name, np.random.RandomState(seed % 2**32))
        elif isinstance(value, random.Random):
            setattr(twin, name, random.Random(seed))
        elif isinstance(value, Sampler):
            setattr(twin, name, reseeded(value, seed, epoch))
    if hasattr(twin, "set_epoch"):
        twin.set_epoch(epoch)
    return twin
