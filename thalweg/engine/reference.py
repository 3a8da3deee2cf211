"""The reference engine: calls the rule with torch tensors; the oracle of the other engines and their fallback."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from thalweg import errors
from thalweg.rules import links
from thalweg.rules.rule import Rule, State

_LOW = frozenset({torch.bfloat16, torch.float16})
SMALL = 4096
PIECE = 131_072  # numbers of a large tensor that are updated at a time
_PLAIN = frozenset({float, int, bool})
_SCALARS: dict[tuple[float, torch.dtype], Tensor] = {}

Group = Mapping[str, Any]
Saved = MutableMapping[str, Any]


def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    """A host number as a 0-dim tensor: with one, torch multiplies twice as fast as with a Python number."""
    tensor = _SCALARS.get((value, dtype))
    if tensor is None:
        if len(_SCALARS) > 4096:
            _SCALARS.clear()
        tensor = torch.tensor(value, dtype=dtype, device="cpu")
        if type(tensor) is Tensor:
            _SCALARS[value, dtype] = tensor
    return tensor


class _Pool(threading.local):
    """Room for the temporaries of one call of a rule, used again by the next: fresh pages cost more than the arithmetic."""

    def __init__(self) -> None:
        self._room: dict[torch.dtype, list[Tensor]] = {}
        self._views: dict[tuple[torch.dtype, int], list[Tensor]] = {}
        self._at = 0

    def take(self, like: Tensor) -> Tensor | None:
        """A flat tensor of the size of ``like``; None where torch had better make one."""
        n = like.numel()
        if like.dim() != 1 or not like.is_cpu or not SMALL < n <= PIECE:
            return None
        views = self._views.setdefault((like.dtype, n), [])
        if self._at >= len(views):
            room = self._room.setdefault(like.dtype, [])
            with torch.inference_mode(False):
                while len(room) <= self._at:
                    room.append(torch.empty(PIECE, dtype=like.dtype))
                views += [x[:n] for x in room[len(views) : self._at + 1]]
        self._at += 1
        return views[self._at - 1]

    def clear(self) -> None:
        """The temporaries are not needed any more."""
        self._at = 0


_POOL = _Pool()


class Elements:
    """c·x, c·x·y or c·x/y: what waits for the next sum, which takes it along in the same pass."""

    __slots__ = ("c", "over", "x", "y")

    def __init__(self, x: Tensor, c: float = 1.0, y: Tensor | None = None, over: bool = False) -> None:
        self.x, self.c, self.y, self.over = x, c, y, over

    def base(self) -> Tensor:
        """The tensor without its host factor."""
        if self.y is None:
            return self.x
        return (torch.div if self.over else torch.mul)(self.x, self.y, out=_POOL.take(self.x))

    def value(self) -> Tensor:
        """The tensor with its factor applied."""
        x = self.base()
        return x if self.c == 1.0 else torch.mul(x, _scalar(self.c, x.dtype), out=_POOL.take(x))

    def _plus(self, other: Elements, sign: float) -> Elements:
        a, b, c = self.value(), other, sign * other.c
        if b.y is None:
            return Elements(torch.add(a, b.x, alpha=c, out=_POOL.take(a)))
        return Elements((torch.addcdiv if b.over else torch.addcmul)(a, b.x, b.y, value=c, out=_POOL.take(a)))

    def __add__(self, other: Any) -> Elements:
        if type(other) is not Elements:
            x = self.base()
            return Elements(torch.add(_scalar(other, x.dtype), x, alpha=self.c, out=_POOL.take(x)))
        return self._plus(other, 1.0) if self.c == 1.0 or other.c != 1.0 else other._plus(self, 1.0)

    __radd__ = __add__

    def __neg__(self) -> Elements:
        return Elements(self.x, -self.c, self.y, self.over)

    def __sub__(self, other: Any) -> Elements:
        return self._plus(other, -1.0) if type(other) is Elements else self + -other

    def __rsub__(self, other: Any) -> Elements:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Elements:
        if type(other) is Elements:
            return Elements(self.base(), self.c * other.c, other.base())
        return Elements(self.x, self.c * other, self.y, self.over)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Elements:
        if type(other) is Elements:
            return Elements(self.base(), self.c, other.value(), True)
        return Elements(self.x, self.c / other, self.y, self.over)

    def __rtruediv__(self, other: Any) -> Elements:
        return Elements(self.value().reciprocal(), other)

    def __abs__(self) -> Elements:
        return Elements(self.base().abs(), abs(self.c))


class Namespace:
    """The array functions that rules use: on host numbers as in IEEE arithmetic, on elements as in torch."""

    @staticmethod
    def sqrt(x: Any) -> Any:
        """√x."""
        if isinstance(x, Elements):
            return Elements(torch.sqrt(x.value(), out=_POOL.take(x.x)))
        return math.sqrt(x) if x >= 0 else math.nan

    @staticmethod
    def abs(x: Any) -> Any:
        """The absolute value."""
        return abs(x)

    @staticmethod
    def maximum(x: Any, y: Any) -> Any:
        """The larger of two; NaN if one of them is NaN."""
        if isinstance(x, Elements):
            if isinstance(y, Elements):
                return Elements(torch.maximum(x.value(), y.value()))
            return Elements(torch.clamp_min(x.value(), y))
        return Namespace.maximum(y, x) if isinstance(y, Elements) else math.nan if x != x or y != y else max(x, y)

    @staticmethod
    def where(condition: bool, x: Any, y: Any) -> Any:
        """``x`` if the host's condition holds, else ``y``."""
        return x if condition else y


