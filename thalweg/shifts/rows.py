"""The rows of one side of a comparison under a model: the loss of each, and its slope along directions.

Legend: N rows, n trained parameters, q directions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .. import trial
from ..batch import Batch, leaves, make_batch, map_leaves, pack
from ..curvature import Surface
from ..curvature.products import buffers_kept
from ..data import Feed, Tensors
from ..errors import BadData, BadOption
from ..modes import evaluating
from ..seeds import Stream

if TYPE_CHECKING:
    from ..task import Task

Floats = npt.NDArray[np.float64]
LARGEST = 256  # rows a batch
LEAST_BATCHES = 8  # of the rows, so that both halves have some
NEAR = 1e-3  # of the parameters' length: so far apart are losses whose difference stands for a slope


class Rows(Surface):
    """A model's loss over batches in evaluation mode, and that of each row.

    Args:
        task: gives the loss.
        model: where on the surface.
        batches: the rows.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> rows = Rows(task, task.build(0), drawn(task.prepare().select, rows=100))
        >>> rows.losses().shape, bool(abs(rows.losses().mean() - rows.loss()) < 1e-6)
        ((100,), True)
    """

    def __init__(self, task: Task, model: nn.Module, batches: Sequence[Batch]) -> None:
        super().__init__(task, model, batches)

    def losses(self) -> Floats:
        """The loss of each row, (N,)."""
        with torch.no_grad(), evaluating(self.model), buffers_kept(self.model), Stream(self.task.seed, "evaluation"):
            return np.concatenate([_each(self.task, self.model, _copied(batch.raw)) for batch in self.batches])

    def slopes(self, directions_qn: Tensor) -> Floats:
        """Of each row's loss along directions of length one, by differences of losses a little to both sides, (N, q)."""
        step, found = NEAR * max(float(self.point().norm()), 1.0), []
        for direction in directions_qn:
            with self.moved(step * direction):
                ahead = self.losses()
            with self.moved(-step * direction):
                behind = self.losses()
            found.append((ahead - behind) / (2 * step))
        return np.stack(found, 1)

    def predictions(self) -> Floats | None:
        """Probabilities of the classes, (N, C); None where the outputs are no logits of one class a row."""
        kind, found = self.task.prepare().kind, []
        if kind not in ("classification", "binary"):
            return None
        with torch.no_grad(), evaluating(self.model), buffers_kept(self.model), Stream(self.task.seed, "evaluation"):
            for batch in self.batches:
                output = trial.output_tensor(trial.call(self.model, _copied(batch.raw).inputs))
                one_each = (
                    (len(output), 1 if kind == "binary" else output.shape[-1]) if isinstance(output, Tensor) else ()
                )
                if math.prod(one_each) != getattr(output, "numel", int)():
                    return None
                logits = trial.as_logits(self.task.loss, output.double()).reshape(len(output), -1)
                p = logits.sigmoid() if kind == "binary" else logits.softmax(1)
                found.append((torch.cat([1 - p, p], 1) if kind == "binary" else p).cpu().numpy())
        return np.concatenate(found)


def _copied(raw: Any) -> Batch:
    return make_batch(map_leaves(torch.clone, raw))


def _each(task: Task, model: nn.Module, batch: Batch) -> Floats:
    fit = task.prepare().fit
    if fit.loss is not None and isinstance(batch.targets, Tensor):
        with task._autocast():
            whole = trial.call(model, batch.inputs)
            output = whole if task.loss is not None else trial.output_tensor(whole)
            if isinstance(output, Tensor) and output.ndim and len(output) == len(batch.targets) == batch.rows:
                return _split(fit.loss, output, batch.targets).double().cpu().numpy()
    one_by_one = [task.loss_of(model, make_batch(cut(batch, k, k + 1))) for k in range(batch.rows)]
    return torch.stack([x.detach() for x in one_by_one]).double().cpu().numpy()


def cut(batch: Batch, start: int, end: int) -> Any:
    """Some rows of a batch, in its form."""
    return map_leaves(lambda t: t[start:end] if t.ndim and len(t) == batch.rows else t, batch.raw)


def _split(loss: Any, output: Tensor, targets: Tensor) -> Tensor:
    """A loss that is a mean over the rows of (output, targets), row by row."""

    def single(o: Tensor, t: Tensor) -> Tensor:
        return loss(o[None], t[None]).reshape(())  # type: ignore[no-any-return]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: Tensor = torch.func.vmap(single)(output, targets)
        return found
    except Exception:  # a loss that looks at its numbers cannot be batched
        return torch.stack([single(o, t) for o, t in zip(output, targets, strict=True)])


