"""The step of an optimizer: which parameters a compiled kernel updates, which the reference, and why."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg.engine import reference, units
from thalweg.engine.memory import PLAIN, overlapping
from thalweg.engine.plan import Section
from thalweg.engine.saved import Saved
from thalweg.engine.variant import DTYPES, Member, Variant
from thalweg.errors import BadData, BadOption
from thalweg.rules.links import Links, Program, compose
from thalweg.rules.rule import State, spread

if TYPE_CHECKING:
    from thalweg.optimizer import Optimizer


@dataclass(frozen=True)
class Kind:
    """What decides about the program of a parameter group, and not about its numbers."""

    links: Links
    statics: tuple[tuple[str, Any], ...]
    active: tuple[State | None, ...]


@dataclass
class Loner:
    """A parameter that the reference updates, and why."""

    position: int
    group: int
    p: Tensor
    reason: str


class Stepper:
    """Steps of one optimizer; it plans anew when parameters, states, options or missing gradients have changed.

    Args:
        optimizer: whose parameters.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._params: list[Tensor] = []
        self._missing: list[int] = []
        self._tensors = False
        self._kinds: list[Kind] = []
        self._choice: list[list[Any]] = []
        self._switches: tuple[Any, ...] = ()
        self._state: list[dict[str, Any]] = []
        self._options: list[dict[str, Any]] = []
        self.sections: list[Section] = []
        self.loners: list[Loner] = []
        self._lone: list[Tensor] = []

    def take(self) -> None:
        """Take the gradients of all parameters for the next sums and the next step."""
        groups = self._optimizer.param_groups
        params = [p for group in groups for p in group["params"]]
        chosen = [self._chosen(group) for group in groups]
        kinds, switches, state = self._kinds, self._switched(), self._optimizer.state
        same = switches == self._switches
        if chosen != self._choice or self._tensors or not same:
            rest_same = same and not self._tensors and [c[1:] for c in chosen] == [c[1:] for c in self._choice]
            if rest_same and all(type(group[0]) is float for group in chosen):  # as schedules have it at every step
                self._set_rates([group[0] for group in chosen])
            else:
                self._options = [numbers(self._optimizer.rule.defaults, group) for group in groups]
                if not rest_same:
                    kinds = self._optimizer.kinds(self._options)
                self._choice = [[list(x) if isinstance(x, list) else x for x in group] for group in chosen]
                self._tensors = any(isinstance(y, Tensor) for group in chosen for x in group for y in _flat(x))
                self._switches = switches
                for section in self.sections:
                    section.choose(self._options)
        same = same and len(params) == len(self._params) and all(map(is_, params, self._params))
        same = same and kinds == self._kinds and len(state) == len(self._state)
        same = same and all(map(is_, state.values(), self._state))
        if same and self._read(params):
            return
        grads = self._gradients(params)
        if not same or not self._taken(grads):
            self._plan(params, kinds, grads)
            if not self._taken(grads):
                raise AssertionError("a plan that was just made does not fit")
            self._state = list(state.values())

    def _set_rates(self, rates: list[float]) -> None:
        """Take over new learning rates, where nothing else has changed."""
        for options, choice, rate in zip(self._options, self._choice, rates, strict=True):
            options["lr"] = choice[0] = rate
        for section in self.sections:
            section.fill("lr", [rates[g] for g in section.groups])

    def _read(self, params: Sequence[Tensor]) -> bool:
        """Let the sections find the gradients themselves; False if something is not as it was planned."""
        optimizer = self._optimizer
        if optimizer.centralize or optimizer.clip_adaptive is not None:
            return False
        if any(params[i].grad is not None for i in self._missing):
            return False
        self._lone = [one.p.grad for one in self.loners if one.p.grad is not None]
        return len(self._lone) == len(self.loners) and all(section.read() for section in self.sections)

    def _gradients(self, params: Sequence[Tensor]) -> list[Tensor | None]:
        """The gradients, as the options that look at whole units make them."""
        optimizer = self._optimizer
        if not optimizer.centralize and optimizer.clip_adaptive is None:
            return [p.grad for p in params]
        scale = getattr(optimizer, "grad_scale", None)
        chosen = optimizer.centralize, optimizer.clip_adaptive, 1.0 if scale is None else float(scale)
        return [None if p.grad is None else units.prepared(p, p.grad, *chosen) for p in params]

    def _taken(self, grads: list[Tensor | None]) -> bool:
        """Hand the gradients to the sections; False if something is not as it was planned."""
        if any(grads[i] is not None for i in self._missing) or not all(section.fits() for section in self.sections):
            return False
        try:
            for section in self.sections:
                section.take(grads if len(section.positions) == len(grads) else [grads[i] for i in section.positions])
        except (RuntimeError, TypeError, AttributeError):  # a gradient is missing, or of another kind
            return False
        self._lone = [g for one in self.loners if (g := grads[one.position]) is not None]
        return len(self._lone) == len(self.loners)

    def _chosen(self, group: Mapping[str, Any]) -> list[Any]:
        """What decides about a group: the rate first, then the rest."""
        optimizer = self._optimizer
        return [*(group[name] for name in optimizer.rule.defaults), group["maximize"]]

    def _switched(self) -> tuple[Any, ...]:
        """What decides about all groups."""
        o = self._optimizer
        present = (o.clip_norm is None, o.clip_value is None, o.ema is None, getattr(o, "grad_scale", None) is None)
        return (*present, o.decay, o.cautious, o.rounding, o.state_dtype, o.differentiable, o.engine)

    def norm(self) -> float:
        """The Euclidean norm of all gradients that were taken, ‖g‖ = √Σg²."""
        return self._root(section.squares() for section in self.sections)

    def _root(self, squares: Iterable[Any]) -> float:
        total = sum((float(part.sum()) for part in squares), reference.sum_of_squares(self._lone))
        return math.sqrt(total)

    def step(self, scalars: Mapping[str, float], norm: bool = False) -> float | None:
        """One update of every parameter with the gradients that were taken.

        Args:
            scalars: the numbers of the links.
            norm: whether to find the norm of these gradients in the same pass; it is what is returned.
        """
        squares = [section.step(scalars, norm) for section in self.sections]
        found = self._root(squares) if norm else None
        if self.loners:
            with torch.set_grad_enabled(self._optimizer.differentiable):
                for one, grad in zip(self.loners, self._lone, strict=True):
                    self._lone_step(one, grad, scalars)
        self._lone = []
        return found

    def undo(self) -> None:
        """Take back the states that were made for a step that is not made: the next one will be their first."""
        for section in self.sections:
            for member in section.members:
                for state in member.made if section.new else ():
                    member.saved.pop(state.name, None)
        self._params = []

    def _same_shape(self, p: Tensor, grad: Tensor) -> None:
        if grad.shape != p.shape:
            raise BadData(
                f"{type(self._optimizer).__name__}: a gradient of shape {tuple(grad.shape)} for a parameter of shape "
                f"{tuple(p.shape)}",
                "call zero_grad() and backward() after a change of the parameter's data",
            )

    def _lone_step(self, one: Loner, grad: Tensor, scalars: Mapping[str, float]) -> None:
        self._same_shape(one.p, grad)
        kind, options = self._kinds[one.group], self._options[one.group]
        program = compose(self._optimizer.rule, kind.links)
        saved, made = self._states(one.p, kind, options)
        known = {**options, **scalars, "first": self._first(made)}
        if "step" in saved:
            saved["step"] += 1
            known["t"] = saved["step"].item()
        states = [None if state is None else saved[state.name] for state in kind.active]
        random = None
        if self._optimizer.rounding == "stochastic":
            random = torch.Generator(one.p.device).manual_seed(one.position * 1_000_003 + int(known["t"]))
        reference.step(program, one.p, grad, states, known, self._optimizer.differentiable, random)

    @torch.no_grad()
    def _plan(self, params: list[Tensor], kinds: list[Kind], grads: Sequence[Tensor | None]) -> None:
        """Sort the parameters that have a gradient into sections and loners; make the states that are missing."""
        self._params = []  # after an error half-way there is no plan
        self._missing = [i for i, grad in enumerate(grads) if grad is None]
        owners = [i for i, group in enumerate(self._optimizer.param_groups) for _ in group["params"]]
        sections: dict[Variant, list[Member]] = {}
        self._kinds, self.sections, self.loners = kinds, [], []
        shared = overlapping(params)
        for i, (p, group) in enumerate(zip(params, owners, strict=True)):
            grad = grads[i]
            if grad is None:
                continue
            self._same_shape(p, grad)
            kind = kinds[group]
            reason = self._why_not(p, grad) or ("shares memory with another parameter" if i in shared else None)
            if reason is not None:
                self.loners.append(Loner(i, group, p, reason))
                continue
            member = self.member(i, group, p, kind, self._options[group])
            odd = [s for s in kind.active if s and not s.scalar and _is_odd(member.saved[s.name], p)]
            if odd:
                dtype = member.saved[odd[0].name].dtype
                self.loners.append(Loner(i, group, p, f"state {odd[0].name} of dtype {dtype}"))
                continue
            sections.setdefault(self.variant(p, grad, kind, member.saved), []).append(member)
        self.sections = [Section(variant, members, self._options) for variant, members in sections.items()]
        self._params = params

    def _why_not(self, p: Tensor, grad: Tensor) -> str | None:
        """Why a kernel cannot update this parameter; None: it can."""
        engine = self._optimizer.engine
        if engine == "reference":
            return "engine='reference'"
        if self._optimizer.differentiable:
            return "differentiable=True"
        reason = None
        if type(p) not in PLAIN or type(grad) not in PLAIN:
            reason = f"tensors of type {type(p if type(p) not in PLAIN else grad).__name__}"
        elif p.device.type not in ("cpu", "cuda") or grad.device != p.device:
            reason = f"device {p.device.type}"
        elif (engine == "triton" or p.device.type == "cuda") and importlib.util.find_spec("triton") is None:
            reason = f"device {p.device.type}, where triton is not installed"
        elif engine not in ("auto", engine_of(p.device, engine)):
            reason = f"device {p.device.type}"
        elif grad.layout is not torch.strided:
            reason = f"{str(grad.layout).removeprefix('torch.')} gradient"
        elif grad.numel() and not _placed(grad):
            reason = "a gradient without memory"
        elif p.dtype not in DTYPES or grad.dtype not in DTYPES:
            reason = f"dtype {str(p.dtype).removeprefix('torch.')}"
        if reason is not None and engine != "auto":
            raise BadOption(
                f"{type(self._optimizer).__name__}: engine={engine!r} cannot update a parameter with {reason}",
                "engine='auto' takes the reference for it",
            )
        return reason

    def member(self, position: int, group: int, p: Tensor, kind: Kind, options: Mapping[str, Any]) -> Member:
        """A parameter with its states, which are made where they are missing."""
        saved, made = self._states(p, kind, options)
        return Member(position, group, p, saved, made, self._first(made))

    def _states(self, p: Tensor, kind: Kind, options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[State, ...]]:
        """What is remembered for a parameter, and which states were missing and made."""
        optimizer, made = self._optimizer, []
        states = [state for state in kind.active if state is not None]
        counts = optimizer.counts_steps
        saved: dict[str, Any] = optimizer.state[p] if states or counts else {}
        if type(saved) is dict and (states or counts):
            saved = optimizer.state[p] = Saved(saved)
        if counts and not isinstance(saved.get("step"), Tensor):
            saved["step"] = torch.tensor(float(saved.get("step") or 0), dtype=torch.float32)
        for state in states:
            held = saved.get(state.name)
            if held is None:
                made.append(state)
                saved[state.name] = reference.create(p, state, options, optimizer.state_dtype)
            elif not state.scalar and held.shape != p.shape:
                raise BadData(
                    f"{type(optimizer).__name__}: the state {state.name} has shape {tuple(held.shape)}, its parameter "
                    f"{tuple(p.shape)}",
                    "remove the parameter's state, or give it the parameter's shape",
                )
            elif not state.scalar and held.stride() != _layout(p) and held.layout is torch.strided:
                saved[state.name] = torch.empty_strided(p.shape, _layout(p), dtype=held.dtype, device=p.device).copy_(
                    held
                )
            elif state.scalar and not isinstance(held, Tensor):
                saved[state.name] = torch.tensor(float(held), dtype=torch.float64)
        return saved, tuple(made)

    def _first(self, made: Sequence[State]) -> bool:
        """Whether a state of the rule itself was made: an average that starts late is none."""
        return any(state in self._optimizer.rule.state for state in made)

    def variant(self, p: Tensor, grad: Tensor, kind: Kind, saved: Mapping[str, Any]) -> Variant:
        """What decides about the kernel of a parameter."""
        program = compose(self._optimizer.rule, kind.links)
        elements = [(s.letter, saved[s.name]) for s in kind.active if s is not None and not s.scalar]
        dtypes = tuple((letter, DTYPES[x.dtype]) for letter, x in (("p", p), ("g", grad), *elements))
        low = any(kind in ("bfloat16", "float16") for letter, kind in dtypes if letter != "g")
        stochastic = self._optimizer.rounding == "stochastic" and low
        title, counts = self._optimizer.rule.title, self._optimizer.counts_steps
        engine = engine_of(p.device, self._optimizer.engine)
        return Variant(program, title, kind.statics, kind.active, dtypes, stochastic, counts, engine, p.device)


