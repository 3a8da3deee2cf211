import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg import rules
from thalweg.recipe import Recipe
from thalweg.study import spaces

PRIORS = [
    *{(p.low, p.high, p.uniform) for name in rules.TABLE for p in spaces.space(name).values()},
    *((*rule.rates, "log") for rule in rules.TABLE.values()),
]
NAMES = st.sampled_from(sorted(rules.TABLE))


@pytest.mark.parametrize("name", rules.TABLE)
def test_every_number_of_every_rule_is_searched_or_has_a_reason_not_to_be(name):
    space = spaces.space(name)
    for number in spaces.numbers(name):
        searched = spaces.DECAY if number == "weight_decay" else number
        assert (searched in space) != (number in spaces.FIXED), number
    assert ("warmup" in space) != rules.get(name).full_batch


def test_the_tables_hold_nothing_that_no_rule_has():
    options = {name for rule in rules.TABLE.values() for name in rule.defaults}
    assert spaces.FIXED and spaces.FIXED.keys() <= options and all(spaces.FIXED.values())
    assert spaces.OWN and spaces.OWN.keys() <= rules.TABLE.keys()
    for name, own in spaces.OWN.items():
        assert own.keys() <= spaces.space(name).keys(), name


@given(st.sampled_from(PRIORS), st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_a_prior_stays_in_its_range_and_rises(facts, shares):
    prior = spaces.Prior(*facts)
    values = [prior.at(u) for u in sorted(shares)]
    assert values == sorted(values)
    assert all(prior.low * 0.995 <= v <= prior.high * 1.005 for v in (prior.at(0), *values, prior.at(1)))
    assert prior.at(0) == pytest.approx(prior.low, rel=0.01) and prior.at(1) == pytest.approx(prior.high, rel=0.01)


@given(NAMES, st.lists(st.floats(0, 1), min_size=9, max_size=9))
def test_every_point_of_every_space_is_a_recipe_and_decay_is_searched_as_its_product_with_the_rate(name, shares):
    space = spaces.space(name)
    values = {"lr": spaces.Prior(*rules.get(name).rates).at(shares[0])}
    values |= {n: prior.at(u) for (n, prior), u in zip(space.items(), shares[1:], strict=False)}
    recipe = spaces.put(Recipe(name), values)
    assert recipe.lr == values["lr"] and recipe.optimizer == name
    if spaces.DECAY in space:
        assert recipe.weight_decay * recipe.lr == pytest.approx(values[spaces.DECAY], rel=0.01)
        slower = spaces.at_rate(recipe, recipe.lr / 7, space)
        assert slower.weight_decay * slower.lr == pytest.approx(recipe.weight_decay * recipe.lr, rel=0.02)
        assert spaces.at_rate(recipe, recipe.lr / 7, {}).weight_decay == recipe.weight_decay
    assert spaces.at_rate(recipe, recipe.lr, space) == recipe
    searched = {n for n in values if n not in ("lr", spaces.DECAY)}
    given_values = rules.rule.spread(recipe.as_dict())
    assert {n: given_values[n] for n in searched} == {n: values[n] for n in searched}


def test_what_a_recipe_says_is_not_searched():
    assert "warmup" in spaces.of(Recipe("sgd")) and "warmup" not in spaces.of(Recipe("sgd", schedule="constant"))
    assert {"beta1", "beta2"} <= spaces.of(Recipe("adam")).keys()
    assert not {"beta1", "beta2", spaces.DECAY} & spaces.of(Recipe("adam", betas=(0.9, 0.9), weight_decay=0.1)).keys()


@pytest.mark.parametrize("name", rules.TABLE)
def test_the_default_rate_lies_in_the_range(name):
    rule = rules.get(name)
    assert rule.rates[0] <= spaces.default_rate(Recipe(name), *rule.rates) <= rule.rates[1]
    assert spaces.default_rate(Recipe(name), 1e-30, 1e-28) == pytest.approx(1e-29)
    assert math.isclose(spaces.default_rate(Recipe("adamw"), 1e-4, 1e-1), 1e-3)
