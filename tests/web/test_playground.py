"""Races against `tw.minimize`, demonstrations with their known numbers, measured planes, and refusals."""

import json
import math
import zipfile

import numpy as np
import pytest
import torch

from thalweg import errors, rules
from thalweg.landscapes.classic import CLASSIC
from thalweg.minimization import minimize
from thalweg.web.documents import landscape, reading
from thalweg.web.playground import playground, race
from thalweg.web.playground.catalogue import RATES
from thalweg.web.playground.measured import Bicubic, plane
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


@pytest.fixture
def study(tmp_path):
    """A study's folder with a plane: a parabola and its description."""
    x, y = np.linspace(-3, 5, 17), np.linspace(-2, 2, 13)
    losses = (x[None] - 1) ** 2 / 4 + (y[:, None] + 0.5) ** 2 + 0.1 * x[None] * y[:, None]
    marks = [{"step": 20, "at": [1.0, 0.0]}, {"step": 0, "at": [-2.5, 1.5]}]
    said = {"task": "digits", "planes": [{"kind": "pca", "axes": ["u", "v"], "checkpoints": marks}]}
    folder = tmp_path / "study"
    folder.mkdir()
    np.savez_compressed(folder / "landscape.npz", **{"pca|x": x, "pca|y": y, "pca|losses": losses})
    (folder / "landscape.json").write_text(json.dumps(said))
    return folder


def test_a_measured_plane_is_raced_on(study):
    found = playground({"digits-1": study})
    (view,) = [one for one in found["surfaces"] if one["kind"] == "plane"]
    assert view["id"] == "digits-1:pca" and view["start"] == [-2.5, 1.5]
    assert "interpolated" in view["shows"] and "all dimensions" in view["does_not_show"]
    request = {"surface": view["id"], "steps": 80, "noise": 0.05, "seed": 2, "goal": 0}
    found = race({**request, "racers": [{"rule": "adam", "options": {"lr": 0.1}}]}, {"digits-1": study})
    fn = lambda p: (p[0] - 1) ** 2 / 4 + (p[1] + 0.5) ** 2 + 0.1 * p[0] * p[1]  # noqa: E731
    result = minimize(fn, [-2.5, 1.5], rule="adam", lr=0.1, steps=80, gradient_noise=0.05, seed=2, engine="reference")
    # The interpolation is exact on parabolas, so the race is the one on the formula.
    np.testing.assert_allclose(found["racers"][0]["x"], result.path[:, 0], rtol=1e-5, atol=1e-6)
    assert playground([study])["surfaces"][-1]["id"] == "study:pca"
    card = playground({"digits-1": study}, live=False)["presets"][0]
    assert card["surface"] == "digits-1:pca" and len(card["result"]["racers"]) == 8


