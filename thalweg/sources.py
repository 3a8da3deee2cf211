"""Whatever a user gives as data, as a feed; and whether it can be held in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from thalweg.batch import leaves, make_batch, map_leaves, same, unpack
from thalweg.data import Feed, Halves, Tensors
from thalweg.errors import BadData, BadTask
from thalweg.loader import Loader
from thalweg.readers import Encoder, Table, read_file
from thalweg.seeds import stream

VALID_SHARE, VALID_MOST = 0.2, 10_000
HELD_SECONDS = 120.0  # two complete reads may take this long, else the data stay where they are
ACCEPTED = "(inputs, targets) of tensors or arrays, a Dataset, a DataLoader, or a path (idx, .npz, .csv)"


def as_tensor(value: Any, what: str, *, target: bool = False) -> Tensor:
    """A tensor of an array: NumPy's float64 becomes float32; integer and bool targets become int64.

    Raises:
        BadData: text, objects, or rows of different lengths.
    """
    if isinstance(value, list) and value and all(isinstance(part, Tensor) for part in value):
        value = torch.stack(value) if len({part.shape for part in value}) == 1 else value
    if isinstance(value, Tensor):
        tensor = value.detach()
    else:
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "fiubc":
                raise TypeError(f"values of type {array.dtype}")
            kind = {"f8": "f4", "f16": "f4", "u2": "i8", "u4": "i8", "u8": "i8"}.get(array.dtype.str[1:], None)
            array = array.astype(
                kind or array.dtype.newbyteorder("=")
            )  # always a copy: the user may go on writing into his
            tensor = torch.from_numpy(np.ascontiguousarray(array))
        except (TypeError, ValueError) as error:
            raise BadData(f"{what}: cannot be made a tensor: {error}", "give numbers in a regular array") from error
    if tensor.ndim == 0:
        raise BadData(f"{what}: a single number instead of rows", "give an array whose first dimension counts the rows")
    if target and not tensor.is_floating_point() and not tensor.is_complex():
        tensor = tensor.long()
    return tensor


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray) or hasattr(value, "__array__")


def _is_columns(value: Any) -> bool:
    """Whether a value is a list of numbers, an array, or a tuple or dict of arrays."""
    if isinstance(value, tuple | Mapping):
        return all(map(_is_array, value.values() if isinstance(value, Mapping) else value))
    return _is_array(value) or isinstance(value, list)


def _columns(value: Any, what: str) -> Any:
    if isinstance(value, Mapping):
        return {str(name): as_tensor(part, f"{what} {name!r}") for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(as_tensor(part, what) for part in value)
    return as_tensor(value, what)


def as_feed(source: Any, *, what: str, shuffle: bool | int = True, notes: list[str] | None = None) -> Feed | Table:
    """The feed of what a user gave as ``train``, ``valid`` or ``test``; a `Table` still has to be encoded.

    Args:
        source: see `ACCEPTED`.
        what: the argument's name, for messages.
        shuffle: see `order`.
        notes: gets a sentence on each choice made.

    Raises:
        BadData: data that cannot be read.
    """
    notes = [] if notes is None else notes
    if isinstance(source, Feed | Table):
        return source
    if isinstance(source, str | Path):
        read = read_file(source)
        return read if isinstance(read, Table) else as_feed(read, what=what, shuffle=shuffle)
    if isinstance(source, DataLoader | Dataset):
        return held(Loader(source, shuffle=shuffle, what=what), notes)
    if isinstance(source, tuple | list) and len(source) == 2 and all(map(_is_columns, source)):
        inputs, targets = _columns(source[0], f"{what} inputs"), as_tensor(source[1], f"{what} targets", target=True)
        return Tensors(inputs, targets, shuffle=shuffle, what=what)
    if isinstance(source, Mapping):
        inputs, labels, form = unpack(_columns(source, what))
        labels = None if labels is None else as_tensor(labels, what, target=True)
        return Tensors(inputs, labels, shuffle=shuffle, form=form, what=what)
    if _is_array(source):
        return Tensors(as_tensor(source, what), shuffle=shuffle, what=what)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, tuple):
        return held(Loader(source, shuffle=shuffle, what=what), notes)
    raise BadData(f"{what}: a {type(source).__name__} is not data that can be read", f"give {ACCEPTED}")


def free_memory() -> int:
    """Bytes of main memory that are free now."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    except (OSError, StopIteration, ValueError):
        return 4 * 2**30


