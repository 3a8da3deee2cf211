"""Recordings: a cohort's program as a list of operations, played again without Python's, vmap's and autograd's share of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from .batch import leaves, map_leaves

if TYPE_CHECKING:
    from .task import Task

OFTEN = 200  # steps of one kind after which it is recorded: a recording takes as long as some dozens
MOST = 256  # recordings that a process keeps
KNOWN = ("torch.nn.modules.", "torch.nn.functional", "thalweg.trial")
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
        program: of stacked weights and buffers, a raw batch, and whether that holds a batch for each: the losses, (K,).
        weights: stacked, by their names in the model.
        buffers: stacked, the same; the program writes to them.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        program: Program,
        weights: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
    ) -> None:
        self._program, self._weights, self._buffers = program, list(weights.values()), list(buffers.values())
        self._learning = [weight for weight in self._weights if weight.requires_grad]
        self._found: list[Tensor | None] = []
        known = structure(task, model)
        kind = (known, *((name, _form(tensor)) for each in (weights, buffers) for name, tensor in each.items()))
        self._kind = None if known is None else _kinds.setdefault(kind, len(_kinds))

    def play(self, raw: Any, orders: bool) -> Tensor | None:
        """The losses, of a recording that left its gradients for `leave`; None: there is none, or not yet."""
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
            _recordings[key] = self._record(raw, orders, given)
        play = _recordings[key]
        if play is None:
            return None
        with torch.no_grad():
            losses, *self._found = play(*self._weights, *self._buffers, *given)
        return losses

    def leave(self, share: float) -> bool:
        """Add ``share`` × the gradients of the last `play` to the weights' own, in their layout; whether there were any."""
        found, self._found = self._found, []
        for weight, gradient in zip(self._learning, found, strict=False):
            if gradient is None:
                continue
            own = gradient if share == 1 else gradient * share
            if weight.grad is not None:
                weight.grad.add_(own)
            else:
                weight.grad = own if own.stride() == weight.stride() else torch.empty_like(weight).copy_(own)
        return bool(found)

    def _record(self, raw: Any, orders: bool, given: list[Tensor]) -> Play | None:
        """The program's operations on tensors; None where they do not give the same bits."""
        from torch.fx.experimental.proxy_tensor import make_fx  # half a second: only where it is worth it

        n, m = len(self._weights), len(self._weights) + len(self._buffers)

        def whole(*tensors: Tensor) -> tuple[Tensor | None, ...]:
            parts = iter(tensors[m:])
            losses = self._program(tensors[:m], map_leaves(lambda _: next(parts), raw), orders)
            learning = [weight for weight in tensors[:n] if weight.requires_grad]
            return losses.detach(), *torch.autograd.grad(losses.sum(), learning, allow_unused=True)

        state = (*self._weights, *self._buffers, *given)
        try:
            with self._as_before() as after, torch.enable_grad():
                expected = [*whole(*state), *after()]
            with self._as_before(), torch.enable_grad():
                recording = make_fx(whole)(*state)
            if any(node.op == "get_attr" for node in recording.graph.nodes):  # a tensor of this cohort alone
                return None
            play: Play = recording.forward
            with self._as_before() as after, torch.no_grad():
                found = [*play(*state), *after()]
        except Exception:  # what cannot be recorded is run
            return None
        return play if all(map(_same, expected, found)) and _apart(found, state) else None

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
    if task.accumulate != 1:  # a share of a gradient would be rounded after it, not before
        return None
    if _has_any_global_hook():  # type: ignore[no-untyped-call]
        return None
    loss = _of_module(fit.loss) if isinstance(fit.loss, nn.Module) else _of_function(fit.loss)
    parts = [(name, _of_module(module)) for name, module in model.named_modules(remove_duplicate=False)]
    if loss is None or any(part is None for _, part in parts):
        return None
    tensors = *model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)
    first: dict[int, str] = {}
    places = [(name, first.setdefault(id(tensor), name)) for name, tensor in tensors]  # one tensor may stand in several
    return (loss, task.loss is None, *parts, *places)


def _of_function(function: Any) -> Hashable | None:
    own = getattr(function, "__module__", None) in KNOWN and "<" not in function.__qualname__
    return (function.__module__, function.__qualname__) if own else None


def _of_module(module: nn.Module) -> Hashable | None:
    """A layer's kind and its settings; None where it is not torch's own, or somebody hooked into it."""
    kind = type(module)
    if not kind.__module__.startswith(KNOWN[0]) or any(getattr(module, hooks, None) for hooks in HOOKS):
        return None
    settings = {name: value for name, value in vars(module).items() if name not in nn.Module().__dict__}
    if any(not _is_plain(value) for value in settings.values()):
        return None
    return kind.__module__, kind.__qualname__, module.training, repr(sorted(settings.items()))


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
