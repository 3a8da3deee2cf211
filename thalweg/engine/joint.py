"""Many optimizers in one step: what they update are slices of the same stacked tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thalweg.engine.plan import Floats, Section
from thalweg.engine.stepper import numbers
from thalweg.engine.variant import Member, Variant

if TYPE_CHECKING:
    from thalweg.optimizer import Optimizer

Indices = npt.NDArray[np.int64]


@dataclass
class _Part:
    """A section, and for each parameter of it the stack that it is a slice of, the place in it, and the member."""

    section: Section
    stack: Indices
    offset: Indices
    member: Indices


class Joint:
    """Steps of K optimizers whose parameters are slices of stacked tensors: one launch for all that share a kernel.

    A member's numbers stand in rows of its own, so members differ in any option, and rules stand side by side.

    Args:
        optimizers: one a member; of their common options ``centralize``, ``clip_adaptive``, ``skip_nonfinite`` and a
            loss scale are each run's own, and not honoured here.
        params: the parameters of each member, in the order of ``stacks``.
        stacks: tensors (K, ...) whose k-th slices are member k's parameters; their ``.grad`` is read.
    """

    def __init__(
        self, optimizers: Sequence[Optimizer], params: Sequence[Sequence[Tensor]], stacks: Sequence[Tensor]
    ) -> None:
        self.optimizers, self.params, self.stacks = list(optimizers), params, list(stacks)
        groups = [(m, group) for m, optimizer in enumerate(optimizers) for group in optimizer.param_groups]
        self._owner = np.array([m for m, _ in groups])
        self._initial = np.array([float(group["initial_lr"]) for _, group in groups])
        self._first = np.unique(self._owner, return_index=True)[1]
        self._clip = np.array([np.inf if o.clip_norm is None else o.clip_norm for o in optimizers], dtype=np.float64)
        self._clips = bool(np.isfinite(self._clip).any())
        own = {"ema": [o.ema for o in optimizers], "clip_value": [o.clip_value for o in optimizers]}
        self._own = {name: np.array(values, dtype=np.float64) for name, values in own.items()}  # NaN where it is None
        self._stopped = np.zeros(len(optimizers), dtype=np.bool_)
        self._present: list[int] = []
        self._parts: list[_Part] = []

    def stop(self, member: int) -> None:
        """Leave a member's parameters as they are from now on."""
        self._stopped[member] = True
        for part in self._parts:
            part.section.stop(self._stopped[part.member])

    def rates(self, factors: Floats) -> Floats:
        """The rate of each member's first group, where the schedules stand at ``factors`` (K,)."""
        first = self._first
        found: Floats = self._initial[first] * factors[self._owner[first]]
        return found

    @torch.no_grad()
    def step(self, factors: Floats) -> Floats:
        """One update of every member that was not stopped.

        Args:
            factors: of the learning rates, (K,).

        Returns:
            The norm of each member's gradient before clipping, (K,).
        """
        grads = [stack.grad for stack in self.stacks]
        present = [j for j, grad in enumerate(grads) if grad is not None]
        if present != self._present:
            self._plan(present)
        held = [None if grad is None else _as(stack, grad) for stack, grad in zip(self.stacks, grads, strict=True)]
        base = np.array([0 if grad is None else grad.data_ptr() for grad in held], dtype=np.int64)
        squares = np.zeros(len(self.optimizers))
        for part in self._parts:
            part.section.table[:, 1] = base[part.stack] + part.offset
            if self._clips:
                squares += np.bincount(part.member, part.section.squares(), len(squares))
        with np.errstate(invalid="ignore", divide="ignore"):
            norms = np.sqrt(squares)
            clip = np.where(norms > self._clip, self._clip / norms, 1.0)
        rates = self._initial * factors[self._owner]
        for part in self._parts:
            groups = part.section.groups
            part.section.fill("lr", rates[groups])
            part.section.fill("clip", clip[self._owner[groups]])
            found = part.section.step({}, norm=not self._clips)
            if found is not None:
                squares += np.bincount(part.member, found, len(squares))
        return np.asarray(np.sqrt(squares))

    def _plan(self, present: list[int]) -> None:
        """Sort the members' parameters by the kernels that update them."""
        sections: dict[Variant, list[tuple[Member, int, int]]] = {}
        options: list[dict[str, float]] = []
        for m, optimizer in enumerate(self.optimizers):
            stepper, column = optimizer._stepper, {id(p): j for j, p in enumerate(self.params[m])}
            own = [numbers(optimizer.rule.defaults, group) for group in optimizer.param_groups]
            for group, kind, known in zip(optimizer.param_groups, optimizer.kinds(own), own, strict=True):
                for p in group["params"]:
                    j = column[id(p)]
                    if j in present:
                        member = stepper.member(j, len(options), p, kind, known)
                        variant = stepper.variant(p, p, kind, member.saved)
                        sections.setdefault(variant, []).append((member, j, m))
                options.append(known)
        self._parts = []
        for variant, entries in sections.items():
            section = Section(variant, [member for member, _, _ in entries], options)
            stack, owner = (np.array([entry[k] for entry in entries], dtype=np.int64) for k in (1, 2))
            sizes = np.array([self.stacks[j].stride(0) * self.stacks[j].element_size() for j in stack])
            for name, values in self._own.items():
                section.fill(name, values[self._owner[section.groups]])
            section.stop(self._stopped[owner])
            self._parts.append(_Part(section, stack, owner * sizes, owner))
        self._present = present


def _as(stack: Tensor, grad: Tensor) -> Tensor:
    """A gradient in the memory layout of its stack: itself, or a copy."""
    return grad if grad.stride() == stack.stride() else torch.empty_like(stack).copy_(grad)