def number(value: Any) -> Any:
    """A hyper-parameter as host numbers: tensors of one element become floats, also inside a tuple."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return value.item()
    return tuple(map(number, value)) if isinstance(value, tuple | list) else value


def create(p: Tensor, state: State, options: Group) -> Tensor:
    """The first value of a state, in the dtype, shape and memory layout of the parameter."""
    first = number(options[state.initial]) if state.initial else 0.0
    value = complex(first, first) if p.is_complex() else first
    return torch.full_like(p, value, requires_grad=False, memory_format=torch.preserve_format)


def dense(grad: Tensor) -> Tensor:
    """The gradient as plain numbers.

    Raises:
        BadData: it is sparse.
    """
    if grad.layout is not torch.strided:
        raise errors.BadData(
            f"sparse gradients ({grad.layout}, shape {tuple(grad.shape)}) are not supported",
            "make the layer with sparse=False, or use torch.optim.SparseAdam for its parameters",
        )
    return torch.view_as_real(grad.resolve_conj()) if grad.is_complex() else grad


def real(column: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors, or views of the real and imaginary parts of complex ones."""
    return tuple(torch.view_as_real(x) for x in column) if column[0].is_complex() else column


def read(column: tuple[Tensor, ...]) -> Elements:
    """What the rule calculates with: the numbers of one tensor or of several, float32 for bfloat16 and float16."""
    views = real(column)
    x = views[0] if len(views) == 1 else _flatten_dense_tensors(views)  # type: ignore[no-untyped-call]
    return Elements(x.float() if x.dtype in _LOW else x)


def write(column: tuple[Tensor, ...], result: Elements) -> None:
    """Put the result of a rule into the tensors it was read from, rounded to their dtype."""
    views, value = real(column), result.value()
    if len(views) == 1:
        views[0].copy_(value)
    else:
        torch._foreach_copy_(views, _unflatten_dense_tensors(value, views))  # type: ignore[no-untyped-call]


def global_norm(groups: Iterable[Group], exact: bool = True) -> Tensor:
    """The Euclidean norm of all gradients together, ‖g‖ = √Σg², as a 0-dim tensor.

    Args:
        groups: parameter groups; parameters without a gradient count as zero.
        exact: sum in float64 where the device has it; else in the gradients' dtype, which is faster.

    Returns:
        The norm in float64 (float32 where the device has no other).

    Raises:
        BadData: a gradient is sparse.
    """
    grads = [dense(p.grad) for group in groups for p in group["params"] if p.grad is not None]
    if not grads:
        return torch.zeros((), dtype=torch.float64)
    wide = torch.float32 if grads[0].device.type == "mps" else torch.float64
    first = grads[0].device
    exact = exact or grads[0].dtype in _LOW
    norms = [norm.to(first, wide) for norm in torch._foreach_norm(grads, 2, wide if exact else None)]
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return total


