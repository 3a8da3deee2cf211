"""A loss as a function of points: of coordinates, or of all weights of a model at once.

Legend: n numbers of a point, K points, B batches. Points are float64 on the CPU, whatever the model computes in.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from ..batch import Batch, make_batch, map_leaves
from ..curvature import Surface
from ..deadline import in_time
from ..errors import BadTask
from ..modes import evaluating
from ..seeds import Stream

if TYPE_CHECKING:
    from ..task import Task

DIFFERENCE = 1e-4  # of a point's length: half of how far apart are gradients whose difference stands for a product
NUMBERS = 4_000_000  # of all members' weights together that a program of many points holds at once
GROUPS = (8, 64)  # sizes of the programs that are tried
GAIN = 0.9  # of the time of one by one: what many at once must at most take to be chosen
CLOSE = 1e-4  # relative, between a loss of many at once and the same alone


class Field(ABC):
    """A loss as a function of points.

    Attributes:
        n: numbers of a point.
    """

    n: int

    @abstractmethod
    def losses(self, points_Kn: Tensor) -> Tensor:
        """The losses at some points, (K, n) → (K,)."""

    @abstractmethod
    def gradient(self, point_n: Tensor) -> tuple[float, Tensor]:
        """The loss at a point and its gradient, (n,)."""

    def loss(self, point_n: Tensor) -> float:
        """The loss at one point."""
        return float(self.losses(point_n[None])[0])

    def hessian_product(self, point_n: Tensor, vector_n: Tensor) -> Tensor:
        """H v at a point, by the difference of the gradients a little to both sides."""
        length = float(vector_n.norm())
        if not length:
            return torch.zeros_like(vector_n)
        step = DIFFERENCE * max(float(point_n.norm()), 1.0) / length
        ahead, behind = (self.gradient(point_n + sign * step * vector_n)[1] for sign in (1, -1))
        return (ahead - behind) / (2 * step)


@final
class Function(Field):
    """A differentiable function as a field.

    Args:
        fn: of a float64 tensor (..., n), its value (...): one point, or many at once.
        n: numbers of a point.

    Example:
        >>> field = Function(lambda x: (x**2).sum(-1), 2)
        >>> field.losses(torch.tensor([[1.0, 2.0], [0.0, 3.0]])).tolist()
        [5.0, 9.0]
        >>> field.hessian_product(torch.zeros(2), torch.tensor([1.0, 0.0])).tolist()
        [2.0, 0.0]
    """

    def __init__(self, fn: Callable[[Tensor], Tensor], n: int) -> None:
        self.fn, self.n = fn, n

    def losses(self, points_Kn: Tensor) -> Tensor:
        """See `Field.losses`."""
        with torch.no_grad():
            return self.fn(points_Kn.double())

    def gradient(self, point_n: Tensor) -> tuple[float, Tensor]:
        """See `Field.gradient`."""
        x = point_n.detach().double().requires_grad_()
        with torch.enable_grad():
            value = self.fn(x)
            [slope] = torch.autograd.grad(value, x)
        return float(value.detach()), slope

    def hessian_product(self, point_n: Tensor, vector_n: Tensor) -> Tensor:
        """See `Field.hessian_product`; by differentiating twice."""
        with torch.enable_grad():
            point, vector = point_n.detach().double(), vector_n.double()
            _, product = torch.autograd.functional.hvp(self.fn, point, vector)  # type: ignore[no-untyped-call]
        found: Tensor = product
        return found


@final
class ModelField(Field):
    """A model's loss over batches as a function of all its trained weights.

    Many points are evaluated as one program (weights stacked, the forward pass batched) where that is faster on this
    model, which is tried on the first of them, and gives the same losses; else one by one. The model is left as it is.

    Args:
        task: gives the loss.
        model: its parameters that require a gradient are the coordinates; what else it holds stays as it is.
        batches: what the loss is the mean over, rows weighted equally.
        norm: what batch norms go by: ``"running"``: the statistics that the model holds, or ``"batch"``: those of each
            batch, which fit the weights wherever they are. Dropout is off in both.
        deadline: on the clock of `time.monotonic`; after it nothing is evaluated any longer, as after Ctrl-C.

    Attributes:
        start: the model's own point, (n,).
        names: of the parameters, in the order of a point's parts.
        way: how points are evaluated, with what was measured; empty before the first.

    Raises:
        BadTask: nothing is trained, or no batch.

    Example:
        >>> import thalweg
        >>> from thalweg.curvature import batches_of
        >>> task = thalweg.Task.load("digits")
        >>> field = ModelField(task, task.build(0), batches_of(task, 2))
        >>> twice = torch.stack([field.start, 2 * field.start])
        >>> field.n, bool(torch.allclose(field.losses(twice)[0], torch.tensor(field.gradient(field.start)[0]).double()))
        (2410, True)
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        batches: Sequence[Batch],
        norm: str = "running",
        deadline: float = math.inf,
    ) -> None:
        self.task, self.model, self.norm, self.way, self.deadline = task, model, norm, "", deadline
        self._surface = Surface(task, model, batches)
        self.batches, self.n, self.rows = self._surface.batches, self._surface.n, self._surface.rows
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names, self._parameters = [name for name, _ in named], [p for _, p in named]
        self.start = self._surface.point()
        self._most = max(1, NUMBERS // self.n)
        self._group: int | None = None

    def over(self, batches: Sequence[Batch]) -> ModelField:
        """The same model's loss over other batches."""
        return ModelField(self.task, self.model, batches, self.norm, self.deadline)

    @property
    def normalizes(self) -> bool:
        """Whether there are batch norms with running statistics, so that ``norm`` decides."""
        return any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in self.model.modules())

    def losses(self, points_Kn: Tensor) -> Tensor:
        """See `Field.losses`."""
        with self._still():
            if self._group is None and len(points_Kn) >= GROUPS[0]:
                self._choose(points_Kn)
            found = []
            for part in torch.split(points_Kn, self._group or 1):
                in_time(self.deadline)
                found.append(self._some(part))
            return torch.cat(found)

    def gradient(self, point_n: Tensor) -> tuple[float, Tensor]:
        """See `Field.gradient`."""
        in_time(self.deadline)
        total, slope = 0.0, torch.zeros(self.n, dtype=torch.float64)
        with self._still(), torch.enable_grad(), self._at(point_n):
            for batch in self.batches:
                loss = self._alone(batch)
                parts = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
                share = batch.rows / self.rows
                total += share * float(loss.detach())
                slope += share * torch.cat([part.reshape(-1).double().cpu() for part in parts])
        return total, slope

    def hessian_product(self, point_n: Tensor, vector_n: Tensor) -> Tensor:
        """See `Field.hessian_product`; by differentiating twice, where the model's operators can be."""
        in_time(self.deadline)
        with self._still(), self._at(point_n):
            return self._surface.hessian()(vector_n)

    def parts(self, point: Tensor) -> list[Tensor]:
        """A point, (n,) or (K, n), as the parameters' tensors, in the model's dtype and on its device."""
        split = torch.split(point, self._surface.sizes, dim=-1)
        return [x.reshape(*point.shape[:-1], *p.shape).to(p) for x, p in zip(split, self._parameters, strict=True)]

    def point(self, weights: dict[str, Tensor]) -> Tensor:
        """The point of a ``state_dict`` of the same model.

        Raises:
            BadTask: it is of another model.
        """
        shapes = {name: tuple(p.shape) for name, p in zip(self.names, self._parameters, strict=True)}
        odd = [name for name, shape in shapes.items() if name not in weights or tuple(weights[name].shape) != shape]
        if odd:
            raise BadTask(f"landscape: weights of another model: {odd[0]} is missing or of another shape", "same task?")
        return torch.cat([weights[name].detach().reshape(-1).double().cpu() for name in self.names])

    def _some(self, points_Kn: Tensor) -> Tensor:
        if len(points_Kn) == 1:
            with self._at(points_Kn[0]):
                losses = [self._alone(batch).double().reshape(1) for batch in self.batches]
        else:
            losses = self._together(points_Kn)
        shares = [batch.rows / self.rows for batch in self.batches]
        total = torch.zeros(len(points_Kn), dtype=torch.float64)
        for share, x in zip(shares, losses, strict=True):
            total += share * x.cpu()
        return total

    def _alone(self, batch: Batch) -> Tensor:
        fresh = make_batch(map_leaves(torch.clone, batch.raw))  # for models that write into their inputs
        return self.task.loss_of(self.model, fresh)

    def _together(self, points_Kn: Tensor) -> list[Tensor]:
        """The losses of each batch at all points, as one program."""
        state = dict(zip(self.names, self.parts(points_Kn), strict=True))

        def one(state: dict[str, Tensor], raw: Any) -> Tensor:
            held = _Held(self.task, self.model)
            given = {f"model.{name}": x for name, x in state.items()}
            loss: Tensor = torch.func.functional_call(held, given, (raw,))
            return loss

        each = torch.vmap(one, (0, None), randomness="same")
        return [each(state, batch.raw).double() for batch in self.batches]

    def _choose(self, points_Kn: Tensor) -> None:
        """Time one by one and programs of some sizes on the first batch; take the fastest that gives the same losses."""
        batches, self.batches = self.batches, self.batches[:1]
        rows, self.rows = self.rows, self.batches[0].rows
        try:
            alone, times = self._some(points_Kn[:1]), {1: self._seconds(points_Kn, 1)}
            for size in dict.fromkeys(min(size, self._most, len(points_Kn)) for size in GROUPS):
                try:
                    same = size > 1 and torch.allclose(
                        self._some(points_Kn[:size])[:1], alone, CLOSE, CLOSE, equal_nan=True
                    )
                    if same:
                        times[size] = self._seconds(points_Kn, size)
                except (RuntimeError, ValueError, NotImplementedError) as error:  # no batching rule, or no memory
                    self.way = f"one by one: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
                    break
        finally:
            self.batches, self.rows = batches, rows
        best = min(times, key=lambda size: times[size] * (GAIN if size == 1 else 1.0))
        self._group = best
        shown = ", ".join(f"{size}: {1e3 * seconds:.3g} ms" for size, seconds in times.items())
        self.way = self.way or (f"{best} at a time" if best > 1 else "one by one") + f" (a point and batch at {shown})"

    def _seconds(self, points_Kn: Tensor, size: int) -> float:
        """Of one point and batch, the least of two tries."""
        found = []
        for _ in range(2):
            begun = time.perf_counter()
            self._some(points_Kn[:size])
            found.append((time.perf_counter() - begun) / size)
        return min(found)

    @contextmanager
    def _at(self, point_n: Tensor) -> Iterator[None]:
        """Inside, the model is at a point."""
        before = [p.data for p in self._parameters]
        try:
            for p, part in zip(self._parameters, self.parts(point_n), strict=True):
                p.data = part
            yield
        finally:
            for p, old in zip(self._parameters, before, strict=True):
                p.data = old

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Evaluation mode, batch norms as asked, no gradients, the same random numbers each time."""
        with ExitStack() as stack:
            stack.enter_context(Stream(self.task.seed, "curvature"))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(torch.no_grad())
            stack.enter_context(evaluating(self.model))
            if self.norm == "batch":
                stack.enter_context(_without_statistics(self.model))
            yield


class _Held(nn.Module):
    """The loss of a raw batch as a module, so that its weights can be given with the call."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, raw: Any) -> Tensor:
        loss: Tensor = self.task.loss_of(self.model, make_batch(raw))
        return loss


@contextmanager
def _without_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, batch norms hold no running statistics, so that they go by each batch's own in evaluation mode too."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    kept = [{name: m._buffers[name] for name in ("running_mean", "running_var")} for m in norms]
    try:
        for m in norms:
            m._buffers["running_mean"] = m._buffers["running_var"] = None
        yield
    finally:
        for m, buffers in zip(norms, kept, strict=True):
            m._buffers.update(buffers)
