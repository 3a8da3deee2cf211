"""Batch norm's running statistics: how far they are from the data's, what that costs, and how to compute them anew.

Legend: C channels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .. import trial
from ..batch import Batch, leaves, make_batch, map_leaves
from ..console import columns
from ..errors import BadData
from ..modes import batch_statistics, evaluating
from ..seeds import RandomState

Forward = Callable[[nn.Module, Any], Any]
BATCHES = 100  # that statistics are averaged over
SIGMAS = 3.0
MATERIAL = 0.02  # of the loss, from which on a difference is one
FEW = 16  # values of a channel in a batch, below which its statistics are noise
MEAN_OFF, VARIANCE_OFF = 0.1, 1.2  # standard deviations of the mean, ratio of variances, beyond which a layer is named


def recalibrate(model: nn.Module, batches: Iterable[Any], forward: Forward | None = None, most: int = BATCHES) -> int:
    """Compute the running statistics of all batch norms anew: the plain mean of those of the batches, dropout off.

    Everything else of the model, its modes and the random generators is afterwards as before.

    Args:
        model: its batch norms get new ``running_mean``, ``running_var`` and ``num_batches_tracked``.
        batches: as a ``DataLoader`` gives them: tensors, tuples of inputs and targets, or dictionaries; those of one row
            are left out where others have more.
        forward: runs the model on a batch, ``forward(model, batch)``; None: it is called with the batch's inputs.
        most: batches that are used.

    Returns:
        How many batches were used; 0 for a model without batch norms.

    Raises:
        BadData: no batch.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> recalibrate(net, [(torch.randn(32, 4), torch.zeros(32)) for _ in range(5)])
        5
    """
    norms, counted = dict(running(model)), 0
    if not norms:
        return 0
    run, state = forward or call, RandomState.capture()
    kept = [({name: buffer.clone() for name, buffer in norm.named_buffers()}, norm.momentum) for norm in norms.values()]
    with evaluating(model):
        for norm in norms.values():
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        done = False
        try:
            with torch.no_grad():
                for batch in itertools.islice(_enough(batches), most):
                    run(model, batch)
                    counted += 1
            done = counted > 0
        finally:
            state.restore()
            for norm, (buffers, momentum) in zip(norms.values(), kept, strict=True):
                norm.momentum = momentum
                if not done or not int(norm.num_batches_tracked or 0):  # one that does not run in evaluation mode
                    _restore(norm, buffers)
    if not counted:
        raise BadData("recalibrate: there is no batch", "give training batches, the loader itself for example")
    return counted


def _enough(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches but for those of one row where others have more: the last one of a loader may have one."""
    most = 0
    for batch in batches:
        rows = max((len(x) for x in leaves(batch.raw if isinstance(batch, Batch) else batch) if x.ndim), default=0)
        most = max(most, rows)
        if rows != 1 or most == 1:
            yield batch


