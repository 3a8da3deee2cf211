import math

import pytest

from thalweg import rules
from thalweg.engine.reference import Namespace as xp
from thalweg.rules import links

PLAIN = {"lr": 0.5, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "first": True}
MOMENTS = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 0.0, "t": 1}


def sgd(**kinds):
    return links.compose(rules.get("sgd"), **kinds)


def test_each_link_alone():
    assert sgd()(xp, 1.0, 3.0, None, **PLAIN)[0] == 1 - 0.5 * 3
    assert sgd(maximized=True)(xp, 1.0, 3.0, None, **PLAIN)[0] == 1 + 0.5 * 3
    assert sgd(clipped=True)(xp, 1.0, 3.0, None, clip=0.25, **PLAIN)[0] == 1 - 0.5 * 0.75
    assert sgd(decayed=True)(xp, 2.0, 3.0, None, weight_decay=0.5, **PLAIN)[0] == 2 - 0.5 * (3 + 1)


def test_decay_is_not_turned_by_maximize_nor_shrunk_by_clipping():
    update = sgd(maximized=True, clipped=True, decayed=True)
    assert update(xp, 2.0, 3.0, None, clip=0.5, weight_decay=0.1, **PLAIN)[0] == 2 - 0.5 * (-1.5 + 0.2)


def test_decoupled_decay_takes_the_old_parameter_and_leaves_the_moments_alone():
    plain = links.compose(rules.get("adamw"))(xp, 2.0, 3.0, 0.0, 0.0, None, **MOMENTS)
    decayed = links.compose(rules.get("adamw"), decayed=True)(xp, 2.0, 3.0, 0.0, 0.0, None, weight_decay=0.5, **MOMENTS)
    assert decayed[0] == pytest.approx(plain[0] - 0.1 * 0.5 * 2, abs=1e-15) and decayed[1:] == plain[1:]


def test_coupled_decay_enters_the_moments():
    decayed = links.compose(rules.get("adam"), decayed=True)(xp, 2.0, 3.0, 0.0, 0.0, None, weight_decay=0.5, **MOMENTS)
    assert decayed[1] == pytest.approx(0.1 * 4) and decayed[2] == pytest.approx(0.001 * 16)


def test_compositions_are_made_once():
    assert sgd(clipped=True) is sgd(clipped=True) is not sgd()


def test_host_functions_follow_ieee():
    assert math.isnan(xp.sqrt(-1.0)) and xp.sqrt(4.0) == 2 and xp.abs(-1.0) == 1
    assert xp.maximum(1.0, 2.0) == 2 and math.isnan(xp.maximum(math.nan, 1.0)) and math.isnan(xp.maximum(1.0, math.nan))
    assert xp.where(True, 1, 2) == 1 and xp.where(False, 1, 2) == 2
