"""One optimizer that is watched: its step hooks, and what is read at the steps that are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import graph
from .record import Look, Losses, Record

if TYPE_CHECKING:
    from .watching import Watch

FORCED = 5  # looks at the start, whatever they cost
SAMPLE = 4096  # numbers of a parameter that the update is measured on
LOW = (torch.bfloat16, torch.float16)
DECOUPLED = {"AdamW", "NAdamW", "Lion", "StableAdamW", "Adan", "AdEMAMix", "MARS"}


def norms(tensors: Sequence[Tensor]) -> list[float]:
    """The norm of each tensor, in float32, or in float64 where there is one."""
    if not tensors:
        return []
    dense = [t.coalesce().values() if t.is_sparse else t for t in tensors]
    double = any(t.dtype == torch.float64 for t in dense)
    found = torch._foreach_norm(dense, 2, dtype=torch.float64 if double else torch.float32)
    values: list[float] = torch.stack([n.to(found[0].device) for n in found]).tolist()
    return values


def length(values: Iterable[float]) -> float:
    """The norm of all from the norms of each."""
    return math.hypot(*values)


def some(tensor: Tensor, numbers: int = SAMPLE) -> Tensor:
    """So many numbers of a tensor at most, spread evenly: a view where its memory is in one piece."""
    flat = tensor.detach().reshape(-1)
    return flat if flat.numel() <= numbers else flat[:: -(-flat.numel() // numbers)]


def together(tensors: Sequence[Tensor]) -> Tensor:
    """Some numbers of all of them, as one new vector."""
    device = tensors[0].device
    return torch.cat([some(t).to(device, torch.float32) for t in tensors])


class Followed:
    """One optimizer under watch.

    Between looks a step costs two calls that compare a number. A look begins at the end of a step and lasts to the end of
    the next one, because what happens to the gradients in between is the question.
    """

    def __init__(self, watch: Watch, optimizer: torch.optim.Optimizer, losses: Losses) -> None:
        self.watch, self.optimizer = watch, optimizer
        self.record = Record(optimizer=type(optimizer).__name__, losses=losses)
        self.look: Look | None = None
        self.next_look = 0
        self.unchecked: tuple[Look, Tensor, Tensor] | None = None  # a look, numbers before and after its step
        self.closing = False  # a closure is running the passes inside the step
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def leave(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    # ---- at every step ----

    def _before(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.look is not None or self.unchecked is not None:
            with self.watch.looking():
                self._before_step((len(args) > 1 and args[1] is not None) or kwargs.get("closure") is not None)

    def _after(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        clock = self.watch.clock
        began, spent = perf_counter(), clock.spent
        self._after_any(optimizer)
        clock.spent = spent + perf_counter() - began

    def _after_any(self, optimizer: Any) -> None:
        if self.look is not None:
            with self.watch.looking():
                self._after_step()
        self.closing = False
        groups = optimizer.param_groups
        if len(groups) == 1 and type(groups[0].get("lr")) is float:  # a tensor is read at looks alone
            self.record.follow_rate(groups[0]["lr"], self.record.steps)
        self.record.steps += 1
        self.watch.close_step(self.record.steps - 1)
        if self.record.steps >= self.next_look:
            self.next_look = self.watch.clock.next(self.record.steps)
            if self.record.steps >= self.next_look:
                with self.watch.looking():
                    self.begin()

    # ---- at the steps that are looked at ----

    def begin(self) -> None:
        """Begin a look."""
        self.watch.clock.look_begins()
        self.look = Look(self.record.steps)
        self._ended = self._norm()
        self._clear = self._ended == 0
        self._passes = 0

    def _own(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _norm(self) -> float:
        return length(norms([p.grad for p in self._own() if p.grad is not None]))

    def before_pass(self, root: Tensor, value: float) -> None:
        """A backward pass is about to run."""
        look = self.look
        if look is None:
            return
        if not self._clear:
            self._clear = self._norm() != self._ended
        if self._passes == 0:
            self.watch.name_parameters()
            look.evaluating = not self.watch.training()
            look.loss = value
            look.scene = graph.read(root, self.watch.names)
        self._passes += 1

    def after_pass(self, scale: float) -> None:
        """It has run."""
        if self.look is None:
            return
        self.look.left = self._norm() / scale
        self.watch.seen_outside(self.record)
        if self.look.scene is not None and self.look.scene.half:
            self._underflow(self.look)

    def _underflow(self, look: Look) -> None:
        values = [p.grad for p in self._own() if p.grad is not None and p.dim() > 1 and not p.grad.is_sparse]
        if values:
            sizes = together(values).abs()
            others = sizes[sizes > 0]
            look.zeros = 1 - others.numel() / sizes.numel()
            look.smallest = float(others.quantile(0.25)) if others.numel() else 0.0

    def _before_step(self, closure: bool) -> None:
        own = self._own()
        if self.unchecked is not None:
            before_look, before, after = self.unchecked
            now = together(own)
            if now.shape == after.shape:
                update = after - before
                square = float(update.dot(update))
                before_look.kept = float((now - before).dot(update)) / square if square > 0 else None
            self.unchecked = None
        if self.look is not None:
            self.closing = closure
            self._numbers = together(own)
            self.look.size = length(norms([p.detach() for p in own]))
            if not closure:
                self._gradients(self.look)

    def _gradients(self, look: Look) -> None:
        """What the step takes: the gradients as they are now."""
        own, record = self._own(), self.record
        scale = getattr(self.optimizer, "grad_scale", None)
        over = 1.0 if scale is None else float(scale)
        names = self.watch.names
        having = [p for p in own if p.grad is not None]
        sizes = [n / over for n in norms([p.grad for p in having if p.grad is not None])]
        look.norm = length(sizes)
        clip = getattr(self.optimizer, "clip_norm", None)
        if clip is not None:
            look.norm = min(look.norm, clip)
        look.rate = max(
            (float(group["lr"]) for group in self.optimizer.param_groups if "lr" in group), default=math.nan
        )
        look.stale = self._passes > 0 and not self._clear and self._ended > 0
        reached = look.scene.reached if look.scene is not None else set()
        zero = {id(p) for p, size in zip(having, sizes, strict=True) if size == 0}
        record.held = {names[id(p)]: p.numel() for p in own if id(p) in names}
        look.without = frozenset(
            names[id(p)]
            for p in own
            if p.requires_grad and id(p) in names and (p.grad is None or id(p) in zero) and id(p) not in reached
        )
        if look.scene is not None:
            by_name = {names[id(p)]: n / p.numel() ** 0.5 for p, n in zip(having, sizes, strict=True) if id(p) in names}
            look.spread = spread(look.scene, by_name)
        if not math.isfinite(look.norm) and record.broken is None and not record.scaled:
            bad = [p for p, size in zip(having, sizes, strict=True) if not math.isfinite(size)]
            if bad and math.isfinite(look.loss):
                self.watch.break_at("gradient", names.get(id(bad[0]), ""), record.steps)

    def _after_step(self) -> None:
        look, own = self.look, self._own()
        assert look is not None
        self.look = None
        if self.closing:
            self._gradients(look)
        if math.isnan(look.size):  # the watch began inside this step
            return
        before, after = self._numbers, together(own)
        if before.shape == after.shape:
            look.ratio = float((after - before).norm() / before.norm().clamp_min(1e-30))
            look.decay = self._decay(look)
            if any(p.dtype in LOW for p in own):
                look.unchanged = self._unchanged(own, before, after)
            self.unchecked = (look, before, after)
        self.record.add(look)
        self.watch.finite_at(self.record.steps)
        self.next_look = self.record.steps + 1

    def _unchanged(self, own: list[Tensor], before: Tensor, after: Tensor) -> float | None:
        zeros = [torch.zeros_like(some(p)) if p.grad is None or p.grad.is_sparse else some(p.grad) for p in own]
        low = torch.cat([torch.full_like(some(p), p.dtype in LOW, dtype=torch.bool) for p in own])
        counted = low & (torch.cat([z.float() for z in zeros]) != 0)
        return float((before == after)[counted].float().mean()) if counted.any() else None

    def _decay(self, look: Look) -> float | None:
        """The weight decay's part of the step over the rest of it."""
        groups = [g for g in self.optimizer.param_groups if g.get("weight_decay", 0)]
        if not groups:
            return None
        parts, rest, start = 0.0, 0.0, 0
        decoupled = type(self.optimizer).__name__ in DECOUPLED or getattr(self.optimizer, "decay", None) == "decoupled"
        for group in self.optimizer.param_groups:
            own, decay = group["params"], float(group.get("weight_decay", 0))
            numbers = sum(some(p).numel() for p in own)
            before, start = self._numbers[start : start + numbers], start + numbers
            if not decay:
                continue
            if decoupled or group.get("decoupled_weight_decay"):
                pull = float(group["lr"]) * decay * before
                moved = together(own) - before
                parts += float(pull.square().sum())
                rest += float((moved + pull).square().sum())
            else:
                parts += float((decay * before).square().sum())
                gradients = [p.grad for p in own if p.grad is not None and not p.grad.is_sparse]
                rest += float(together(gradients).square().sum()) if gradients else 0.0
        return math.sqrt(parts / rest) if rest > 0 else math.inf if parts > 0 else 0.0


