"""Races against `tw.minimize`, and demonstrations with their known numbers."""

import json

import numpy as np
import pytest
import torch

from thalweg import rules
from thalweg.landscapes.classic import CLASSIC
from thalweg.minimization import minimize
from thalweg.web.playground import playground, race
from thalweg.web.playground.catalogue import RATES
from thalweg.web.playground.presets import PRESETS
from thalweg.web.playground.racing import Request, run
from thalweg.web.playground.surfaces import SURFACES

CARDS = {preset.id: preset for preset in PRESETS}


STILL = [name for name, surface in SURFACES.items() if surface.drift == (0.0, 0.0)]


def raced(surface, racers, **request):
    given = {"surface": surface, "racers": [{"rule": rule, "options": options} for rule, options in racers], **request}
    return run(Request.read(given), SURFACES[surface])


def steps(card, **change):
    """Of each racer of a card how it ended and after how many steps."""
    found = race({**CARDS[card].request, **change})["racers"]
    return [(one["status"], one["steps"]) for one in found]


def same(racer, result):
    """Whether two paths agree to 1e-12 of how far they reach."""
    path = np.array(racer.path)
    assert path.shape == result.path.shape, (len(path), len(result.path))
    reach = 1 + np.abs(result.path[np.isfinite(result.path).all(1)]).max()
    np.testing.assert_allclose(path, result.path, rtol=1e-12, atol=1e-12 * reach)


