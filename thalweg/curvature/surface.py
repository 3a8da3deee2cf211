"""The loss over some batches as a function of the trained parameters: its value, gradient, and curvature products.

Legend: n trained parameters, B batches. Vectors are flat, float64, on the CPU, whatever the model computes in.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .. import trial
from ..batch import Batch, leaves, make_batch, map_leaves
from ..errors import BadTask
from ..modes import evaluating
from ..seeds import Stream
from ..task import DTYPES
from .lanczos import start_vector
from .products import buffers_kept, gauss_newton_product, hessian_product

if TYPE_CHECKING:
    from ..task import Task

Product = Callable[[Tensor], Tensor]
DIFFERENCE = 1e-2  # of the parameters' length: so far apart are gradients whose difference stands for a product
LOST = 0.05  # share of the largest part of H v, by differences, that a part which is exactly zero may have


class Surface:
    """A model's loss over batches.

    Whatever is asked of it, the model's parameters, buffers, gradients, mode and all random states are afterwards as
    before, to the bit.

    Args:
        task: gives the loss; its weight decay is an optimizer's affair and not in it.
        model: where on the surface; its parameters that require a gradient are the coordinates.
        batches: what the loss is the mean over, rows weighted equally.
        training: whether dropout draws (the same numbers each time) and batch norm goes by each batch: each module in the
            mode that it is in, all of them where the model is in evaluation mode; else evaluation mode.
        double: whether a copy in float64 is looked at; the model itself is left alone.

    Attributes:
        n: numbers of coordinates.
        floor: share of the largest eigenvalue below which one is lost in the rounding of the products.
        notes: what could not be done as asked.

    Raises:
        BadTask: nothing is trained, or the model does not run.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> surface = Surface(task, task.build(0), batches_of(task, 2))
        >>> surface.n, surface.deterministic()
        (2410, True)
    """

    def __init__(
        self, task: Task, model: nn.Module, batches: Sequence[Batch], *, training: bool = False, double: bool = False
    ) -> None:
        if not batches:
            raise BadTask("curvature: no batches", "give at least one")
        self.task, self.training, self.notes = task, training, list[str]()
        self.model, self.batches = model, list(batches)
        if double:
            self._double()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not self.parameters:
            raise BadTask("curvature: no parameter requires a gradient", "unfreeze some")
        self.sizes = [p.numel() for p in self.parameters]
        self.n, self.rows = sum(self.sizes), sum(batch.rows for batch in self.batches)
        if any(p.is_complex() for p in self.parameters):
            raise BadTask("curvature: complex parameters have no Hessian of this kind", "leave them out")
        least = max(torch.finfo(p.dtype).eps for p in self.parameters)
        if task.precision != "float32":
            least = max(least, torch.finfo(DTYPES[task.precision]).eps)
        self.floor = 8 * least * self.n**0.5 if least < 1e-10 else min(0.1, 32 * least * (1 + self.n**0.25))
        self._twice = True

    def _double(self) -> None:
        def wide(x: Tensor) -> Tensor:
            return x.double() if x.is_floating_point() else x

        before = self.task, self.model, self.batches
        try:
            task, data = replace(self.task, precision="float32"), self.task.prepare()
            loss = data.fit.loss
            own = copy.deepcopy(loss).double() if isinstance(loss, nn.Module) else loss
            task._memory.update(self.task._memory, prepared=replace(data, fit=replace(data.fit, loss=own)))
            self.task, self.model = task, copy.deepcopy(self.model).double()
            self.batches = [make_batch(map_leaves(wide, batch.raw)) for batch in self.batches]
            with self._still(), torch.no_grad():
                self._loss(self.batches[0])
        except Exception as error:
            self.task, self.model, self.batches = before
            self.notes.append(f"In the model's own precision, not float64: {type(error).__name__}: {error}"[:160])

    @property
    def memory(self) -> int:
        """Bytes of one vector; a Lanczos iteration of k products holds k + 2 of them, beside one backward pass's graph."""
        return 8 * self.n

    def loss(self) -> float:
        """The mean loss over all rows, added up in float64."""
        with self._still(), torch.no_grad():
            losses = [float(self._loss(batch)) for batch in self.batches]
        return sum(x * batch.rows for x, batch in zip(losses, self.batches, strict=True)) / self.rows

    def deterministic(self) -> bool:
        """Whether the loss is the same twice."""
        first, again = self.loss(), self.loss()
        return first == again or (math.isnan(first) and math.isnan(again))

    def gradient(self) -> Tensor:
        """Of the mean loss, (n,)."""
        return self._mean(lambda b: torch.autograd.grad(self._loss(b), self.parameters, allow_unused=True))

    def gradients(self) -> Tensor:
        """Of each batch's own mean loss, (B, n)."""
        found = []
        for batch in self.batches:
            with self._still():
                parts = torch.autograd.grad(self._loss(batch), self.parameters, allow_unused=True)
            found.append(self._flat(parts))
        return torch.stack(found)

    def hessian(self) -> Product:
        """The function v → H v at the parameters as they are now, (n,) → (n,).

        By differentiating twice; where an operator cannot be, by gradients a little to both sides, which ``notes`` say.
        It holds the graphs of all batches while it lives.
        """
        if not self._twice:
            return self._differences
        try:
            product = self._product(lambda b: hessian_product(self._loss(b), self.parameters))
            lost = self._lost(product)
        except (RuntimeError, NotImplementedError) as error:
            if "memory" in str(error).lower():
                raise
            lost = str(error).splitlines()[0][:80]
        if not lost:
            return product
        self._twice = False
        self.notes.append(f"Hessian products by differences of gradients: {lost}")
        return self._differences

    def _lost(self, product: Product) -> str:
        """Whose curvature differentiating twice does not see: an operator may give a gradient that it claims is constant."""
        v = start_vector(self.n, 0)
        with self._still():
            slopes = torch.autograd.grad(
                self._loss(self.batches[0]), self.parameters, create_graph=True, allow_unused=True
            )
        product(v)
        flat = [i for i, g in enumerate(slopes) if g is not None and not g.requires_grad]
        if not flat:
            return ""
        near, nearer = (torch.split(self._differences(v, share), self.sizes) for share in (1.0, 0.5))
        least = LOST * max(float(part.norm()) for part in near)
        # What comes of third derivatives becomes a quarter over half the distance; what comes of second ones stays.
        seen = [
            i
            for i in flat
            if float(near[i].norm()) > least and float((near[i] - nearer[i]).norm()) < 0.5 * near[i].norm()
        ]
        return "an operator's gradient cannot be differentiated" if seen else ""

    def gauss_newton(self) -> Product:
        """The function v → G v, G = JᵀH_L J: the loss's curvature in the outputs alone, never negative for convex losses.

        Raises:
            BadTask: the loss is not a function of one output.
        """
        hidden = BadTask("curvature: the loss is not a function of one output alone", "use hessian")
        with self._still(), torch.no_grad():
            if self.task.batch_loss is not None or len(leaves(trial.call(self.model, self._fresh(0).inputs))) != 1:
                raise hidden

        def product(batch: Batch) -> Callable[[Sequence[Tensor]], list[Tensor]]:
            fresh = make_batch(map_leaves(torch.clone, batch.raw))
            loss, output = self.task.loss_and_output(self.model, fresh)
            if not isinstance(output, Tensor) or not output.requires_grad:
                raise hidden
            return gauss_newton_product(loss.reshape(()), output, self.parameters)

        return self._product(product)

    def _product(self, of: Callable[[Batch], Callable[[Sequence[Tensor]], list[Tensor]]]) -> Product:
        parts = []
        for batch in self.batches:
            with self._still():
                parts.append(of(batch))

        def product(vector: Tensor) -> Tensor:
            total, split = torch.zeros(self.n, dtype=torch.float64), self._parts(vector)
            for part, batch in zip(parts, self.batches, strict=True):
                total += self._flat(part(split)) * (batch.rows / self.rows)
            return total

        return product

    @contextmanager
    def moved(self, by: Tensor) -> Iterator[None]:
        """Inside, the parameters are θ + ``by``; afterwards they are what they were."""
        before = [p.data for p in self.parameters]  # the numbers themselves stay where they are: graphs may hold them
        try:
            for p, part in zip(self.parameters, self._parts(by), strict=True):
                p.data = p.data + part
            yield
        finally:
            for p, old in zip(self.parameters, before, strict=True):
                p.data = old

    def along(self, direction: Tensor, lengths: Sequence[float]) -> list[float]:
        """The losses at θ + s·direction."""
        found = []
        for length in lengths:
            with self.moved(length * direction):
                found.append(self.loss())
        return found

    def point(self) -> Tensor:
        """θ, (n,)."""
        return self._flat([p.detach() for p in self.parameters])

    def _loss(self, batch: Batch) -> Tensor:
        fresh = make_batch(map_leaves(torch.clone, batch.raw))  # for models that write into their inputs
        return self.task.loss_of(self.model, fresh)

    def _fresh(self, k: int) -> Batch:
        return make_batch(map_leaves(torch.clone, self.batches[k].raw))

    def _mean(self, of: Callable[[Batch], Sequence[Tensor | None]]) -> Tensor:
        total = torch.zeros(self.n, dtype=torch.float64)
        for batch in self.batches:
            with self._still():
                total += self._flat(of(batch)) * (batch.rows / self.rows)
        return total

    @contextmanager
    def _still(self) -> Iterator[None]:
        """The mode that was asked for, the same random numbers each time, buffers as they were, no fused kernels."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(Stream(self.task.seed, "curvature"))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(_without_onednn())
            stack.enter_context(buffers_kept(self.model))
            training = self.model.training
            stack.enter_context(evaluating(self.model, not self.training))
            if self.training and not training:
                self.model.train()
            yield

    def _differences(self, vector: Tensor, share: float = 1.0) -> Tensor:
        length = float(vector.norm())
        if not length:
            return torch.zeros(self.n, dtype=torch.float64)
        step = share * DIFFERENCE * max(float(self.point().norm()), 1.0) / length / self.n**0.25
        with self.moved(step * vector):
            ahead = self.gradient()
        with self.moved(-step * vector):
            behind = self.gradient()
        found: Tensor = (ahead - behind) / (2 * step)
        return found

    def _parts(self, vector: Tensor) -> list[Tensor]:
        split = torch.split(vector, self.sizes)
        return [x.reshape(p.shape).to(p) for x, p in zip(split, self.parameters, strict=True)]

    def _flat(self, parts: Sequence[Any]) -> Tensor:
        whole = [
            torch.zeros(p.numel(), dtype=torch.float64) if x is None else x.detach().reshape(-1).double().cpu()
            for x, p in zip(parts, self.parameters, strict=True)
        ]
        return torch.cat(whole)


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Inside, no kernels of oneDNN: that of recurrent layers cannot be differentiated twice."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def batches_of(task: Task, count: int, seed: int = 0, rows: int | None = None) -> list[Batch]:
    """Some training batches in the order of training: other seeds, other batches, where the task shuffles.

    Args:
        task: its training data, in batches of its own size.
        count: how many; fewer where an epoch has fewer.
        seed: of the order.
        rows: a batch, where they can be chosen.

    Example:
        >>> import thalweg
        >>> [batch.rows for batch in batches_of(thalweg.Task.load("digits"), 3)]
        [64, 64, 64]
    """
    data = task.prepare()
    size = data.batch_size if data.train.fixed_batches or rows is None else rows
    with contextlib.closing(iter(data.train.training(size, [seed]))) as feed:  # type: ignore[type-var]
        return [batch.of(0) for _, batch in zip(range(count), feed, strict=False)]
