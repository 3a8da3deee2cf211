import inspect
import sys
from pathlib import Path

import pytest
import torch

from thalweg import errors, optim, rules
from thalweg.engine import reference

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
from numpy_rules import ORACLES, VARIANTS

FLOOR = {"sgd": 12, "momentum": 20, "nesterov": 20, "adagrad": 20, "rmsprop": 20, "adam": 28, "adamw": 28}


def test_the_table_is_not_empty_and_every_row_has_a_class():
    assert list(rules.TABLE) == ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"]
    assert list(optim.OPTIMIZERS) == list(rules.TABLE)
    assert ORACLES.keys() == VARIANTS.keys() == FLOOR.keys() == rules.TABLE.keys()
    assert rules.get("gd") is rules.TABLE["sgd"] and optim.GD is optim.SGD


@pytest.mark.parametrize("name", rules.TABLE)
def test_a_row_is_complete(name):
    rule, cls = rules.TABLE[name], optim.OPTIMIZERS[name]
    assert rule.name == name and cls.rule is rule and getattr(optim, rule.title) is cls and cls.__name__ == rule.title
    for text in (rule.summary, rule.equation, rule.source, rule.differs):
        assert text.strip() and text in cls.__doc__.replace("\n        ", "\n")
    assert 0 < rule.rates[0] < rule.rates[1] <= 1
    assert rule.bytes_per_parameter() == FLOOR[name]
    assert rule.options[0].name == "lr"
    rule.check(rule.defaults)
    for option in rule.options:
        assert option.meaning in cls.__doc__ and option.allowed.test(option.default)
    assert list(inspect.signature(cls).parameters)[-3:] == ["maximize", "clip_norm", "engine"]


@pytest.mark.parametrize("name", rules.TABLE)
def test_the_options_are_torchs_in_torchs_positional_order(name):
    rule = rules.TABLE[name]
    theirs = inspect.signature(getattr(torch.optim, {"momentum": "SGD", "nesterov": "SGD"}.get(name, rule.title)))
    parameters = list(theirs.parameters.values())[1 : 1 + len(rule.options)]
    assert [p.name for p in parameters] == list(rule.defaults)
    changed = {"momentum": {"momentum": 0.9}, "nesterov": {"momentum": 0.9, "nesterov": True}}.get(name, {})
    if name in ("sgd", "momentum", "nesterov"):
        changed["lr"] = 1e-2
    assert rule.defaults == {**{p.name: p.default for p in parameters}, **changed}


@pytest.mark.parametrize("name", rules.TABLE)
def test_an_update_is_short_and_takes_plain_numbers(name):
    rule = rules.TABLE[name]
    assert len(inspect.getsource(rule.update).splitlines()) <= 15
    for options in VARIANTS[name]:
        options = {**rule.defaults, **options}
        scalars = rule.scalars(options)
        extra = {"t": 1, "first": True}
        scalars.update({key: extra[key] for key in rule.inputs if key in extra})
        states = [None if state is None else 0.0 for state in rule.active(options)]
        new = rule.update(reference.Namespace, 1.0, 2.0, *states, **scalars)
        assert isinstance(new[0], float) and new[0] < 1
        assert [x is None for x in new[1:]] == [x is None for x in states]


def test_bytes_follow_the_options():
    assert rules.get("sgd").bytes_per_parameter({"momentum": 0.9}) == 20
    assert rules.get("adam").bytes_per_parameter({"amsgrad": True}) == 36
    assert rules.get("rmsprop").bytes_per_parameter({"centered": True, "momentum": 0.9}) == 36


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(errors.BadOption, match=r"unknown optimizer 'adamv'.*\n.*did you mean 'adam"):
        rules.get("adamv")
