"""What a batch is, and nestings of tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import BadData

Inputs: TypeAlias = Tensor | tuple[Any, ...] | dict[str, Any]
TARGET_KEYS = ("labels", "label", "targets", "target", "y")


class Batch(NamedTuple):
    """Some rows: what the model gets, what it should answer, how many rows, and the batch as the user's loader gave it.

    ``inputs`` is a tensor (the model is called as ``model(x)``), a tuple (``model(*x)``) or a dict (``model(**x)``).
    Where ``orders`` is true, every tensor has one more dimension in front: batches of several orders, side by side.
    """

    inputs: Inputs
    targets: Tensor | None
    rows: int
    raw: Any
    orders: bool = False

    def of(self, order: int) -> Batch:
        """The batch of one order: the batch itself where there is only one."""
        if not self.orders:
            return self
        return make_batch(map_leaves(lambda t: t[order], self.raw))

    def joined(self) -> Batch:
        """Itself."""
        return self


@dataclass(frozen=True)
class Several:
    """Batches of as many rows in several orders, one after the other; `joined` lays them side by side."""

    parts: Sequence[Batch]

    @property
    def rows(self) -> int:
        """Of each."""
        return self.parts[0].rows

    @property
    def inputs(self) -> Any:
        """Of all."""
        return [part.inputs for part in self.parts]

    def of(self, order: int) -> Batch:
        """See `Batch.of`."""
        return self.parts[order]

    def joined(self) -> Batch:
        """One batch with a dimension in front.

        Raises:
            BadData: tensors of different shapes, or something else than tensors.
        """
        columns = [leaves(part.raw) for part in self.parts]
        if not all(_is_tensors(part.raw) for part in self.parts):
            raise BadData("the batches hold more than tensors", "leave it out of them")
        if len({tuple(column.shape for column in part) for part in columns}) > 1:
            raise BadData("batches of different shapes in the orders of different seeds", "pad them to one shape")
        stacks = iter([torch.stack(parts) for parts in zip(*columns, strict=True)])
        raw = map_leaves(lambda _: next(stacks), self.parts[0].raw)
        inputs, targets, _ = unpack(raw)
        return Batch(inputs, targets, self.rows, raw, orders=True)


def leaves(value: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [leaf for part in parts for leaf in leaves(part)]


def map_leaves(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same nesting with ``function`` of every tensor; other values stay."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_leaves(function, part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [map_leaves(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def unpack(raw: Any) -> tuple[Inputs, Tensor | None, str]:
    """Inputs, targets and form of a batch: of a tuple the last is the targets; of a dict, a key of `TARGET_KEYS`.

    Example:
        >>> x, y = torch.zeros(2, 3), torch.ones(2)
        >>> unpack({"x": x, "label": y})[2], unpack((x, x, y))[2], unpack([x, y])[2], unpack(x)[2]
        ('dict:label', 'flat', 'pair', 'bare')
    """
    if isinstance(raw, Mapping):
        key = next((key for key in TARGET_KEYS if key in raw), None)
        rest = {name: part for name, part in raw.items() if name != key}
        return rest, None if key is None else raw[key], f"dict:{key or ''}"
    if isinstance(raw, tuple | list):
        if len(raw) == 1:
            return _inputs(raw[0]), None, "bare"
        if len(raw) == 2:
            return _inputs(raw[0]), raw[1], "pair"
        return tuple(raw[:-1]), raw[-1], "flat"
    return raw, None, "bare"


def _inputs(value: Any) -> Inputs:
    return dict(value) if isinstance(value, Mapping) else tuple(value) if isinstance(value, list) else value


def pack(inputs: Any, targets: Tensor | None, form: str) -> Any:
    """The inverse of `unpack`."""
    if form == "pair":
        return inputs, targets
    if form == "flat":
        return (*inputs, targets)
    if form == "bare" or form == "dict:":
        return inputs
    return {**inputs, form.removeprefix("dict:"): targets}


def make_batch(raw: Any) -> Batch:
    """A `Batch` of what a loader gave; raises `BadData` where it has no rows."""
    inputs, targets, _ = unpack(raw)
    tensors = leaves(inputs)
    if not tensors or tensors[0].ndim == 0:
        raise BadData(
            "a batch holds no tensor with rows", "let the data set give tensors, or a collate_fn that makes them"
        )
    return Batch(inputs, targets, len(tensors[0]), raw)


def _is_tensors(value: Any) -> bool:
    """Whether a nesting holds nothing but tensors."""
    if isinstance(value, Mapping):
        return all(map(_is_tensors, value.values()))
    return all(map(_is_tensors, value)) if isinstance(value, tuple | list) else isinstance(value, Tensor)


def same(a: Any, b: Any) -> bool:
    """Whether two nestings of tensors are equal in every bit."""
    one, two = leaves(a), leaves(b)
    return len(one) == len(two) and all(
        x.dtype == y.dtype and x.shape == y.shape and np.array_equal(_bits(x), _bits(y))
        for x, y in zip(one, two, strict=True)
    )


def _bits(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