def running(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """The batch norms that keep running statistics, by name."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            yield name, module


def call(model: nn.Module, batch: Any) -> Any:
    """The model on a batch as a loader gives it."""
    device = next(model.parameters()).device
    return trial.call(model, map_leaves(lambda x: x.to(device), make_batch(batch).inputs))


def _restore(norm: nn.Module, buffers: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in buffers.items():
            getattr(norm, name).copy_(value)


@dataclass(frozen=True)
class NormGap:
    """A batch norm's running statistics beside the data's.

    Attributes:
        name: of the layer.
        mean_off: root mean square over the channels of (running mean - mean)/σ.
        variance_ratio: geometric mean of running over measured variance.
        variance_spread: geometric standard deviation over the channels of that ratio.
        values: of a channel in a batch: rows × positions.
        updates: batches that the running statistics have seen.
        wrong: whether they disagree with the data beyond noise.
    """

    name: str
    mean_off: float
    variance_ratio: float
    variance_spread: float
    values: int
    updates: int
    wrong: bool


@dataclass(frozen=True)
class BatchNormGap:
    """What batch norm's statistics cost a model on some data.

    Attributes:
        running: mean loss in evaluation mode, with the running statistics.
        population: the same with statistics computed anew over all these batches: what `recalibrate` brings.
        batch: the same with each batch's own statistics, as in training, dropout off.
        stale: lower end of the interval (`SIGMAS` standard errors over batches) of running - population.
        small: the same of batch - population.
        layers: every batch norm, the furthest off first.
        codes: ``batchnorm-gap`` (the running statistics are wrong here, and it costs), ``batchnorm-stale`` (they saw few
            batches or none), ``batchnorm-small-batch`` (the batches are too small for statistics of their own).
        sentences: what is the matter, and what helps; empty in good health.
    """

    running: float
    population: float
    batch: float
    stale: float
    small: float
    layers: tuple[NormGap, ...]
    codes: tuple[str, ...]
    sentences: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return found | {"layers": [{f.name: getattr(layer, f.name) for f in fields(layer)} for layer in self.layers]}

    def __str__(self) -> str:
        said = list(self.sentences) or ["Running statistics and data agree."]
        losses = f"Loss with running statistics {self.running:.4g}, computed anew {self.population:.4g}, "
        losses += f"of each batch {self.batch:.4g}."
        rows = [("layer", "mean off by σ", "variance ratio", "values a batch", "batches seen", "")]
        for layer in self.layers:
            numbers = (f"{layer.mean_off:.2g}", f"{layer.variance_ratio:.3g}", str(layer.values), str(layer.updates))
            rows.append((layer.name, *numbers, "wrong" if layer.wrong else ""))
        return "\n".join([*said, losses, columns(rows)])


def gap(model: nn.Module, batches: Iterable[Any], loss: Forward, most: int = BATCHES) -> BatchNormGap:
    """Whether the running statistics of a model's batch norms fit some data, which do not, and what that costs.

    The same batches go through the model three times: with the running statistics, with their own, and with those of all
    of them. Each layer is measured behind layers that normalize by the batch, so that one that is wrong does not make
    those behind it look wrong. The model is afterwards as before.

    Args:
        model: with batch norms.
        batches: training batches, at the training's batch size, as a loader gives them; at least two.
        loss: the mean loss of a batch, ``loss(model, batch)``.
        most: batches that are used.

    Raises:
        BadData: fewer than two batches, or no batch norm with running statistics.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        >>> data = [(3 + torch.randn(64, 4), torch.randint(2, (64,))) for _ in range(10)]
        >>> found = gap(net, data, lambda m, batch: nn.functional.cross_entropy(m(batch[0]), batch[1]))
        >>> "batchnorm-stale" in found.codes  # they have not seen any batch
        True
    """
    norms = dict(running(model))
    data = list(itertools.islice(_enough(batches), most))
    if not norms:
        raise BadData("gap: the model has no batch norm with running statistics", "ask only of models that have some")
    if len(data) < 2:
        raise BadData(f"gap: statistics need at least two batches, got {len(data)}", "give more batches")
    kept = {name: {key: buffer.clone() for key, buffer in norm.named_buffers()} for name, norm in norms.items()}
    values: dict[str, int] = {}
    with torch.no_grad(), evaluating(model):
        with_running = _losses(model, data, loss)
        with batch_statistics(model), _counting(norms, values):
            with_batch = _losses(model, data, loss)
        try:
            recalibrate(model, data, loss, most)
            anew = {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()}  # type: ignore[union-attr]
            with_all = _losses(model, data, loss)
        finally:
            for name, norm in norms.items():
                _restore(norm, kept[name])
    layers = sorted(
        (_layer(name, norm, anew[name], values.get(name, 0), len(data)) for name, norm in norms.items()),
        key=lambda layer: -(abs(math.log(layer.variance_ratio or 1e-30)) + layer.mean_off),
    )
    stale, small = _lower(with_running - with_all), _lower(with_batch - with_all)
    means = float(with_running.mean()), float(with_all.mean()), float(with_batch.mean())
    codes, sentences = _verdict(means, stale, small, layers)
    return BatchNormGap(*means, stale, small, tuple(layers), codes, sentences)


def _losses(model: nn.Module, data: Sequence[Any], loss: Forward) -> np.ndarray:
    return np.array([float(loss(model, batch)) for batch in data])


def _lower(difference: np.ndarray) -> float:
    """The mean of differences of pairs less `SIGMAS` standard errors."""
    return float(difference.mean() - SIGMAS * difference.std(ddof=1) / math.sqrt(len(difference)))


@contextmanager
def _counting(norms: dict[str, _BatchNorm], values: dict[str, int]) -> Iterator[None]:
    """Inside, what each batch norm sees of a channel in a batch is counted."""

    def count(name: str) -> Callable[..., None]:
        return lambda module, taken: values.__setitem__(name, taken[0].numel() // max(1, module.num_features))

    handles = [norm.register_forward_pre_hook(count(name)) for name, norm in norms.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(name: str, norm: _BatchNorm, anew: tuple[Tensor, Tensor], values: int, batches: int) -> NormGap:
    """A layer's statistics against those computed anew, and whether that is more than their noise.

    An average with momentum m over batches of n values scatters about the mean with variance σ²/n · m/(2 - m).
    """
    mean, variance = (x.double() for x in anew)
    own_mean, own_variance = norm.running_mean.double(), norm.running_var.double()  # type: ignore[union-attr]
    alive = variance > norm.eps
    momentum = 1 / max(1, int(norm.num_batches_tracked or 1)) if norm.momentum is None else norm.momentum
    if not bool(alive.any()):
        return NormGap(name, 0.0, 1.0, 1.0, values, int(norm.num_batches_tracked or 0), False)
    off = ((own_mean - mean) / variance.sqrt())[alive].square().mean().sqrt()
    logs = (own_variance.clamp(min=1e-30) / variance)[alive].log()
    noise = math.sqrt((momentum / (2 - momentum) + 1 / batches) / max(1, values))
    spread = float(logs.std(correction=0))
    wrong = float(off) > max(MEAN_OFF, SIGMAS * noise)
    limit = max(math.log(VARIANCE_OFF), SIGMAS * math.sqrt(2) * noise)
    wrong |= abs(float(logs.mean())) > limit or spread > 2 * limit
    updates = int(norm.num_batches_tracked) if norm.num_batches_tracked is not None else 0
    return NormGap(name, float(off), math.exp(float(logs.mean())), math.exp(spread), values, updates, wrong)


def _verdict(
    means: tuple[float, float, float], stale: float, small: float, layers: Sequence[NormGap]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    running_loss, population, batch = means
    material = MATERIAL * max(abs(population), 0.05)
    wrong = [layer for layer in layers if layer.wrong]
    codes, said = [], []
    if not math.isfinite(running_loss) or (stale > material and wrong):
        codes.append("batchnorm-gap")
        said.append(
            f"Evaluation mode costs {running_loss - population:+.3g} of loss: the running statistics of "
            f"{', '.join(layer.name for layer in wrong[:3]) or 'the model'} do not fit these data; "
            "recalibrate computes them anew."
        )
    fresh = [layer for layer in wrong if layer.updates < 10]
    if fresh:
        codes.append("batchnorm-stale")
        said.append(
            f"The statistics of {fresh[0].name} have seen {fresh[0].updates} batches; recalibrate computes them anew."
        )
    few = min((layer.values for layer in layers), default=FEW)
    if few < FEW and small > material:
        codes.append("batchnorm-small-batch")
        said.append(
            f"A batch has {few} values of a channel, so that its own statistics are noise (loss {batch - population:+.3g}): take "
            "larger batches, or group or layer norm; accumulating gradients does not help batch norm."
        )
    return tuple(codes), tuple(said)