def held(loader: Loader, notes: list[str], limit: int | None = None) -> Feed:
    """The loader's rows as `Tensors` where they fit and two reads under different random states agree, else the loader.

    Args:
        loader: what would read them each epoch.
        notes: gets a sentence that says what was done and why.
        limit: bytes; None: a quarter of the free memory.
    """
    limit = free_memory() // 4 if limit is None else limit
    what = loader.what
    if not loader.plain:
        notes.append(
            f"{what}: read anew each epoch, because the loader has its own collate function, sampler or batches."
        )
        return loader
    dataset = loader.dataset
    if type(dataset) is TensorDataset:
        return _tensors(loader, tuple(dataset.tensors))
    if not loader.iterable and (why := _probe(loader, limit)) is not None:
        notes.append(f"{what}: read anew each epoch, because {why}.")
        return loader
    first = _read(loader, 1, limit)
    second = _read(loader, 2, limit) if first is not None else None
    if first is None or second is None or not same(first, second):
        why = (
            "it does not fit into memory or is not regular"
            if first is None
            else "two reads of it differ (augmentation)"
        )
        notes.append(f"{what}: read anew each epoch, because {why}.")
        return loader
    feed = _tensors(loader, first)
    if loader.iterable and loader.shuffle is True:
        notes.append(f"{what}: the iterable data set fits into memory, so its {feed.rows} rows are held and shuffled.")
    return feed


