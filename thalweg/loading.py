"""Loading: a saved state dict becomes the state of an optimizer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from copy import deepcopy
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

from torch import Tensor

from thalweg import errors
from thalweg.options import TORCH_ONLY, check_group
from thalweg.rules import TABLE

if TYPE_CHECKING:
    from thalweg.optimizer import Optimizer

LOOSE = "load the state dict of the same kind of optimizer, or load with strict=False"


def restored(optimizer: Optimizer, state_dict: dict[str, Any], named: bool, strict: bool) -> dict[str, Any]:
    """What ``__setstate__`` takes, from what ``state_dict()`` of the same or of torch's optimizer returned.

    Args:
        optimizer: it has the parameters that were saved; with ``named`` some of them.
        state_dict: it is left as it is.
        named: find each parameter's state by its name, not by its position.
        strict: refuse a state dict that lacks something or holds something else.

    Returns:
        The state, copied to the parameters' devices in the dtypes that were saved, and the groups.

    Raises:
        BadData: it belongs to other parameters or to another optimizer.
        BadOption: a group holds a value outside what is allowed.
    """
    for key in ("state", "param_groups"):
        if key not in state_dict:
            raise errors.BadData(
                f"{type(optimizer).__name__}: the state dict has no {key!r}", "load what state_dict() returned"
            )
    if named:
        state_dict = _by_name(optimizer, state_dict, strict)
    groups = [_merged(optimizer, *pair) for pair in _pairs(optimizer, state_dict["param_groups"])]
    if strict:
        _refuse(optimizer, state_dict)
    keys = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
    params = dict(zip(keys, chain.from_iterable(group["params"] for group in groups), strict=True))
    state: defaultdict[Any, Any] = defaultdict(dict)
    for key, saved in state_dict["state"].items():
        if key in params:
            state[params[key]] = _copied(optimizer, key, params[key], saved)
        else:
            state[key] = saved
    return {"state": state, "param_groups": groups}


def _by_name(optimizer: Optimizer, state_dict: dict[str, Any], strict: bool) -> dict[str, Any]:
    """The state dict in the order of the optimizer's parameters.

    A group has the options of the saved group that its parameters come from, if that is one.
    """
    owner = type(optimizer).__name__
    for whose, parts in (("optimizer's", optimizer.param_groups), ("state dict's", state_dict["param_groups"])):
        if not all(len(group.get("param_names", ())) == len(group["params"]) for group in parts):
            raise errors.BadData(
                f"{owner}: the {whose} parameters have no names", "build both optimizers with model.named_parameters()"
            )
        twice = [name for name, n in Counter(chain.from_iterable(g["param_names"] for g in parts)).items() if n > 1]
        if twice:
            raise errors.BadData(f"{owner}: the {whose} names are not unique: {_few(twice)}", "give each its own name")
    ours: list[list[str]] = [group["param_names"] for group in optimizer.param_groups]
    saved = {
        name: (key, group)
        for group in state_dict["param_groups"]
        for name, key in zip(group["param_names"], group["params"], strict=True)
    }
    if strict:
        _same(owner, "parameter", saved, chain.from_iterable(ours))
    state: dict[Any, Any] = {}
    groups: list[dict[str, Any]] = []
    numbers = count()
    for group, own in zip(optimizer.param_groups, ours, strict=True):
        sources = [saved[name] for name in own if name in saved]
        one = len({id(source) for _, source in sources}) == 1
        if strict and sources and not one:
            raise errors.BadData(
                f"{owner}: the parameters of a group come from several groups of the state dict: {_few(own)}",
                "build the optimizer with the groups that were saved, or load with strict=False",
            )
        places = list(islice(numbers, len(own)))
        groups.append({**(sources[0][1] if one else group), "param_names": own, "params": places})
        for place, name in zip(places, own, strict=True):
            if name in saved and saved[name][0] in state_dict["state"]:
                state[place] = state_dict["state"][saved[name][0]]
    return {"state": state, "param_groups": groups}


def _refuse(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Raise `BadData` unless the names of the parameters, the options and the states are this optimizer's."""
    owner = type(optimizer).__name__
    of: dict[Any, set[str]] = {}
    others = {name for rule in TABLE.values() for name in rule.defaults} - {*optimizer.rule.defaults, *TORCH_ONLY}
    for group, saved in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
        if "param_names" in group and "param_names" in saved:
            _same(owner, "parameter", saved["param_names"], group["param_names"], ordered=True)
        missing = optimizer.rule.defaults.keys() - saved.keys()
        if missing:
            raise errors.BadData(f"{owner}: the state dict lacks the options {_few(sorted(missing))}", LOOSE)
        foreign = saved.keys() & others
        if foreign:
            raise errors.BadData(f"{owner}: the state dict has the options {_few(sorted(foreign))}", LOOSE)
        states = optimizer.states({**group, **saved})
        of.update(dict.fromkeys(saved["params"], states))
    for key, held in state_dict["state"].items():
        if key not in of:
            raise errors.BadData(
                f"{owner}: the state dict has a state of a parameter {key!r} that is in no group", LOOSE
            )
        if held:
            _same(owner, f"state of parameter {key!r}:", held, of[key])


