"""Which units of a model may be permuted: other weights then compute the same function.

One forward pass follows the axes of every tensor, as products of atoms. Operators say which atoms are the same (a product
sums over an axis of both its factors, a sum lays its terms on each other), and which are fixed, since their places are told
apart: the axes of the batch and of the output, those that are sliced or that a kernel moves along, and all that an unknown
operator is given. What is free in the end is a group of units; the parameters and buffers that have it as an axis carry it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ..batch import leaves
from ..errors import BadTask
from ..modes import evaluating
from ..seeds import stream
from .axes import Atom, Axes, fix, new, resolved
from .operators import COPIES, GIVES, JOINS, UNIFORM, Call, axes_of, unknown

Forward = Callable[[nn.Module], Any]
State = Mapping[str, Any]


@dataclass(frozen=True)
class Carrier:
    """Where a group's units stand in a tensor: its axis, of ``outer`` × size × ``inner`` places.

    Attributes:
        tensor: name in the state dict.
        axis: of the tensor.
        outer: blocks that the units repeat in, such as the gates of an LSTM.
        inner: places of each unit, such as the pixels of a flattened channel.
    """

    tensor: str
    axis: int
    outer: int = 1
    inner: int = 1

    def rows(self, x: Tensor, size: int) -> Tensor:
        """The numbers of each unit, (size, rest)."""
        front = x.movedim(self.axis, 0).reshape(self.outer, size, self.inner, -1)
        return front.movedim(1, 0).reshape(size, -1)

    def permuted(self, x: Tensor, permutation: Tensor) -> Tensor:
        """A copy of the tensor in which unit i is what unit ``permutation[i]`` was."""
        places = torch.arange(x.shape[self.axis], device=x.device).reshape(self.outer, len(permutation), self.inner)
        return x.index_select(self.axis, places[:, permutation.to(x.device)].reshape(-1))


@dataclass(frozen=True)
class Group:
    """Units that may be permuted together.

    Attributes:
        name: of the first tensor that carries them; of a second group of the same tensor with ``/2`` behind it.
        size: how many units.
        carriers: where they stand, in the order of the state dict.
    """

    name: str
    size: int
    carriers: tuple[Carrier, ...]


class Following(TorchDispatchMode):
    """Follows the axes of every tensor of a forward pass.

    Attributes:
        given: what products and sums gave, with its axes, in order: the activations before a non-linearity.
        groups: that were found, by the id of their atom.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.axes: dict[int, Axes] = {}
        self.alive: list[Tensor] = []  # an id is good while its tensor lives
        self.used: set[int] = set()
        self.later: dict[int, Call] = {}  # what joins tensors ties their units, if anybody uses what it gives
        self.uniform: set[int] = set()  # of the same number everywhere
        self.given: list[tuple[Tensor, Axes]] = []
        self.groups: dict[int, Group] = {}
        self.state = model.state_dict(keep_vars=True)
        for x in self.state.values():
            if isinstance(x, Tensor):
                self.axes.setdefault(id(x), new(x.shape))

    def over(self, model: nn.Module, forward: Forward) -> list[Group]:
        """The groups that a forward pass shows."""
        handle = model.register_forward_pre_hook(self._begin, with_kwargs=True)
        try:
            with torch.no_grad(), evaluating(model), stream(0, "units"), _in_parts(), self:
                out = forward(model)
        finally:
            handle.remove()
        for x in leaves(out):
            fix(*self.of(x))
        return self._groups()

    def _begin(self, _model: nn.Module, args: Any, kwargs: Any) -> None:
        """What the model is given is a batch, also where it was made of zeros just now."""
        for x in leaves((args, kwargs)):
            fix(*self.of(x))
            self.uniform.discard(id(x))

    def of(self, x: Tensor) -> Axes:
        """The axes of a tensor; one that nobody has made belongs to the batch."""
        self.used.add(id(x))
        if id(x) in self.later:
            self._follow(self.later.pop(id(x)))
        if id(x) not in self.axes:
            self.axes[id(x)] = new(x.shape, fixed=True)
            self.alive.append(x)
        return self.axes[id(x)]

    def look(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and say what the axes of its results are."""
        out = func(*args, **(kwargs or {}))
        call = Call(func, args, kwargs or {}, leaves(out), self.of)
        self.alive += call.results
        if call.name in JOINS:
            self.later[id(out)] = call
        else:
            self._follow(call)
        return out

    def _follow(self, call: Call) -> None:
        try:
            found = axes_of(call)
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):  # called in a form that is not known
            found = unknown(call)
        first = id(call.tensors[0]) if call.tensors else 0
        if call.name in UNIFORM or (call.name in COPIES and first in self.uniform):
            self.uniform.add(id(call.results[0]))
        elif call.name == "unbind" and first in self.uniform:  # the first states of layers do not tie their units
            found = [new(shape) for shape in call.shapes]
        for k, (x, shape) in enumerate(zip(call.results, call.shapes, strict=True)):
            axes = found[k] if k < len(found) else new(shape, fixed=True)
            if tuple(math.prod(atom.size for atom in resolved(axis)) for axis in axes) != shape:
                fix(*axes)
                unknown(call)
                axes = new(shape, fixed=True)
            self.axes[id(x)] = axes
        if call.name in GIVES and call.results[0].is_floating_point():
            self.given.append((call.results[0], self.axes[id(call.results[0])]))

    def _groups(self) -> list[Group]:
        found: dict[int, tuple[str, int, list[Carrier]]] = {}
        for name, x in self.state.items():
            if isinstance(x, Tensor) and id(x) in self.used:
                for atom, carrier in places(name, self.axes[id(x)]):
                    found.setdefault(id(atom), (name, atom.size, []))[2].append(carrier)
        times = dict[str, int]()
        for key, (name, size, carriers) in found.items():
            times[name] = times.get(name, 0) + 1
            label = name if times[name] == 1 else f"{name}/{times[name]}"
            self.groups[key] = Group(label, size, tuple(carriers))
        return list(self.groups.values())


# Set here, since torch wraps a method that is defined under this name, and the wrapper imports its compiler: seconds.
Following.__torch_dispatch__ = Following.look  # type: ignore[assignment]


@contextmanager
def _in_parts() -> Iterator[None]:
    """Inside, an attention or a recurrent layer runs as products and sums, not as one operator."""
    fast = torch.backends.mha.get_fastpath_enabled()
    onednn, cudnn = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        torch._C._set_mkldnn_enabled(False)
        torch._C._set_cudnn_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(onednn)
        torch._C._set_cudnn_enabled(cudnn)


def places(name: str, axes: Axes) -> list[tuple[Atom, Carrier]]:
    """The free atoms of a tensor, and where they stand."""
    found = []
    for k, axis in enumerate(axes):
        atoms = resolved(axis)
        for j, atom in enumerate(atoms):
            if not atom.fixed:
                outer, inner = (math.prod(other.size for other in part) for part in (atoms[:j], atoms[j + 1 :]))
                found.append((atom, Carrier(name, k, outer, inner)))
    return found


def groups(model: nn.Module, forward: Forward) -> list[Group]:
    """The groups of units that may be permuted, by an analysis of one forward pass.

    Args:
        model: a copy is run, in evaluation mode.
        forward: gives the model's output.

    Returns:
        In the order of the state dict. Left out are units that an operator tells apart or that is not known; of units that
        are concatenated or split in equal parts, all parts are permuted alike, and so are all heads of an attention.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        >>> for group in groups(net, lambda m: m(torch.zeros(2, 1, 4, 4))):
        ...     print(group.name, group.size, [(c.tensor, c.axis, c.inner) for c in group.carriers])
        0.weight 4 [('0.weight', 0, 1), ('0.bias', 0, 1), ('3.weight', 1, 4)]
    """
    twin = copy.deepcopy(model)
    return Following(twin).over(twin, forward)


def permute(model: nn.Module | State, group: Group, permutation: Any) -> dict[str, Any]:
    """A state dict in which unit i of a group is what unit ``permutation[i]`` was; tensors of others are shared.

    Args:
        model: or its state dict; left as it is.
        group: of `groups`.
        permutation: of 0 … size − 1.

    Raises:
        BadTask: it is no permutation of as many units.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> (group,) = groups(net, lambda m: m(torch.zeros(1, 2)))
        >>> turned = permute(net, group, [2, 0, 1])
        >>> torch.equal(turned["2.weight"], net[2].weight[:, [2, 0, 1]])
        True
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    order = torch.as_tensor(permutation, dtype=torch.long)
    if order.shape != (group.size,) or not torch.equal(order.sort().values, torch.arange(group.size)):
        raise BadTask(f"units: no permutation of the {group.size} units of {group.name}", "give each unit once")
    found = dict(state)
    for carrier in group.carriers:
        found[carrier.tensor] = carrier.permuted(found[carrier.tensor].detach(), order)
    return found