def clip_coefficient(norm: Tensor, limit: float) -> float | None:
    """What the gradients are multiplied by so that their norm is at most ``limit``; None when it is already."""
    value = norm.item()
    return limit / value if value > limit else None


def step(rule: Rule, groups: Iterable[Group], states: Mapping[Tensor, Saved], clip: float | None = None) -> None:
    """One step of every parameter that has a gradient; parameters and states are written in place.

    Args:
        rule: the rule.
        groups: parameter groups: "params", "maximize" and the rule's options.
        states: what is remembered for each parameter; missing states are created.
        clip: what the gradients are multiplied by; None: nothing.

    Raises:
        BadData: a gradient is sparse.
    """
    for group in groups:
        options = {name: number(group[name]) for name in rule.defaults}
        decay = options["weight_decay"]
        update = links.compose(rule, maximized=bool(group["maximize"]), clipped=clip is not None, decayed=decay != 0)
        scalars = rule.scalars(options)
        if decay != 0:
            scalars["weight_decay"] = decay
        if clip is not None:
            scalars["clip"] = clip
        for (t, first, *_), rows in _rows(rule, group["params"], states, options).items():
            moving = {"t": t, "first": first}
            now = {name: moving[name] for name in rule.inputs if name in moving}
            for columns in _pieces(list(zip(*rows, strict=True))):
                _POOL.clear()
                new = update(Namespace, *[None if x[0] is None else read(x) for x in columns], **scalars, **now)
                for column, result in zip((columns[0], *columns[2:]), new, strict=True):
                    if result is not None:
                        write(column, result)


def _pieces(columns: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """A large tensor flat and in pieces, so that its temporaries have room in the pool; anything else as it is."""
    held = [x[0] for x in columns if x[0] is not None]
    p = held[0]
    large = len(columns[0]) == 1 and p.numel() > SMALL and p.device.type == "cpu"
    if not large or any(not x.is_contiguous() or x.is_complex() or x.shape != p.shape for x in held):
        yield columns
        return
    flat = [None if x[0] is None else x[0].detach().view(-1).split(PIECE) for x in columns]
    for i in range(len(flat[0] or ())):
        yield [(None,) if pieces is None else (pieces[i],) for pieces in flat]


def _rows(
    rule: Rule, params: Iterable[Tensor], states: Mapping[Tensor, Saved], options: Group
) -> dict[tuple[Any, ...], list[tuple[Tensor | None, ...]]]:
    """Parameter, gradient and states of all parameters, those together that can share one call of the rule.

    They can if they are small and have the same step count, device and dtype: for small tensors the calls of torch
    take longer than the arithmetic.
    """
    active = rule.active(options)
    keeps = rule.counts_steps or any(active)
    rows: dict[tuple[Any, ...], list[tuple[Tensor | None, ...]]] = defaultdict(list)
    for p in params:
        if p.grad is None:
            continue
        grad = dense(p.grad)
        saved = states[p] if keeps else {}  # reading makes an entry, and torch's plain SGD has none
        t, first = 0.0, False
        memory: list[Tensor | None] = []
        if rule.counts_steps:
            t = _count(saved)
        for state in active:
            if state is None:
                memory.append(None)
                continue
            tensor = saved.get(state.name)
            if tensor is None:
                first, tensor = True, create(p, state, options)
                saved[state.name] = tensor
            memory.append(tensor)
        small = p.numel() <= SMALL
        rows[t, first, p.device, p.dtype if small else id(p)].append((p, grad, *memory))
    return rows


def _count(saved: Saved) -> float:
    """Advance the saved number of steps, a 0-dim tensor as in torch, and return it."""
    count = saved.get("step")
    if not isinstance(count, Tensor):
        count = saved["step"] = torch.tensor(float(count or 0), dtype=torch.float32)
    count += _scalar(1.0, count.dtype)
    return count.item()
