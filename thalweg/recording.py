"""Recordings: a cohort's program as a list of operations, played again without Python's, vmap's and autograd's share of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules

from .averages import is_guard
from .batch import leaves, map_leaves
from .building import MARK
from .trial import Reshaped

if TYPE_CHECKING:
    from .task import Task

OFTEN = 200  # steps of one kind after which it is recorded: a recording takes as long as some dozens
MOST = 256  # recordings that a process keeps
KNOWN = ("torch.nn.modules.", "torch.nn.functional", "thalweg.trial")  # Python modules
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
Program = Callable[[Sequence[Tensor], Any, bool], Tensor]
Play = Callable[..., tuple[Tensor | None, ...]]

_kinds: dict[Hashable, int] = {}
_counts: dict[Hashable, int] = {}
_recordings: dict[Hashable, Play | None] = {}


class Recorded:
    """A cohort's losses and gradients; once its steps were seen often they come from a recording of them.

    Only what computes the same in every step is recorded, see `structure`, and a recording is used only where it gives
    losses, gradients, buffers and random numbers to the bit as the program does. The recordings are the process's.

    Args:
        task: what is trained.
        model: one member's.
        weights: stacked, by their names in the model.
        buffers: stacked, the same; the program writes to them.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        weights: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
    ) -> None:
        self._weights, self._buffers = list(weights.values()), list(buffers.values())
        self._learning = [weight for weight in self._weights if weight.requires_grad]
        self._found: list[Tensor | None] = []
        known = structure(task, model)
        kind = (known, *((name, _form(tensor)) for each in (weights, buffers) for name, tensor in each.items()))
        self._kind = None if known is None else _kinds.setdefault(kind, len(_kinds))

    def play(self, program: Program, raw: Any, orders: bool) -> Tensor | None:
        """The losses, of a recording that keeps its gradients for `leave`; None: there is none, or not yet.

        Args:
            program: of stacked weights and buffers, a raw batch, and ``orders``: the losses, (K,).
            raw: the batch.
            orders: whether it holds a batch for each member.
        """
        self._found = []
        if self._kind is None:
            return None
        given = leaves(raw)
        key = (self._kind, orders, *map(_form, given), _nesting(raw))
        if key not in _recordings:
            for kept in (_counts, _recordings):
                if len(kept) >= MOST:
                    kept.clear()
            _counts[key] = _counts.get(key, 0) + 1
            if _counts[key] < OFTEN:
                return None
            _recordings[key] = self._record(program, raw, orders, given)
        play = _recordings[key]
        if play is None:
            return None
        with torch.no_grad():
            losses, *self._found = play(*self._weights, *self._buffers, *given)
        return losses

    def leave(self) -> bool:
        """Add the gradients of the last `play` to the weights' own, in their layout; whether there were any."""
        found, self._found = self._found, []
        for weight, gradient in zip(self._learning, found, strict=False):
            if gradient is None:
                continue
            if weight.grad is not None:
                weight.grad.add_(gradient)
            else:
                as_it_lies = gradient.stride() == weight.stride()
                weight.grad = gradient if as_it_lies else torch.empty_like(weight).copy_(gradient)
        return bool(found)

    def _record(self, program: Program, raw: Any, orders: bool, given: list[Tensor]) -> Play | None:
        """The program's operations on tensors; None where they do not give the same bits."""
        from torch.fx.experimental.proxy_tensor import make_fx  # half a second: only where it is worth it

        if any(tensor.clone().stride() != tensor.stride() for tensor in given):  # operations depend on how tensors lie
            return None
        n, m = len(self._weights), len(self._weights) + len(self._buffers)

        def whole(*tensors: Tensor) -> tuple[Tensor | None, ...]:
            parts = iter(tensors[m:])
            losses = program(tensors[:m], map_leaves(lambda _: next(parts), raw), orders)
            learning = [weight for weight in tensors[:n] if weight.requires_grad]
            return losses.detach(), *torch.autograd.grad(losses.sum(), learning, allow_unused=True)

        def state() -> tuple[Tensor, ...]:  # a model may write into its batch
            return *self._weights, *self._buffers, *(tensor.clone() for tensor in given)

        try:
            with self._as_before() as after, torch.enable_grad():
                expected = [*whole(*state()), *after()]
            with self._as_before(), torch.enable_grad():
                recording = make_fx(whole)(*state())
            if any(node.op == "get_attr" for node in recording.graph.nodes):  # a tensor of this cohort alone
                return None
            play: Play = recording.forward
            with self._as_before() as after, torch.no_grad():
                found = [*play(*(last := state())), *after()]
        except Exception:  # what cannot be recorded is run
            return None
        return play if all(map(_same, expected, found)) and _apart(found, last) else None

    @contextmanager
    def _as_before(self) -> Iterator[Callable[[], list[Tensor]]]:
        """Afterwards buffers and random states are as they were; gives what tells how they are inside."""
        kept = [buffer.clone() for buffer in self._buffers]
        device = self._weights[0].device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                yield lambda: [*(buffer.clone() for buffer in self._buffers), torch.rand(1, device=device)]
        finally:
            with torch.no_grad():
                for buffer, before in zip(self._buffers, kept, strict=True):
                    buffer.copy_(before)