@pytest.mark.parametrize("surface", STILL)
def test_every_rule_takes_the_steps_of_minimize(surface):
    for noise, clip in ((0.0, None), (0.1, 0.7)):
        racers = [(name, {"lr": 0.01 * rule.rates[1]}) for name, rule in rules.TABLE.items()]
        halves = racers[: len(racers) // 2], racers[len(racers) // 2 :]
        for racer in (
            one for half in halves for one in raced(surface, half, steps=30, noise=noise, clip=clip, seed=5, goal=0)
        ):
            own = {"lr": 0.01 * racer.rule.rates[1], "engine": "reference"}
            start, fn = list(SURFACES[surface].start), SURFACES[surface].fn
            same(
                racer,
                minimize(fn, start, rule=racer.rule, steps=30, gradient_noise=noise, clip_norm=clip, seed=5, **own),
            )


@pytest.mark.parametrize("rule", rules.TABLE)
def test_the_compiled_rules_take_them_too(rule):
    lr = RATES.get(rule, 0.05)
    (racer,) = raced("himmelblau", [(rule, {"lr": lr})], steps=60, start=[0.5, 0.2], goal=0)
    result = minimize(CLASSIC["himmelblau"].fn, [0.5, 0.2], rule=rule, lr=lr, steps=60)
    np.testing.assert_allclose(racer.path, result.path, rtol=1e-9, atol=1e-9)


def test_options_reach_the_rule():
    options = {"lr": 0.05, "beta1": 0.5, "beta2": 0.9, "weight_decay": 0.1, "amsgrad": True}
    (racer,) = raced("beale", [("adamw", options)], steps=20)
    own = {"lr": 0.05, "betas": (0.5, 0.9), "weight_decay": 0.1, "amsgrad": True, "engine": "reference"}
    same(racer, minimize(CLASSIC["beale"].fn, [1.0, 1.0], rule="adamw", steps=20, **own))
    (falling,) = raced("beale", [("sgd", {"lr": 0.02, "fall": 0.5})], steps=20)
    scheduled = minimize(
        CLASSIC["beale"].fn, [1.0, 1.0], rule="sgd", steps=20, lr=0.02, schedule=lambda k: (k + 1) ** -0.5
    )
    np.testing.assert_allclose(falling.path, scheduled.path, rtol=1e-12)


def test_where_python_raises_and_arithmetic_does_not():
    (racer,) = raced("drifting-bowl", [("rmsprop", {"lr": 0.1, "eps": 0.0})], steps=5)
    assert racer.status == "diverged" and len(racer.path) == 2  # 0 / 0 in the first step
    (adam,) = raced("slope", [("adam", {"lr": 1e308, "eps": 0.0})], steps=5)
    assert adam.status == "diverged"


def test_all_racers_have_the_same_noise():
    first, second = raced("slope", [("sgd", {"lr": 0.1}), ("sgd", {"lr": 0.1})], steps=40, noise=0.5, seed=3)
    assert first.path == second.path
    assert raced("slope", [("sgd", {"lr": 0.1})], steps=40, noise=0.5, seed=4)[0].path != first.path
    moves = -np.diff(np.array(first.path), axis=0) / 0.1 - (1, 0.1)
    assert 0.35 < moves.std() < 0.65 and abs(moves.mean()) < 0.2


def test_d1_saddles():
    names = [rule for rule, _ in CARDS["d1"].racers]
    assert names == ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"]
    assert steps("d1") == [("reached", n) for n in (272, 75, 68, 18, 4, 11)]
    assert steps("d1-ridge") == [("finished", 2000)] * 6
    assert steps("d1-open") == [("reached", n) for n in (698, 140, 132, 1263, 72, 77)]


def test_d1_noise_frees_them():
    counts = np.array([[n for _, n in steps("d1-ridge", noise=1e-3, seed=seed)] for seed in range(10)])
    gd, momentum, _, _, rmsprop, adam = np.median(counts, axis=0)
    assert 155 <= gd <= 206 and 40 <= momentum <= 58 and adam == 11 and rmsprop == 4


def test_d2_ravines():
    assert steps("d2") == [("reached", n) for n in (709, 1375, 95, 264)]
    assert steps("d2-gentle") == [("reached", n) for n in (71, 132, 27, 249)]


def test_d3_double_well():
    ends = [one["x"][-1] for one in race(CARDS["d3"].request)["racers"]]
    assert ends == pytest.approx([0.914, 0.914, -1.068, -1.068], abs=5e-4)


def test_d4_inflection():
    gd, momentum, nesterov, *adaptive = steps("d4")
    assert momentum == ("reached", 36) and nesterov[0] == "reached" and abs(nesterov[1] - 47) <= 1
    assert [gd, *adaptive] == [("finished", 2000)] * 4
    found = race(CARDS["d4"].request)["racers"]
    assert all(max(found[i]["x"]) <= 0 for i in (0, 3, 4, 5))


def test_d5_constant_slope():
    _, adam, uncorrected, _ = raced("slope", CARDS["d5"].racers, steps=200)
    np.testing.assert_allclose(-np.diff(np.array(adam.path), axis=0), 0.01, rtol=2e-4)
    lengths = -np.diff(np.array(uncorrected.path)[:, 0]) / 0.01
    assert lengths[0] == pytest.approx(3.16, abs=0.005)
    assert lengths.max() == pytest.approx(6.57, abs=0.005) and lengths.argmax() + 1 == 12


def test_d6_beale():
    assert steps("d6") == [("reached", n) for n in (1196, 110, 147, 295, 167, 246)]
    assert [status for status, _ in steps("d6-far")][:3] == ["diverged"] * 3
    assert steps("d6-clipped") == [("reached", 1811), ("reached", 144)]


def test_d7_edge_of_stability():
    assert [status for status, _ in steps("d7")] == ["reached", "finished", "reached", "finished"]
    racers = race(CARDS["d7"].request)["racers"]
    assert all(racers[i]["loss"][-1] > 1e6 and "higher" in racers[i]["message"] for i in (1, 3))


def test_d8_the_axes():
    adagrad, adam, *plain = steps("d8")
    assert (adagrad, adam) == (("reached", 17), ("reached", 130))
    turned_adagrad, turned_adam, *turned = steps("d8-turned")
    assert (turned_adagrad, turned_adam) == (("reached", 1365), ("reached", 1093))
    assert turned == plain


def test_d9_drifting_target():
    card = CARDS["d9"]
    racers = raced(card.surface, card.racers, steps=card.steps, noise=card.noise)
    paths = [np.array(racer.path)[1:, 0] for racer in racers]
    errors_ = [np.abs(path - 0.01 * np.arange(4000))[2000:].mean() for path in paths]
    for got, expected, slack in zip(
        errors_, (0.096, 0.084, 0.444, 0.53, 15.0), (0.012, 0.01, 0.025, 0.02, 0.05), strict=True
    ):
        assert got == pytest.approx(expected, abs=slack)


def test_the_numbers_in_the_cards_are_those_that_come_out():
    for card in ("d1", "d1-open", "d2", "d6", "d6-clipped", "d8", "d8-turned"):
        counts = {n for status, n in steps(card) if status == "reached"}
        said = {int(word.strip(",.;:")) for word in CARDS[card].see.split() if word.strip(",.;:").isdigit()}
        assert {n for n in said if n > 20} <= counts | {100}, card


def test_every_card_is_a_race_that_its_surface_knows():
    assert {card.id.split("-")[0] for card in PRESETS} == {f"d{i}" for i in range(1, 10)}
    for card in PRESETS:
        assert card.see.endswith(".") and card.not_.endswith(".") and Request.read(card.request).racers
        (low, high), (bottom, top) = SURFACES[card.surface].bounds
        assert low <= card.start[0] <= high and bottom <= card.start[1] <= top


def test_the_document_is_json_and_its_grid_is_the_surface():
    found = playground()
    assert json.loads(json.dumps(found, allow_nan=False)) == found and found["live"]
    assert sum(one["kind"] == "classic" for one in found["surfaces"]) >= 9
    for view in found["surfaces"]:
        width, height = view["width"], view["height"]
        assert len(view["values"]) == width * height
        x, y = (np.linspace(*span, n) for span, n in zip(view["bounds"], (width, height), strict=True))
        i, j = width // 3, height // 4
        value = SURFACES[view["id"]].fn(torch.tensor([x[i], y[j]], dtype=torch.float64)).item()
        assert view["values"][j * width + i] == pytest.approx(value, rel=1e-3, abs=1e-12)
    assert {rule["name"] for rule in found["rules"]} == set(rules.TABLE)
    for rule in found["rules"]:
        values = {option["name"]: option["value"] for option in rule["options"]}
        assert all(option["low"] <= option["value"] <= option["high"] for option in rule["options"])
        assert race({"surface": "himmelblau", "steps": 2, "racers": [{"rule": rule["name"], "options": values}]})[
            "racers"
        ]


def test_lowest_minima_are_marked():
    for surface in SURFACES.values():
        if surface.kind == "classic" and surface.minima and surface.drift == (0.0, 0.0):
            values = surface.heights(np.array(surface.minima))
            lowest = min(surface.view((61, 61))["values"])
            assert max(values) <= lowest + 1e-3 * abs(lowest) + 1e-20 and np.ptp(values) < 1e-9


def test_inside_a_report_the_results_are_there():
    found = playground(live=False)
    assert not found["live"] and len(json.dumps(found)) < 1_500_000
    shown = {view["id"] for view in found["surfaces"]}
    for card in found["presets"]:
        assert card["surface"] in shown and card["result"]["racers"]
        if card["id"] not in ("d1", "d5", "d6", "d7"):  # two of them whole, two thinned
            continue
        every, whole = card["result"]["every"], race({key: card[key] for key in CARDS[card["id"]].request})
        for short, full in zip(card["result"]["racers"], whole["racers"], strict=True):
            assert short["steps"] == full["steps"] and short["x"][:-1] == full["x"][:-1:every]
            assert short["x"][-1] == full["x"][-1] and len(short["x"]) <= 502 and every % 2
