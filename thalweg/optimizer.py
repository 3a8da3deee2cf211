"""The optimizer behind torch's interface: what every rule of the table has in common."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from thalweg import averages, errors, loading
from thalweg.engine import account, reference
from thalweg.engine.saved import Saved
from thalweg.engine.stepper import Kind, Stepper, kind_of, numbers
from thalweg.options import COMMON, TORCH_ONLY, check_group, docstring, signature
from thalweg.rules import Rule
from thalweg.rules.links import Decay, Links, compose


class Optimizer(torch.optim.Optimizer):
    """What all optimizers here share: a rule of the table behind torch's interface.

    ``state_dict()`` has torch's keys, so torch's optimizer of the same name loads it and continues, and the other way.
    Everything below is one pass over memory with the update, except that a norm reads the gradients once before.

    Args:
        params: tensors, pairs (name, tensor), or dicts with "params" and options of their own.
        *args: the rule's options in torch's order.
        maximize: ascend instead of descend.
        clip_norm: the largest global norm u of the gradients of all parameters: g·u/‖g‖ where ‖g‖ > u.
        clip_value: the largest absolute value of each number of a gradient.
        clip_adaptive: the largest ‖g‖/max(‖p‖, 1e-3) of each unit, a row of a matrix or kernel; a pass before.
        centralize: take the mean of each unit from its gradient; a pass before.
        decay: the kind of weight decay, for "the rule's own" None: "coupled" (g + λp), "decoupled" (p − lr·λ·p),
            "fully" (p − λ·p), "cautious" (decoupled, only where the step shrinks p too).
        cautious: leave out of a step what disagrees in sign with the gradient and enlarge the rest: True by the share
            that was kept a step before, "exact" by the share of this step, at the price of a pass.
        ema: keep an average a ← ema·a + (1 − ema)·p of the parameters, for `averaged`.
        rounding: of bfloat16 and float16 parameters and states: "nearest", or "stochastic", right in the mean.
        state_dtype: the dtype of new states; None: the parameter's.
        skip_nonfinite: make no step when a gradient holds NaN or an infinity, and count it in ``skipped``.
        differentiable: let autograd see the steps, which the reference then makes: for tensors that are no leaves.
        engine: "auto", "numba" (CPU), "triton" (CUDA) or "reference".
        **options: the rule's options by name.

    Attributes:
        track_norm: set it to True to have ``norm`` without clipping.
        norm: after a step with ``clip_norm`` or ``track_norm``, the global norm of the gradients before clipping.
        skipped: how many steps were left out because a gradient was not finite.

    Raises:
        BadOption: an unknown option, or a value outside what is allowed.
    """

    rule: ClassVar[Rule]
    clip_norm: float | None
    clip_value: float | None
    clip_adaptive: float | None
    centralize: bool
    decay: Decay | None
    cautious: bool | Literal["exact"]
    ema: float | None
    rounding: Literal["nearest", "stochastic"]
    state_dtype: torch.dtype | None
    skip_nonfinite: bool
    differentiable: bool
    engine: str
    _step_supports_amp_scaling = True
    grad_scale: Tensor | None  # GradScaler sets these two before a step and deletes them after it
    found_inf: Tensor | None

    def __init_subclass__(cls, rule: Rule | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if rule is not None:
            cls.rule = rule
            cls.__doc__ = docstring(rule)
            cls.__signature__ = signature(rule)  # type: ignore[attr-defined]

    def __init__(self, params: Iterable[Any], *args: Any, maximize: bool = False, **given: Any) -> None:
        owner, rule = type(self).__name__, self.rule
        names = list(rule.defaults)
        if len(args) > len(names):
            raise errors.BadOption(f"{owner}: {len(args)} options by position, it has {len(names)}", "give names")
        for name, value in zip(names, args, strict=False):
            if name in given:
                raise errors.BadOption(f"{owner}: {name} is given by position and by name", f"give {name} once")
            given[name] = value
        common = {name: given.pop(name, default) for name, (default, *_) in COMMON.items()}
        for name in given:
            if name in TORCH_ONLY and name not in rule.defaults:
                raise errors.BadOption(f"{owner}: {name} is torch's own", "leave it out; engine says how it runs")
            if name not in rule.defaults:
                raise errors.unknown(owner, "option", name, [*names, "maximize", *COMMON])
        for name, (_, allowed, _) in COMMON.items():
            errors.check(owner, name, reference.number(common[name]), allowed)
            setattr(self, name, common[name])
        if self.decay is not None and (rule.weight_decay == "own" or "weight_decay" not in rule.defaults):
            what = "is part of the rule" if rule.weight_decay == "own" else "is not an option"
            raise errors.BadOption(f"{owner}: decay={self.decay!r}, but its weight decay {what}", "leave decay out")
        self.clip_norm = None if self.clip_norm is None else float(self.clip_norm)
        self.track_norm = False
        self.norm: float | None = None
        self.skipped = 0
        self._begin()
        defaults = {**rule.defaults, **given, "maximize": maximize}
        check_group(rule, defaults, owner)
        if self.differentiable:
            defaults["differentiable"] = True  # torch then takes tensors that are no leaves
        super().__init__(params, defaults)

    @property
    def counts_steps(self) -> bool:
        """Whether each parameter has the number of its steps."""
        return self.rule.counts_steps or self.rounding == "stochastic"

    def kinds(self, options: Sequence[Mapping[str, Any]]) -> list[Kind]:
        """What decides about the kernel of each group."""
        decays = any(o.get("weight_decay") for o in options)
        pairs = zip(self.param_groups, options, strict=True)
        return [self._kind(own, bool(group["maximize"]), decays) for group, own in pairs]

    def _kind(self, options: Mapping[str, Any], maximize: bool, decays: bool) -> Kind:
        links = Links(
            scale=getattr(self, "grad_scale", None) is not None,
            maximize=maximize,
            clip=self.clip_norm is not None,
            clip_value=self.clip_value is not None,
            decay=(self.decay or self.rule.decay_kind(options)) if decays else None,
            cautious="exact" if self.cautious == "exact" else "before" if self.cautious else None,
            ema=self.ema is not None,
        )
        return kind_of(compose(self.rule, links), links, options)

    def states(self, group: Mapping[str, Any]) -> set[str]:
        """The names of what is remembered for a parameter of a group with these options."""
        kind = self._kind(numbers(self.rule.defaults, group), False, False)
        counted = {"step"} if self.counts_steps else set()
        return counted | {state.name for state in kind.active if state is not None}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            The closure's loss, or None.
        """
        if torch._C._autograd._profiler_enabled():
            with torch.autograd.profiler.record_function(f"Optimizer.step#{type(self).__name__}.step"):
                return self._hooked(closure)
        return self._hooked(closure)

    step.hooked = True  # type: ignore[attr-defined]  # torch's wrapper costs 10 µs a step without a profiler

    def _hooked(self, closure: Callable[[], Any] | None) -> Any:
        """The step with torch's hooks before and after."""
        args: tuple[Any, ...] = (self,) if closure is None else (self, closure)
        kwargs: dict[str, Any] = {}
        for before in chain(_global_optimizer_pre_hooks.values(), self._optimizer_step_pre_hooks.values()):
            result = before(self, args, kwargs)
            if result is not None:
                if not isinstance(result, tuple) or len(result) != 2:
                    raise RuntimeError(f"{before} must return None or a tuple of (new_args, new_kwargs), got {result}.")
                args, kwargs = result
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        for after in chain(self._optimizer_step_post_hooks.values(), _global_optimizer_post_hooks.values()):
            after(self, args, kwargs)
        return loss

    def update(self) -> None:
        """One update without hooks and closures: what `step` does, for a loop that has none."""
        if self.swapped:
            raise errors.BadOption(
                f"{type(self).__name__}: a step inside averaged() would move the averaged weights",
                "leave the block first",
            )
        found, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if found is not None and float(found):
            self.skipped += 1
            return
        stepper, scalars = self._stepper, {}
        stepper.take()
        if scale is not None:
            scalars["grad_scale"] = float(scale)
        first = self.clip_norm is not None or self.skip_nonfinite  # the update depends on the norm
        if first:
            self.norm = value = stepper.norm() / scalars.get("grad_scale", 1.0)
            if self.skip_nonfinite and not math.isfinite(value):
                self.skipped += 1
                stepper.undo()
                return
            if self.clip_norm is not None:
                scalars["clip"] = self.clip_norm / value if value > self.clip_norm else 1.0
        if self.clip_value is not None:
            scalars["clip_value"] = self.clip_value
        if self.ema is not None:
            scalars["ema"] = self.ema
        found_norm = stepper.step(scalars, norm=self.track_norm and not first)
        if found_norm is not None:
            self.norm = found_norm / scalars.get("grad_scale", 1.0)

    @property
    def grad_norm(self) -> Tensor | None:
        """``norm`` as a 0-dim tensor in float64."""
        return None if self.norm is None else torch.full((), self.norm, dtype=torch.float64)

    def explain(self, measure: bool = True) -> account.Account:
        """Which engine updates which parameters and why, bytes per parameter, and the share of the memory's bandwidth.

        Args:
            measure: whether to time the kernel on memory of its own, which takes about half a second.

        Returns:
            An account; ``print`` shows it. Parameters without a gradient have no part in it.

        Example:
            >>> import torch
            >>> from thalweg import optim
            >>> w = torch.nn.Parameter(torch.ones(1000))
            >>> w.grad = torch.ones(1000)
            >>> print(optim.AdamW([w]).explain(measure=False))
            AdamW
              numba      1 tensor, 1,000 numbers in float32; 28 bytes a number and step
        """
        return account.explain(self, measure)

    def plan(self) -> Stepper:
        """Who updates what in the next step."""
        self._stepper.take()
        return self._stepper

    def chosen(self, group: dict[str, Any]) -> dict[str, Any]:
        """The arguments that make an optimizer as this one is for a group."""
        own = {name: group[name] for name in (*self.rule.defaults, "maximize")}
        return own | {name: getattr(self, name) for name in COMMON}

    @property
    def averages(self) -> bool:
        """Whether there are averaged weights to evaluate with."""
        return self.ema is not None or self.rule.averaged is not None

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Evaluate with the averaged weights: ``with opt.averaged(): ...``.

        Inside, the parameters hold the average that ``ema`` keeps, or that a schedule-free rule is about; afterwards
        they are what they were, to the bit. Statistics of batch norms are not touched.

        Raises:
            BadOption: there is no average; or a step is made inside.

        Example:
            >>> import torch
            >>> from thalweg import optim
            >>> w = torch.nn.Parameter(torch.ones(1))
            >>> opt = optim.SGD([w], lr=1.0, ema=0.5)
            >>> w.sum().backward()
            >>> opt.step()
            >>> with opt.averaged():
            ...     w.item()
            0.5
            >>> w.item()
            0.0
        """
        return averages.swapped(self)

    def _begin(self) -> None:
        """What is not saved."""
        self._stepper, self.swapped = Stepper(self), False
        if self.rule.averaged is not None:
            averages.guard(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._begin()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own.

        Args:
            param_group: "params" and any options; what is missing has the optimizer's defaults.

        Raises:
            BadOption: a value outside what is allowed, or a name that is nearly but not quite an option.
        """
        if isinstance(param_group, dict):
            check_group(self.rule, {**self.defaults, **param_group}, f"{type(self).__name__}, parameter group")
        # Unwrapped, since torch's wrapper imports its compiler, which takes seconds, only to turn it off.
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def load_state_dict(self, state_dict: dict[str, Any], *, named: bool = False, strict: bool = False) -> None:
        """Continue from a ``state_dict()`` of this class or of torch's optimizer of the same name.

        The tensors are copied to the parameters' devices and keep their dtypes.

        Args:
            state_dict: what ``state_dict()`` returned.
            named: find each parameter's state by its name, whatever its group and place; both optimizers were built
                with ``model.named_parameters()``. A parameter that was not saved starts anew.
            strict: refuse a state dict that lacks parameters, options or states, or has others. Else they start anew,
                or are kept as they are, as in torch.

        Raises:
            BadData: it belongs to other parameters or to another optimizer. Nothing was changed.
            BadOption: a group holds a value outside what is allowed.

        Example:
            >>> import torch
            >>> from thalweg import optim
            >>> net = torch.nn.Linear(2, 1)
            >>> net(torch.ones(2)).backward()
            >>> old = optim.AdamW(net.named_parameters(), lr=0.1)
            >>> old.step()
            >>> new = optim.AdamW(reversed(list(net.named_parameters())))
            >>> new.load_state_dict(old.state_dict(), named=True)
            >>> new.state[net.weight]["exp_avg"].shape, new.param_groups[0]["lr"]
            (torch.Size([1, 2]), 0.1)
        """
        state_dict = state_dict.copy()
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = before(self, state_dict) or state_dict
        self.__setstate__(loading.restored(self, state_dict, named, strict))
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def state_dict(self) -> dict[str, Any]:
        """The state and the groups, as torch's optimizer of the same name has them."""
        found = super().state_dict()
        found["state"] = {k: dict(v) if type(v) is Saved else v for k, v in found["state"].items()}
        for group in found["param_groups"]:
            if self.rule.weight_decay == "decoupled":
                group["decoupled_weight_decay"] = True  # as torch says it
        return found

    def __getstate__(self) -> dict[str, Any]:
        ours = {name: self.__dict__[name] for name in (*COMMON, "track_norm", "norm", "skipped")}
        return {**super().__getstate__(), **ours}
