"""The order of the rows: which go into which batch, and which are split off."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import BadData
from thalweg.seeds import derive


def order(rows: int, seed: int, epoch: int, shuffle: bool | int = True) -> Tensor:
    """The order in which an epoch visits the rows; every feed of row-indexed data uses this one.

    Args:
        rows: how many there are.
        seed: the run's seed.
        epoch: 0, 1, ...
        shuffle: True: a new permutation each epoch; False: as they come; a number: rows stream through a buffer of that
            size, from which a random one leaves as the next comes in (as ``tf.data``'s ``shuffle(buffer)``).

    Returns:
        int64 indices of shape (rows,), on the CPU.

    Example:
        >>> order(4, seed=0, epoch=0, shuffle=False)
        tensor([0, 1, 2, 3])
        >>> torch.equal(order(9, 0, 0).sort().values, torch.arange(9))
        True
    """
    if shuffle is False:
        return torch.arange(rows)
    number = derive(seed, f"order:{epoch}")
    if shuffle is True:
        return torch.randperm(rows, generator=torch.Generator().manual_seed(number))
    return torch.tensor(list(buffered(range(rows), shuffle, number)), dtype=torch.int64)


def buffered(items: Any, size: int, seed: int) -> Iterator[Any]:
    """Items in the order of a shuffle buffer of ``size``: fill it; swap a random one for each that comes; empty it."""
    draw = random.Random(seed)
    held: list[Any] = []
    for item in items:
        if len(held) < size:
            held.append(item)
            continue
        place = int(draw.random() * size)
        yield held[place]
        held[place] = item
    draw.shuffle(held)
    yield from held


def count_batches(rows: int, size: int, *, training: bool, drop_last: bool) -> int:
    """Batches an epoch: a remainder of one row is dropped in training, because batch norm cannot train on it.

    Raises:
        BadData: in training, a batch larger than the data.
    """
    if training and size > rows:
        raise BadData(
            f"a batch of {size} rows is larger than the data ({rows} rows)", f"use a batch size of at most {rows}"
        )
    whole, rest = divmod(rows, size)
    return whole + bool(rest and not drop_last and not (training and rest == 1 and size > 1))


def split_rows(rows: int, last: int, seed: int | None) -> tuple[Tensor, Tensor]:
    """Indices of all but ``last`` rows, and of those, each ascending; see `Feed.split`."""
    if not 0 < last < rows:
        raise BadData(f"{rows} rows cannot be split in {rows - last} and {last}", "give more rows")
    index = torch.arange(rows)
    if seed is not None:
        index = torch.randperm(rows, generator=torch.Generator().manual_seed(derive(seed, "split")))
    return index[:-last].sort().values, index[-last:].sort().values