def spread(scene: graph.Scene, sizes: dict[str, float]) -> tuple[list[str], list[float]]:
    """Gradients of the layers from input to output: of biases, which tell of what comes back alone.

    Under a normalization a bias has no gradient but rounding errors, and weights are taken.
    """
    names = [weight if scene.normalized or bias is None else bias for weight, bias in scene.depth]
    kept = [name for name in dict.fromkeys(names) if 0 < sizes.get(name, 0.0) < math.inf]
    return kept, [math.log10(sizes[name]) for name in kept]


class Clock:
    """The time that the watch takes, by its own measurement, and when to look again.

    After the first `FORCED` looks the next one waits until it, as long as the last one, and all that was taken so far, the
    calls between looks included, are within their share of the elapsed time. So the share holds by construction, but for
    the first looks of a short run.

    Args:
        share: of the elapsed time that the watch may take.
    """

    def __init__(self, share: float) -> None:
        self.share, self.began, self.spent = share, perf_counter(), 0.0
        self._ended: float | None = None
        self._before: float | None = None  # what was spent when the last look began, until it is over
        self._look = 0.0  # what the last one took

    def look_begins(self) -> None:
        """To be told before each look."""
        self._before = self.spent

    def stop(self) -> None:
        """The watch is over."""
        self._ended = perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since the watch began, until its end."""
        return (perf_counter() if self._ended is None else self._ended) - self.began

    def next(self, steps: int) -> int:
        """After so many steps, the one at which to look or to ask again; now, if that is this one."""
        if self._before is not None:
            self._look, self._before = self.spent - self._before, None
        if steps < FORCED:
            return steps
        elapsed = self.elapsed
        wait = (self.spent + self._look) / self.share - elapsed
        return steps + max(0, math.ceil(wait * steps / elapsed))