def engine_of(device: torch.device, asked: str) -> str:
    """The engine of a device; Triton's interpreter also takes the CPU's memory."""
    interpreted = asked == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    return "triton" if device.type == "cuda" or interpreted else "numba"


def kind_of(program: Program, links: Links, options: Mapping[str, Any]) -> Kind:
    """What decides about the kernel of a group with these options."""
    known = {name: options[name] for name in program.inputs if name in options}
    statics = tuple((name, value) for name, value in known.items() if value is None or isinstance(value, bool | str))
    return Kind(links, statics, tuple(state if state.when(options) else None for state in program.state))


def numbers(names: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group as numbers, β1 and β2 of betas apart."""
    return spread({name: reference.number(group[name]) for name in names})


def _is_odd(state: Tensor, p: Tensor) -> bool:
    return state.dtype not in DTYPES or state.device != p.device or type(state) not in PLAIN


def _placed(grad: Tensor) -> bool:
    """Whether the tensor has memory: a zero of autograd's has none."""
    try:
        return grad.data_ptr() != 0
    except RuntimeError:
        return False


def _flat(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else (value,)


def _layout(p: Tensor) -> tuple[int, ...]:
    """The strides of the parameter's states: its own where it has no holes."""
    return torch.empty_like(p, device="meta").stride()