def drawn(data: Any, rows: int, seed: int = 0, device: torch.device | None = None) -> list[Batch]:
    """Some rows of data, in eight batches or more.

    Args:
        data: a feed, something with ``feed()``, or a tuple of tensors (inputs, targets).
        rows: at most; drawn where the data are in memory, else the first ones.
        seed: of the drawing.
        device: where the batches lie; None: where the data do.

    Raises:
        BadData: fewer than 16 rows.
        BadOption: no data.

    Example:
        >>> [batch.rows for batch in drawn((torch.zeros(20, 3), torch.zeros(20)), rows=16)]
        [2, 2, 2, 2, 2, 2, 2, 2]
    """
    feed = data.feed() if hasattr(data, "feed") else Tensors(*data) if isinstance(data, tuple) else data
    if not isinstance(feed, Feed):
        raise BadOption(f"shift: data of type {type(data).__name__}", "give a feed, or a tuple (inputs, targets)")
    feed = feed if device is None else feed.to(device)
    if isinstance(feed, Tensors):
        order = np.random.default_rng(seed).permutation(feed.rows)[:rows]
        size = min(LARGEST, max(1, len(order) // LEAST_BATCHES))
        found = list(feed.take(torch.from_numpy(order)).batches(size))
    else:
        found, seen = [], 0
        for batch in feed.batches(feed.batch_size or LARGEST):
            found.append(batch)
            seen += batch.rows
            if seen >= rows:
                break
    total = sum(batch.rows for batch in found)
    if total < 2 * LEAST_BATCHES:
        raise BadData(f"shift: {total} rows", f"give {2 * LEAST_BATCHES} or more")
    return _divided(found)


def _divided(batches: list[Batch]) -> list[Batch]:
    """The rows in eight batches or more."""
    if len(batches) >= LEAST_BATCHES:
        return batches
    size = sum(batch.rows for batch in batches) // LEAST_BATCHES
    return [make_batch(cut(b, k, min(k + size, b.rows))) for b in batches for k in range(0, b.rows, size)]


def finite(batches: Sequence[Batch], losses_N: Floats, name: str, notes: list[str]) -> list[Batch]:
    """The rows whose losses are finite: a surface has no slope where one is not.

    Args:
        batches: the rows.
        losses_N: their losses.
        name: of the side, for the note that says how many are left out.
        notes: it is added to.

    Raises:
        BadData: fewer than 16 are left.

    Example:
        >>> [batch] = drawn((torch.zeros(16, 2), torch.zeros(16)), rows=16)[:1]
        >>> notes = []
        >>> finite([batch] * 16, np.r_[np.zeros(31), np.nan], "incoming", notes)[-1].rows, notes[0][:37]
        (1, '1 of 32 incoming rows have no finite ')
    """
    good, found, start = np.isfinite(losses_N), list[Batch](), 0
    if good.all():
        return list(batches)
    for batch in batches:
        index = torch.from_numpy(np.flatnonzero(good[start : start + batch.rows]))
        start += batch.rows
        if len(index):
            found.append(make_batch(_picked(batch, index)))
    count = int(good.sum())
    if count < 2 * LEAST_BATCHES:
        raise BadData(f"shift: {count} {name} rows have a finite loss", f"give {2 * LEAST_BATCHES} or more")
    notes.append(
        f"{len(good) - count} of {len(good)} {name} rows have no finite loss at θ*: the surface is that of the others, and is "
        "lower than all of them would make it."
    )
    return _divided(found)


def _picked(batch: Batch, index: Tensor) -> Any:
    return map_leaves(
        lambda t: t.index_select(0, index.to(t.device)) if t.ndim and len(t) == batch.rows else t, batch.raw
    )


def pseudo_labelled(task: Task, model: nn.Module, batches: Sequence[Batch], confidence: float) -> list[Batch]:
    """The rows that a model is sure of, with its own predictions as targets.

    Args:
        task: a classification.
        model: whose predictions are taken.
        batches: targets in them are not looked at.
        confidence: least probability of the predicted class.

    Raises:
        BadData: the model predicts no classes, or is sure of fewer than 16 rows.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> [batch] = pseudo_labelled(task, task.build(0), list(task.prepare().select.batches(250)), 0.12)[:1]
        >>> batch.rows == len(batch.targets) > 16
        True
    """
    found = []
    sample = task.prepare().train.target_sample(1000)
    for batch in batches:
        p = Rows(task, model, [batch]).predictions()
        if p is None:
            raise BadData("shift: the incoming data have no targets and the model predicts no classes", "give targets")
        sure = torch.from_numpy(np.flatnonzero(p.max(1) >= confidence))
        if not len(sure):
            continue
        labels = torch.from_numpy(p.argmax(1)).to(leaves(batch.inputs)[0].device)
        if isinstance(sample, Tensor):
            labels = labels.to(sample.dtype).reshape(len(labels), *([1] * (sample.ndim - 1)))

        def take(t: Tensor, sure: Tensor = sure) -> Tensor:
            return t.index_select(0, sure.to(t.device))

        inputs, targets = map_leaves(take, (batch.inputs, labels))
        found.append(Batch(inputs, targets, len(sure), pack(inputs, targets, "pair")))
    if sum(batch.rows for batch in found) < 2 * LEAST_BATCHES:
        raise BadData(f"shift: the model is sure of fewer than {2 * LEAST_BATCHES} rows", "give targets")
    return _divided(found)