def _probe(loader: Loader, limit: int) -> str | None:
    """Why the rows cannot be held, judged by a few of them."""
    rows = len(loader.dataset)
    picks = sorted({0, rows // 3, rows // 2, rows - 1})
    reads = []
    started = time.perf_counter()
    try:
        for seed in (1, 2):
            with stream(seed, "probe"):
                reads.append(loader.collate([loader.dataset[pick] for pick in picks]))
    except Exception as error:
        raise BadTask(
            f"{loader.what}: the data set failed at one of the rows {picks}: {type(error).__name__}: {error}",
            "read those rows by hand",
        ) from error
    if not _regular(reads[0]):
        return "its items are not tensors or numbers only"
    if not same(*reads):
        return "two reads of it differ (augmentation)"
    if sum(t.nbytes for t in leaves(reads[0])) / len(picks) * rows > limit:
        return "it does not fit into a quarter of the free memory"
    if (time.perf_counter() - started) / len(picks) * rows > HELD_SECONDS:
        return "reading it takes long"
    return None


def _regular(raw: Any) -> bool:
    """Whether a batch consists of tensors with one entry a row, not nested deeper than inputs may be."""
    inputs, targets, _ = unpack(raw)
    parts = (
        list(inputs.values()) if isinstance(inputs, dict) else list(inputs) if isinstance(inputs, tuple) else [inputs]
    )
    return (
        all(isinstance(part, Tensor) and part.ndim for part in parts)
        and bool(parts)
        and (targets is None or isinstance(targets, Tensor))
    )


def _read(loader: Loader, seed: int, limit: int) -> Any:
    """A complete read under the random state of ``seed``, as the raw batch of all rows; None: it cannot be held."""
    chunks: list[Any] = []
    size, until = 0, time.monotonic() + HELD_SECONDS
    for batch in loader.read("hold", seed):
        size += sum(t.nbytes for t in leaves(batch.raw))
        if not _regular(batch.raw) or size > limit or time.monotonic() > until:
            return None
        chunks.append(batch.raw)
    if not chunks:
        raise BadData(f"{loader.what}: the data set is empty", "give at least one row")
    columns = [leaves(chunk) for chunk in chunks]
    if len({tuple((t.shape[1:], t.dtype) for t in row) for row in columns}) > 1:
        return None
    whole = iter([torch.cat(parts) for parts in zip(*columns, strict=True)])
    return map_leaves(lambda _: next(whole), chunks[0])


def _tensors(loader: Loader, raw: Any) -> Tensors:
    inputs, targets, form = unpack(raw)
    if targets is not None:
        targets = as_tensor(targets, f"{loader.what} targets", target=True)
    rows = make_batch(raw).rows
    if rows == 0:
        raise BadData(f"{loader.what}: the data set is empty", "give at least one row")
    return Tensors(
        inputs, targets, shuffle=loader.shuffle, form=form, batch_size=loader.batch_size, drop_last=loader.drop_last,
        what=loader.what,
    )  # fmt: skip


def read_all(
    train: Any,
    valid: Any,
    test: Any,
    *,
    shuffle: bool | int,
    seed: int,
    transform: Callable[[Any], Any] | None,
    device: torch.device,
    notes: list[str],
) -> dict[str, Feed]:
    """The feeds ``train``, ``select``, ``judge`` and, where given, ``test``.

    Validation data that are missing are split off the training rows: 20 %, at most 10 000; then halved by a seeded
    permutation. Tables are encoded with statistics of the training rows.
    """
    given: dict[str, Any] = {"train": train, "test": test}
    given |= {"select": valid.select, "judge": valid.judge} if isinstance(valid, Halves) else {"valid": valid}
    parts: dict[str, Feed | Table] = {
        name: as_feed(source, what=name, shuffle=shuffle if name == "train" else False, notes=notes)
        for name, source in given.items()
        if source is not None
    }
    if "valid" not in parts and "select" not in parts:
        whole = parts["train"]
        rows = len(whole) if isinstance(whole, Table) else whole.rows
        count = 0 if rows is None else min(VALID_MOST, round(VALID_SHARE * rows))
        if rows is not None and count < 2:
            raise BadData(
                f"train: {rows} rows are too few to split validation data off", "give validation data: valid=..."
            )
        ordered = shuffle is False or (isinstance(whole, Feed) and whole.shuffle is False)
        parts["train"], parts["valid"] = whole.split(count, None if ordered else seed)
        which = "the last rows" if ordered else "the last rows of a seeded permutation"
        notes.append(f"No validation data given: {count} of the {rows} training rows are held out ({which}).")
    feeds = _encoded(parts, shuffle)
    if "valid" in feeds:
        whole = feeds.pop("valid")
        if whole.rows is not None and whole.rows < 2:
            raise BadData("valid: one row cannot be halved into select and judge", "give at least two rows")
        feeds["select"], feeds["judge"] = whole.halves(seed)
    for name, feed in feeds.items():
        if transform is not None:
            try:
                feed = feed.transformed(transform)
            except BadTask:
                raise
            except Exception as error:
                raise BadTask(
                    f"transform failed on {name}: {type(error).__name__}: {error}", "it gets a batch of inputs"
                ) from error
        feeds[name] = feed.to(device)
    return feeds


def _encoded(parts: dict[str, Feed | Table], shuffle: bool | int) -> dict[str, Feed]:
    train = parts["train"]
    encoder = Encoder(train) if isinstance(train, Table) else None
    feeds: dict[str, Feed] = {}
    for name, part in parts.items():
        if isinstance(part, Feed):
            feeds[name] = part
        elif encoder is None:
            raise BadData(f"{name}: a table, but the training data are none", "give all splits as csv files")
        else:
            feeds[name] = encoder.apply(part, what=name)
            feeds[name].shuffle = shuffle if name == "train" else False
    return feeds