def structure(task: Task, model: nn.Module) -> Hashable | None:
    """All that decides which operations a step of a model takes, but its tensors; None: its code may do what it likes.

    Known are torch's own layers with torch's own losses: they compute the same in every step.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> structure(task, task.build(0)) == structure(task, task.build(1)) != None
        True
        >>> class Mine(nn.Linear):
        ...     pass
        >>> structure(task, nn.Sequential(Mine(64, 10))) is None
        True
    """
    fit = task.prepare().fit
    own = task.batch_loss is not None or fit.own_loss is not None or fit.loss is None
    if own or task.precision != "float32" or torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
        return None
    if any(not is_guard(hook) for kind in HOOKS for hook in getattr(modules, f"_global{kind}").values()):
        return None
    loss = _of_loss(fit.loss)
    parts = [(name, _of_module(module)) for name, module in model.named_modules(remove_duplicate=False)]
    if loss is None or any(part is None for _, part in parts):
        return None
    tensors = *model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)
    first: dict[int, str] = {}
    places = [(name, first.setdefault(id(tensor), name)) for name, tensor in tensors]  # one tensor may stand in several
    return (loss, task.loss is None, *parts, *places)


def _of_loss(loss: Any) -> Hashable | None:
    """A loss function or module of torch's, or thalweg's own; one that has tensors is not known by its settings."""
    if isinstance(loss, Reshaped):
        inner = _of_loss(loss.loss)
        return None if inner is None else ("reshaped", inner)
    if isinstance(loss, nn.Module):
        return None if [*loss.parameters(), *loss.buffers()] else _of_module(loss)
    return _name(loss)


def _of_module(module: nn.Module) -> Hashable | None:
    """A layer's kind and its settings; None where it is not torch's own, or somebody hooked into it."""
    kind = _name(type(module))
    if kind is None or any(getattr(module, hooks, None) for hooks in HOOKS):
        return None
    settings = {name: value for name, value in vars(module).items() if name not in (*nn.Module().__dict__, MARK)}
    if any(not _is_plain(value) for value in settings.values()):
        return None
    return kind, module.training, repr(sorted(settings.items()))


def _name(own: Any) -> str | None:
    """The name of a function or class that is what stands in one of the known modules; a wrapper only calls itself so."""
    place, name = getattr(own, "__module__", None) or "", getattr(own, "__qualname__", "")
    known = place.startswith(KNOWN) and getattr(sys.modules.get(place), name, None) is own
    return f"{place}.{name}" if known else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | torch.dtype)


def _form(tensor: Tensor) -> Hashable:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, str(tensor.device), tensor.requires_grad


def _nesting(raw: Any) -> Hashable:
    """How tensors are nested; other values as they are."""
    if isinstance(raw, Tensor):
        return "tensor"
    if isinstance(raw, Mapping):
        return type(raw), tuple((key, _nesting(part)) for key, part in raw.items())
    if isinstance(raw, tuple | list):
        return type(raw), tuple(map(_nesting, raw))
    return repr(raw)


def _apart(found: Sequence[Tensor | None], given: Sequence[Tensor]) -> bool:
    """Whether no two tensors lie in the same memory: a gradient is the weight's own from then on."""
    places = [t.untyped_storage().data_ptr() for t in (*found, *given) if t is not None and t.numel()]
    return len(set(places)) == len(places)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two tensors hold the same numbers, those that are none in the same places."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
