"""Every rule of the table as a ``torch.optim.Optimizer``, for any training loop."""

from __future__ import annotations

import difflib
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from types import new_class
from typing import Any, ClassVar

import torch
from torch import Tensor

from thalweg import errors, rules
from thalweg.engine import ENGINES, reference
from thalweg.rules import Rule

TORCH_ONLY = ("foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay")


class Optimizer(torch.optim.Optimizer):
    """What all optimizers here share: a rule of the table behind torch's interface.

    ``state_dict()`` has torch's keys, so torch's optimizer of the same name loads it and continues, and the other way.

    Args:
        params: tensors, pairs (name, tensor), or dicts with "params" and options of their own.
        *args: the rule's options in torch's order.
        maximize: ascend instead of descend.
        clip_norm: the largest global norm u of the gradients of all parameters: g·u/‖g‖ where ‖g‖ > u.
        engine: "auto" or "reference".
        **options: the rule's options by name.

    Attributes:
        track_norm: set it to True to have ``grad_norm`` without clipping.
        grad_norm: after a step with ``clip_norm`` or ``track_norm``, the global norm before clipping, a 0-dim tensor.

    Raises:
        BadOption: an unknown option, or a value outside what is allowed.
    """

    rule: ClassVar[Rule]

    def __init_subclass__(cls, rule: Rule | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if rule is not None:
            cls.rule = rule
            cls.__doc__ = _docstring(rule)
            cls.__signature__ = _signature(rule)  # type: ignore[attr-defined]

    def __init__(
        self,
        params: Iterable[Any],
        *args: Any,
        maximize: bool = False,
        clip_norm: float | None = None,
        engine: str = "auto",
        **options: Any,
    ) -> None:
        owner, rule = type(self).__name__, self.rule
        names = list(rule.defaults)
        if len(args) > len(names):
            raise errors.BadOption(f"{owner}: {len(args)} options by position, it has {len(names)}", "give names")
        for name, value in zip(names, args, strict=False):
            if name in options:
                raise errors.BadOption(f"{owner}: {name} is given by position and by name", f"give {name} once")
            options[name] = value
        for name in options:
            if name in TORCH_ONLY:
                raise errors.BadOption(f"{owner}: {name} is torch's own", "leave it out; engine says how it runs")
            if name not in rule.defaults:
                raise errors.unknown(owner, "option", name, [*names, "maximize", "clip_norm", "engine"])
        errors.check(owner, "clip_norm", reference.number(clip_norm), errors.optional(errors.POSITIVE))
        errors.check(owner, "engine", engine, errors.one_of(*ENGINES))
        self.clip_norm = None if clip_norm is None else float(clip_norm)
        self.engine = engine
        self.track_norm = False
        self.grad_norm: Tensor | None = None
        defaults = {**rule.defaults, **options, "maximize": maximize}
        self._check(defaults, owner)
        super().__init__(params, defaults)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            The closure's loss, or None.

        Raises:
            BadData: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        return loss

    @torch.no_grad()
    def update(self) -> None:
        """One update without hooks and closures: what `step` does, for a loop that has none."""
        clip = None
        if self.clip_norm is not None or self.track_norm:
            self.grad_norm = reference.global_norm(self.param_groups, exact=self.clip_norm is not None)
            if self.clip_norm is not None:
                clip = reference.clip_coefficient(self.grad_norm, self.clip_norm)
        reference.step(self.rule, self.param_groups, self.state, clip)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own.

        Args:
            param_group: "params" and any options; what is missing has the optimizer's defaults.

        Raises:
            BadOption: a value outside what is allowed, or a name that is nearly but not quite an option.
        """
        if isinstance(param_group, dict):
            self._check({**self.defaults, **param_group}, f"{type(self).__name__}, parameter group")
        # Unwrapped, since torch's wrapper imports its compiler, which takes seconds, only to turn it off.
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a ``state_dict()`` of this class or of torch's optimizer of the same name.

        The tensors are copied to the parameters' devices and keep their dtypes.

        Args:
            state_dict: what ``state_dict()`` returned.

        Raises:
            BadData: it belongs to other parameters or to another optimizer.
            BadOption: a group holds a value outside what is allowed.
        """
        state_dict = state_dict.copy()
        for before in self._optimizer_load_state_dict_pre_hooks.values():
            state_dict = before(self, state_dict) or state_dict
        groups = [self._merged(*pair) for pair in self._pairs(state_dict["param_groups"])]
        keys = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        params = dict(zip(keys, chain.from_iterable(group["params"] for group in groups), strict=True))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, saved in state_dict["state"].items():
            if key in params:
                state[params[key]] = self._copied(key, params[key], saved)
            else:
                state[key] = saved
        self.__setstate__({"state": state, "param_groups": groups})
        for after in self._optimizer_load_state_dict_post_hooks.values():
            after(self)

    def __getstate__(self) -> dict[str, Any]:
        ours = {name: self.__dict__[name] for name in ("clip_norm", "engine", "track_norm", "grad_norm")}
        return {**super().__getstate__(), **ours}

    def _check(self, options: dict[str, Any], owner: str) -> None:
        """Raise `BadOption` for a bad value, or for a key so near to an option that it must be a slip."""
        known = {*self.rule.defaults, "maximize"}
        for name in options.keys() - known - {*TORCH_ONLY, "params"}:
            derived = any(option in name for option in known)  # "max_momentum" is a scheduler's, not a slip
            if not derived and difflib.get_close_matches(name, known, 1, 0.8):
                raise errors.unknown(owner, "option", name, known)
        errors.check(owner, "maximize", options["maximize"], errors.FLAG)
        self.rule.check({name: reference.number(options[name]) for name in self.rule.defaults}, owner)

    def _pairs(self, saved_groups: list[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
        """Each group of this optimizer with the saved one, which must have as many parameters."""
        sizes = [len(group["params"]) for group in self.param_groups]
        saved_sizes = [len(group["params"]) for group in saved_groups]
        if sizes != saved_sizes:
            raise errors.BadData(
                f"{type(self).__name__}: the state dict has groups of {saved_sizes} parameters, not of {sizes}",
                "build the optimizer with the same parameters and groups before loading",
            )
        return zip(self.param_groups, saved_groups, strict=True)

    def _merged(self, group: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
        """The saved options for the parameters of a group; what is not saved stays."""
        owner = f"{type(self).__name__}, loaded parameter group"
        names = [name for name in (*self.rule.defaults, "maximize", "param_names") if name in group]
        merged = {name: group[name] for name in names}
        merged.update({name: deepcopy(value) for name, value in saved.items() if name != "params"})
        self._check({**self.defaults, **merged}, owner)
        decoupled = merged.get("decoupled_weight_decay", self.rule.weight_decay == "decoupled")
        if decoupled != (self.rule.weight_decay == "decoupled") and merged["weight_decay"] != 0:
            kind = "decoupled" if decoupled else "coupled"
            other = "AdamW" if decoupled else "Adam"
            raise errors.BadData(f"{owner}: its weight decay is {kind}", f"load it into thalweg.optim.{other}")
        return {"params": group["params"], **merged}

    def _copied(self, key: Any, p: Tensor, saved: dict[str, Any]) -> dict[str, Any]:
        """A copy of the saved state of a parameter, on its device, in the dtypes that were saved."""
        names = {state.name for state in self.rule.state}
        copied = {}
        for name, value in saved.items():
            if name in names and isinstance(value, Tensor) and value.shape != p.shape:
                raise errors.BadData(
                    f"{type(self).__name__}: {name} of parameter {key} has shape {tuple(value.shape)} in the state "
                    f"dict, the parameter has {tuple(p.shape)}",
                    "load the state dict into an optimizer of the same model, with its parameters in the same order",
                )
            if isinstance(value, Tensor):
                value = value.detach().to("cpu" if name == "step" else p.device, copy=True)
            copied[name] = value if isinstance(value, Tensor) else deepcopy(value)
        return copied


def _signature(rule: Rule) -> inspect.Signature:
    """The signature of torch: the rule's options by position, then what every optimizer here has by name."""
    place, named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("params", place),
            *(inspect.Parameter(option.name, place, default=option.default) for option in rule.options),
            inspect.Parameter("maximize", named, default=False),
            inspect.Parameter("clip_norm", named, default=None),
            inspect.Parameter("engine", named, default="auto"),
        ]
    )


def _docstring(rule: Rule) -> str:
    equation = "\n".join(f"        {line}" for line in rule.equation.splitlines())
    options = "\n".join(
        f"        {option.name}: {option.meaning}; {option.allowed.text} (default {option.default})"
        for option in rule.options
    )
    return f"""{rule.summary}

    Equation::

{equation}

    Args:
        params: tensors, pairs (name, tensor), or dicts with "params" and options of their own.
{options}
        maximize: ascend instead of descend (default False).
        clip_norm: the largest global norm u of all gradients, g·u/‖g‖ where ‖g‖ > u (default None).
        engine: one of {", ".join(ENGINES)} (default auto).

    Raises:
        BadOption: an unknown option, or a value outside what is allowed.

    Example:
        >>> import torch
        >>> from thalweg import optim
        >>> w = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
        >>> opt = optim.{rule.title}([w], lr=0.01)
        >>> w.square().sum().backward()
        >>> opt.step()
        >>> bool(w.detach().square().sum() < 13)
        True

    Differs: {rule.differs}

    Source: {rule.source}.
    """


class SGD(Optimizer, rule=rules.TABLE["sgd"]):
    """Made from the table."""


class Momentum(Optimizer, rule=rules.TABLE["momentum"]):
    """Made from the table."""


class Nesterov(Optimizer, rule=rules.TABLE["nesterov"]):
    """Made from the table."""


class Adagrad(Optimizer, rule=rules.TABLE["adagrad"]):
    """Made from the table."""


class RMSprop(Optimizer, rule=rules.TABLE["rmsprop"]):
    """Made from the table."""


class Adam(Optimizer, rule=rules.TABLE["adam"]):
    """Made from the table."""


class AdamW(Optimizer, rule=rules.TABLE["adamw"]):
    """Made from the table."""


GD = SGD

OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.rule.name: cls for cls in (SGD, Momentum, Nesterov, Adagrad, RMSprop, Adam, AdamW)
}


def optimizer_class(rule: str | Rule) -> type[Optimizer]:
    """The optimizer class of a rule, also of a rule that is not in the table.

    Args:
        rule: a name of the table, or a rule.

    Returns:
        A subclass of `Optimizer`.

    Raises:
        BadOption: the name is unknown.

    Example:
        >>> optimizer_class("adamw").__name__
        'AdamW'
    """
    rule = rules.get(rule) if isinstance(rule, str) else rule
    known = OPTIMIZERS.get(rule.name)
    return known if known is not None and known.rule is rule else new_class(rule.title, (Optimizer,), {"rule": rule})