def _same(owner: str, what: str, found: Iterable[str], wanted: Iterable[str], ordered: bool = False) -> None:
    """Raise `BadData` unless the names are those that are wanted."""
    found, wanted = list(found), list(wanted)
    there, asked = set(found), set(wanted)
    lacks, more = [x for x in wanted if x not in there], [x for x in found if x not in asked]
    if lacks or more:
        parts = [f"lacks {_few(lacks)}"] * bool(lacks) + [f"has {_few(more)}, which the optimizer has not"] * bool(more)
        raise errors.BadData(f"{owner}: {what} names differ: the state dict {' and '.join(parts)}", LOOSE)
    if ordered and found != wanted:
        raise errors.BadData(f"{owner}: the state dict has the parameters in another order", "load with named=True")


def _few(names: Sequence[str]) -> str:
    """The names, the first five of many."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _pairs(optimizer: Optimizer, saved_groups: list[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """Each group of this optimizer with the saved one, which must have as many parameters."""
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    saved_sizes = [len(group["params"]) for group in saved_groups]
    if sizes != saved_sizes:
        raise errors.BadData(
            f"{type(optimizer).__name__}: the state dict has groups of {saved_sizes} parameters, not of {sizes}",
            "build the optimizer with the same parameters and groups before loading",
        )
    return zip(optimizer.param_groups, saved_groups, strict=True)


def _merged(optimizer: Optimizer, group: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """The saved options for the parameters of a group; what is not saved stays."""
    owner = f"{type(optimizer).__name__}, loaded parameter group"
    names = [name for name in (*optimizer.rule.defaults, "maximize", "param_names") if name in group]
    merged = {name: group[name] for name in names}
    merged.update({name: deepcopy(value) for name, value in saved.items() if name != "params"})
    check_group(optimizer.rule, {**optimizer.defaults, **merged}, owner)
    decoupled = merged.get("decoupled_weight_decay", optimizer.rule.weight_decay == "decoupled")
    either = "decoupled_weight_decay" in optimizer.rule.defaults
    if not either and decoupled != (optimizer.rule.weight_decay == "decoupled") and merged["weight_decay"] != 0:
        kind = "decoupled" if decoupled else "coupled"
        other = "AdamW" if decoupled else "Adam"
        raise errors.BadData(f"{owner}: its weight decay is {kind}", f"load it into thalweg.optim.{other}")
    return {"params": group["params"], **merged}


def _copied(optimizer: Optimizer, key: Any, p: Tensor, saved: dict[str, Any]) -> dict[str, Any]:
    """A copy of the saved state of a parameter, on its device, in the dtypes that were saved."""
    names = {state.name for state in optimizer.rule.state if not state.scalar}
    on_host = {"step", *(state.name for state in optimizer.rule.state if state.scalar)}
    copied = {}
    for name, value in saved.items():
        if name in names and isinstance(value, Tensor) and value.shape != p.shape:
            raise errors.BadData(
                f"{type(optimizer).__name__}: {name} of parameter {key} has shape {tuple(value.shape)} in the state "
                f"dict, the parameter has {tuple(p.shape)}",
                "load the state dict into an optimizer of the same model, with its parameters in the same order",
            )
        if isinstance(value, Tensor):
            value = value.detach().to("cpu" if name in on_host else p.device, copy=True)
        copied[name] = value if isinstance(value, Tensor) else deepcopy(value)
    return copied
