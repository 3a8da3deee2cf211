"""The options that every optimizer has, and the signature and help of its class."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

import torch

from thalweg import errors
from thalweg.engine import ENGINES, reference
from thalweg.rules import Rule

COMMON: dict[str, tuple[Any, errors.Allowed, str]] = {
    "clip_norm": (
        None,
        errors.optional(errors.POSITIVE),
        "the largest global norm u of all gradients, g·u/‖g‖ where ‖g‖ > u",
    ),
    "clip_value": (None, errors.optional(errors.POSITIVE), "the largest absolute value of each number of a gradient"),
    "clip_adaptive": (
        None,
        errors.optional(errors.POSITIVE),
        "the largest ‖g‖/‖p‖ of each unit, a row of a matrix; reads the gradients once more",
    ),
    "centralize": (False, errors.FLAG, "take each unit's mean from its gradient; reads the gradients once more"),
    "decay": (
        None,
        errors.optional(errors.one_of("coupled", "decoupled", "fully", "cautious")),
        "the kind of weight decay where it is not the rule's own",
    ),
    "cautious": (False, errors.one_of(False, True, "exact"), "leave out what disagrees in sign with the gradient"),
    "ema": (None, errors.optional(errors.FRACTION), "how much of the average of the parameters is kept"),
    "rounding": ("nearest", errors.one_of("nearest", "stochastic"), "of bfloat16 and float16"),
    "state_dtype": (
        None,
        errors.optional(errors.one_of(torch.float32, torch.float64, torch.bfloat16, torch.float16)),
        "the dtype of new states; None: the parameter's",
    ),
    "skip_nonfinite": (False, errors.FLAG, "make no step when a gradient is not finite"),
    "differentiable": (False, errors.FLAG, "let autograd see the steps, which the reference then makes"),
    "engine": ("auto", errors.one_of(*ENGINES), "what runs the rule"),
}
TORCH_ONLY = ("foreach", "fused", "capturable", "decoupled_weight_decay")


def signature(rule: Rule) -> inspect.Signature:
    """The signature of torch: the rule's options by position, then what every optimizer here has by name."""
    place, named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("params", place),
            *(inspect.Parameter(option.name, place, default=option.default) for option in rule.options),
            inspect.Parameter("maximize", named, default=False),
            *(inspect.Parameter(name, named, default=default) for name, (default, *_) in COMMON.items()),
        ]
    )


def docstring(rule: Rule) -> str:
    """What ``help`` says about the class of a rule."""
    equation = "\n".join(f"        {line}" for line in rule.equation.splitlines())
    options = "\n".join(
        f"        {option.name}: {option.meaning}; {option.allowed.text} (default {option.default})"
        for option in rule.options
    )
    common = "\n".join(
        f"        {name}: {meaning}; {allowed.text} (default {default})"
        for name, (default, allowed, meaning) in COMMON.items()
    )
    return f"""{rule.summary}

    Equation::

{equation}

    Args:
        params: tensors, pairs (name, tensor), or dicts with "params" and options of their own.
{options}
        maximize: ascend instead of descend (default False).
{common}

    Raises:
        BadOption: an unknown option, or a value outside what is allowed.

    Example:
        >>> import torch
        >>> from thalweg import optim
        >>> w = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
        >>> opt = optim.{rule.title}([w], lr=0.01)
        >>> for _ in range(3):
        ...     opt.zero_grad()
        ...     w.square().sum().backward()
        ...     opt.step()
        >>> bool(w.detach().square().sum() < 13)
        True

    Differs: {rule.differs}

    Source: {rule.source}.
    """


def check_group(rule: Rule, options: Mapping[str, Any], owner: str) -> None:
    """Raise `BadOption` for a bad value, or for a key so near to an option that it must be a slip."""
    known = {*rule.defaults, "maximize"}
    for name in options.keys() - known - {*TORCH_ONLY, "params"}:
        derived = any(option in name for option in known)  # "max_momentum" is a scheduler's, not a slip
        if not derived and difflib.get_close_matches(name, known, 1, 0.8):
            raise errors.unknown(owner, "option", name, known)
    errors.check(owner, "maximize", options["maximize"], errors.FLAG)
    rule.check({name: reference.number(options[name]) for name in rule.defaults}, owner)