def test_interpolation_is_exact_at_the_points_and_smooth_between():
    random = np.random.default_rng(1)
    x, y, values = np.linspace(-1, 2, 9), np.linspace(0, 3, 7), random.normal(size=(7, 9))
    surface = Bicubic(x, y, values)
    at = torch.from_numpy(np.stack(np.meshgrid(x, y), -1))
    np.testing.assert_allclose(surface(at).numpy(), values, atol=1e-13)
    points = torch.from_numpy(random.uniform((-1, 0), (2, 3), size=(50, 2)))
    assert torch.autograd.gradcheck(surface, points.requires_grad_(), eps=1e-6, atol=1e-6)
    wide = torch.from_numpy(random.uniform((-3, -2), (4, 5), size=(80, 2))).requires_grad_()
    (slopes,) = torch.autograd.grad(surface(wide).sum(), wide)
    np.testing.assert_allclose(surface.gradient(wide.detach().numpy()), slopes, rtol=1e-12, atol=1e-12)
    for step in (1e-9, -1e-9):  # the gradient is continuous across a border of cells
        beside = torch.tensor([[x[4] + step, 1.234]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(surface(beside).sum(), beside)
        middle = torch.tensor([[x[4], 1.234]], dtype=torch.float64, requires_grad=True)
        np.testing.assert_allclose(slope, torch.autograd.grad(surface(middle).sum(), middle)[0], atol=1e-6)


def test_outside_of_the_plane_there_is_a_wall():
    surface = Bicubic(np.linspace(0, 1, 5), np.linspace(0, 1, 5), np.tile(np.linspace(1, 0, 5), (5, 1)))
    beyond = torch.tensor([1.0, 1.5, 2.0, 3.0], dtype=torch.float64)
    heights = surface(torch.stack([beyond, torch.full((4,), 0.5, dtype=torch.float64)], -1))
    assert (heights.diff() > 0).all() and heights[0].abs() < 1e-12


def test_holes_in_a_plane_stand_high(study):
    with np.load(study / "landscape.npz") as arrays:
        kept = dict(arrays)
    kept["pca|losses"][0, :3] = np.inf
    np.savez_compressed(study / "landscape.npz", **kept)
    surface = plane("a", study)
    assert "as high as the highest: 3." in surface.shows
    values = surface.view()["values"]
    assert all(value is not None for value in values) and max(values) < 30


def test_a_plane_that_would_not_fit_is_not_unpacked(study, monkeypatch):
    with zipfile.ZipFile(study / "landscape.npz", "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("more.npy", bytes(300_000))
    for module in (landscape, reading):
        monkeypatch.setattr(module, "MOST", 200_000)
    assert (study / "landscape.npz").stat().st_size < 200_000
    with pytest.raises(errors.BadStudy, match="too large"):
        plane("a", study)
    assert len(playground({"a": study})["surfaces"]) == len(SURFACES)


def test_a_plane_for_which_there_is_no_memory(study):
    with zipfile.ZipFile(study / "landscape.npz", "w") as packed, packed.open("pca|x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**58,)})
    with pytest.raises(errors.BadStudy, match="cannot be read"):
        plane("a", study)
    assert len(playground({"a": study})["surfaces"]) == len(SURFACES)


@pytest.mark.parametrize("damage", ["deep", "json", "npz", "keys", "shape", "uneven", "pickle"])
def test_a_plane_that_cannot_be_read(study, damage):
    with np.load(study / "landscape.npz") as arrays:
        kept = dict(arrays)
    if damage == "deep":
        (study / "landscape.json").write_text("[" * 5000 + "]" * 5000)
    elif damage == "json":
        (study / "landscape.json").write_text("{")
    elif damage == "npz":
        (study / "landscape.npz").write_bytes(b"PK\x03\x04 nothing")
    else:
        change = {
            "keys": {"pca|x": None},
            "shape": {"pca|losses": np.ones((3, 3))},
            "uneven": {"pca|x": np.geomspace(1, 9, 17)},
            "pickle": {"pca|losses": np.array([object()], dtype=object)},
        }[damage]
        merged = {name: value for name, value in (kept | change).items() if value is not None}
        np.savez_compressed(study / "landscape.npz", **merged)
    with pytest.raises(errors.BadStudy, match="cannot be read"):
        race({"surface": "a:pca", "racers": [{"rule": "sgd"}]}, {"a": study})
    assert len(playground({"a": study})["surfaces"]) == len(SURFACES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surface": "beal"}, "unknown surface 'beal'"),
        ({"surface": "../../etc:pca"}, "unknown surface"),
        ({"surface": None}, "surface must be"),
        ({"start": [1.0]}, "start must be two finite numbers"),
        ({"start": [math.nan, 0.0]}, "start must be"),
        ({"start": [True, 0.0]}, "start must be"),
        ({"steps": 5001}, "whole number from 1 to 5000"),
        ({"steps": 0}, "steps must be"),
        ({"steps": 10.5}, "steps must be"),
        ({"noise": -1}, "noise must be"),
        ({"noise": math.inf}, "noise must be"),
        ({"clip": 0}, "clip must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be"),
        ({"goal": "near"}, "goal must be"),
        ({"racers": []}, "1 to 16 racers"),
        ({"racers": [{"rule": "sgd"}] * 17}, "1 to 16 racers"),
        ({"racers": [{"options": {}}]}, "each with a rule"),
        ({"racers": [{"rule": "adm"}]}, "unknown optimizer 'adm'"),
        ({"racers": [{"rule": "sgd", "lr": 1}]}, "unknown field of a racer 'lr'"),
        ({"racers": [{"rule": "sgd", "options": [1]}]}, "options must be an object"),
        ({"racers": [{"rule": "sgd", "options": {"rate": 1}}]}, "unknown option 'rate'"),
        ({"racers": [{"rule": "sgd", "options": {"lr": "fast"}}]}, "lr must be"),
        ({"racers": [{"rule": "sgd", "options": {"fall": 3}}]}, "fall must be"),
        ({"racers": [{"rule": "adam", "options": {"beta1": 1}}]}, "betas must be"),
        ({"racers": [{"rule": "nesterov", "options": {"momentum": 0}}]}, "needs momentum"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_refused(change, message):
    with pytest.raises(errors.BadOption, match=message):
        race({"surface": "beale", "racers": [{"rule": "sgd"}], **change})


def test_refused_as_a_whole():
    with pytest.raises(errors.BadOption, match="must be an object"):
        race([1])
    with pytest.raises(errors.BadOption, match="no minimum that stands still"):
        race({"surface": "slope", "goal": 0.1, "racers": [{"rule": "sgd"}]})


HUGE = 10**400


@pytest.mark.parametrize(
    "field", [{"start": [HUGE, 0]}, {"noise": HUGE}, {"clip": HUGE}, {"goal": HUGE}, {"steps": HUGE}, {"seed": HUGE},
              {"racers": [{"rule": "sgd", "options": {"lr": HUGE}}]}, {"racers": [{"rule": "sgd", "options": {"fall": HUGE}}]},
              {"racers": [{"rule": "sgd", "options": {"counted": HUGE}}]}]
)  # fmt: skip
def test_numbers_that_no_float_can_hold_are_refused(field):
    with pytest.raises(errors.BadOption):
        race({"surface": "beale", "racers": [{"rule": "sgd"}]} | field)
