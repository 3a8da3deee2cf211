"""Parameter groups for any torch optimizer: who is decayed, who is frozen, and at which rate each layer learns."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from thalweg import errors

if TYPE_CHECKING:
    from torch import nn

_FACTOR = errors.Allowed("a number in (0, 1]", lambda v: errors.POSITIVE.test(v) and v <= 1)
_CHECKED = {"lr": errors.NOT_NEGATIVE, "lr_scale": errors.POSITIVE, "weight_decay": errors.NOT_NEGATIVE}
_RESERVED = ("params", "param_names", "name")
_NORM = re.compile(r"norm(\dd)?$", re.I)
_CALCULATED = re.compile(r"parametrizations\.(\w+)\.original\d*$")
_SHOWN = 8  # names in a message


def make(
    model: nn.Module,
    *,
    lr: float | None = None,
    weight_decay: float | None = None,
    decay: str = "all",
    decay_embeddings: bool = True,
    layer_decay: float | None = None,
    patterns: Mapping[str, Mapping[str, Any]] | None = None,
    freeze: Iterable[str] = (),
    owner: str = "groups",
) -> list[dict[str, Any]]:
    """The trained parameters of a model as ``torch.optim`` groups: each in exactly one, shared ones once.

    A parameter's rate is lr · lr_scale · layer_decay^d, where d is its layer's `depths`. What a pattern says about a
    parameter counts before everything else. Options that nothing says are left to the optimizer.

    Args:
        model: its parameters that require a gradient are grouped.
        lr: the learning rate; ``layer_decay`` and ``lr_scale`` need it. None: the optimizer's.
        weight_decay: λ of the parameters that are decayed; None: the optimizer's.
        decay: "all", or "matrices": λ is 0 except for `matrices`.
        decay_embeddings: with "matrices", whether embeddings are decayed.
        layer_decay: the rate's factor per layer going from the output back to the input.
        patterns: options by name pattern (``*`` and ``?`` as in file names, the case matters): lr, lr_scale, weight_decay,
            and any that the optimizer takes. The first pattern that matches counts.
        freeze: name patterns of parameters that are set not to require a gradient, and left out.
        owner: who asks, for the messages.

    Returns:
        Dicts with "params", "param_names", "name" (of the group), "lr" and "weight_decay" where they are known, and the
        options of the pattern; in the order in which the model names their first parameters.

    Raises:
        BadOption: a pattern that matches no parameter, nothing left to train, or a value outside what is allowed.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
        >>> for group in make(net, lr=0.1, weight_decay=0.01, decay="matrices", patterns={"2.*": {"lr_scale": 10}}):
        ...     print(group["name"], group["param_names"], group["lr"], group["weight_decay"])
        decayed ['0.weight'] 0.1 0.01
        not decayed ['0.bias', '1.weight', '1.bias'] 0.1 0.0
        2.*, decayed ['2.weight'] 1.0 0.01
        2.*, not decayed ['2.bias'] 1.0 0.0
        >>> optimizer = torch.optim.AdamW(make(net, decay="matrices"), lr=0.1)

    Source: rates by layer: J. Howard, S. Ruder, arXiv 1801.06146, section 3.2; no decay of biases and norms: T. He et al.,
    arXiv 1812.01187, section 3.1.
    """
    patterns, frozen = dict(patterns or {}), tuple(freeze)
    for name, value, allowed in (
        ("lr", lr, errors.optional(errors.NOT_NEGATIVE)),
        ("weight_decay", weight_decay, errors.optional(errors.NOT_NEGATIVE)),
        ("decay", decay, errors.one_of("all", "matrices")),
        ("decay_embeddings", decay_embeddings, errors.FLAG),
        ("layer_decay", layer_decay, errors.optional(_FACTOR)),
    ):
        errors.check(owner, name, value, allowed)
    _check_options(patterns, lr, layer_decay, owner)
    names = _names(model)
    check_patterns((*patterns, *frozen), [name for every in names.values() for name in every], owner)

    decayed = matrices(model, embeddings=decay_embeddings) if decay == "matrices" else set()
    depth_of = depths(model) if layer_decay is not None else {}
    groups: dict[Any, dict[str, Any]] = {}
    hold(model, frozen)
    for parameter, every in names.items():
        if not parameter.requires_grad:
            continue
        name, match = every[0], _first(every, patterns)
        depth = depth_of.get(name, 0)
        part = None if decay == "all" else "decayed" if name in decayed else "not decayed"
        key = (match, depth, part)
        if key not in groups:
            own = dict(patterns[match]) if match is not None else {}
            rate, scale = own.pop("lr", lr), own.pop("lr_scale", 1.0)
            strength = 0.0 if part == "not decayed" else weight_decay
            known = {"lr": None if rate is None else rate * scale * (layer_decay or 1.0) ** depth}
            known["weight_decay"] = own.pop("weight_decay", strength)
            words = (match, f"depth {depth}" if layer_decay is not None else None, part)
            title = ", ".join(word for word in words if word) or "all"
            given = {option: value for option, value in known.items() if value is not None}
            groups[key] = {"params": [], **given, **own, "name": title, "param_names": []}
        groups[key]["params"].append(parameter)
        groups[key]["param_names"].append(name)
    if not groups:
        raise errors.BadOption(f"{owner}: nothing left to train: every parameter is frozen", "freeze fewer parameters")
    return list(groups.values())


def hold(model: nn.Module, patterns: Iterable[str]) -> list[nn.Parameter]:
    """Set what patterns name not to require a gradient; those that did before.

    Example:
        >>> import torch
        >>> len(hold(torch.nn.Linear(2, 1), ["weight"]))
        1
    """
    patterns = list(patterns)
    found = [p for p, names in _names(model).items() if p.requires_grad and _first(names, patterns)]
    for parameter in found:
        parameter.requires_grad_(False)
    return found


def matrices(model: nn.Module, embeddings: bool = True) -> set[str]:
    """The names of the parameters with two dimensions or more that belong to no normalization layer.

    A normalization layer is known by its class, or one that it inherits from, whose name ends with "Norm" or "Norm1d" to
    "Norm3d", as all of torch's do. A shared parameter has the name under which the model gives it first.

    Args:
        model: its parameters are named as in ``named_parameters()``.
        embeddings: whether the tables of embeddings are among them.

    Returns:
        Names.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.LayerNorm((2, 4)), torch.nn.Linear(4, 2))
        >>> sorted(matrices(net)), sorted(matrices(net, embeddings=False))
        (['0.weight', '2.weight'], ['2.weight'])

    Source: with embeddings as in nanoGPT, without as in minGPT (A. Karpathy); norms that hold matrices are left out too.
    """
    excluded: set[int] = set()
    for module in model.modules():
        kinds = [kind.__name__ for kind in type(module).__mro__]
        table = not embeddings and any(kind in ("Embedding", "EmbeddingBag") for kind in kinds)
        if table or any(_NORM.search(kind) for kind in kinds):
            excluded.update(id(parameter) for parameter in module.parameters(recurse=False))
    return {name for name, p in model.named_parameters() if p.ndim >= 2 and id(p) not in excluded}


def depths(model: nn.Module) -> dict[str, int]:
    """How many layers lie between each parameter and the output: 0 for the last layer.

    A layer is a numbered block (``blocks.3`` with everything in it, by the first number in the name), or else a module with
    parameters of its own. Layers are in the order of ``named_parameters()``, which is that of their definition.

    Args:
        model: its parameters are named as in ``named_parameters()``.

    Returns:
        The depth by name.

    Example:
        >>> import torch
        >>> depths(torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1, bias=False)))
        {'0.weight': 1, '0.bias': 1, '2.weight': 0}

    Source: blocks as in K. Clark et al., ELECTRA, arXiv 2003.10555, and BEiT, arXiv 2106.08254, which decay the rate so.
    """
    names = [name for name, _ in model.named_parameters()]
    order = {layer: i for i, layer in enumerate(dict.fromkeys(map(_layer, names)))}
    return {name: len(order) - 1 - order[_layer(name)] for name in names}


def check_patterns(patterns: Iterable[str], names: Iterable[str], owner: str = "groups") -> None:
    """Raise `BadOption` for a pattern that matches none of the names; the hint suggests the nearest that would.

    Args:
        patterns: name patterns, as in file names; the case matters.
        names: of the parameters.
        owner: who asks, for the message.

    Raises:
        BadOption: a pattern matches nothing.

    Example:
        >>> check_patterns(["haed.*"], ["stem.weight", "head.weight"])
        Traceback (most recent call last):
        thalweg.errors.BadOption: groups: pattern 'haed.*' matches no parameter; there are: stem.weight, head.weight
        hint: did you mean 'head.*'? (* and ? as in file names)
    """
    names = list(dict.fromkeys(names))
    for pattern in patterns:
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            continue
        parts = [name.split(".") for name in names]
        heads = [".".join(p[:i]) + ".*" for p in parts for i in range(1, len(p))]
        tails = ["*." + ".".join(p[i:]) for p in parts for i in range(1, len(p))]
        near = difflib.get_close_matches(pattern, dict.fromkeys([*names, *heads, *tails]), 1, 0.6)
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        raise errors.BadOption(
            f"{owner}: pattern {pattern!r} matches no parameter; there are: {shown}",
            f"did you mean {near[0]!r}? (* and ? as in file names)" if near else "use * and ? as in file names",
        )


def _check_options(patterns: Mapping[str, Any], lr: float | None, layer_decay: float | None, owner: str) -> None:
    for pattern, options in patterns.items():
        whose = f"{owner}: group {pattern!r}"
        if not isinstance(options, Mapping):
            raise errors.BadOption(f"{whose}: options must be a table, got {options!r}", 'write {"lr_scale": 10}')
        for name, value in options.items():
            if name in _CHECKED:
                errors.check(whose, name, value, _CHECKED[name])
            elif name in _RESERVED:
                raise errors.BadOption(f"{whose}: {name} is what is made here", f"leave {name} out")
            elif difflib.get_close_matches(str(name), _CHECKED, 1, 0.85):
                raise errors.unknown(whose, "option", str(name), _CHECKED)
    scaled = [p for p, options in patterns.items() if "lr_scale" in options and "lr" not in options]
    if lr is None and (layer_decay is not None or scaled):
        what = f"lr_scale of group {scaled[0]!r}" if scaled else "layer_decay"
        raise errors.BadOption(f"{owner}: {what} scales lr, which is not given", "give lr")


def _names(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Every parameter once, in the model's order, with all its names; shared ones have several.

    A part of a calculated weight, as of weight normalization, answers to the weight's name too.
    """
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        plain = _CALCULATED.sub(r"\1", name)
        names.setdefault(parameter, []).extend([name] if plain == name else [name, plain])
    return names


def _first(names: Iterable[str], patterns: Iterable[str]) -> str | None:
    """The first pattern that matches one of the names."""
    names = list(names)
    return next((p for p in patterns if any(fnmatch.fnmatchcase(name, p) for name in names)), None)


def _layer(name: str) -> str:
    """The layer a parameter belongs to: its name up to the first number (a block of a list), or its module."""
    parts = name.split(".")[:-1]
    number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return ".".join(parts if number is None else parts[: number + 1])
