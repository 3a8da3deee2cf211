"""Models as a recipe wants them."""

import copy
import pickle

import pytest
import torch
from networks import Residual, mlp
from torch import nn

import thalweg as tw
from thalweg import loop
from thalweg.building import build
from thalweg.errors import BadOption
from thalweg.stacked import Entry


def test_a_task_supplies_the_prior_of_its_training_targets():
    x = torch.randn(400, 3)
    y = (torch.arange(400) % 10 == 0).long()
    task = tw.Task(model=lambda: nn.Linear(3, 2), train=(x, y), valid=(x[:40], y[:40]), batch_size=20, epochs=1)
    model = build(task, tw.Recipe("sgd", lr=0.1, init="output_bias"), 0)
    assert model.bias.exp().tolist() == pytest.approx([0.9, 0.1], abs=1e-6)


def test_the_rates_of_mup_come_with_the_model():
    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 3))
    recipe = tw.Recipe("adam", lr=0.1, init="mup(64)", groups={"4.weight": {"lr_scale": 3.0}})
    recipe.initialize(net, torch.randn(8, 4))
    rates = {g["param_names"][0]: g["lr"] for g in recipe.parameter_groups(net)}
    assert (
        rates["2.weight"] == pytest.approx(0.1) and rates["4.weight"] == pytest.approx(0.3) and rates["0.weight"] == 0.1
    )
    recipe = recipe.but(groups=None)
    rates = {g["param_names"][0]: g["lr"] for g in recipe.parameter_groups(net)}
    assert rates["4.weight"] == pytest.approx(0.1 * 64 / 256)
    optimizer, _ = recipe.build(copy.deepcopy(net), 10)
    assert len(optimizer.param_groups) == 3
    plain = {n: g["lr"] for g in recipe.but(optimizer="momentum").parameter_groups(net) for n in g["param_names"]}
    assert plain == pytest.approx(
        {"0.weight": 0.1, "0.bias": 0.1, "2.weight": 0.1, "2.bias": 0.4, "4.weight": 0.1 * 64 / 256, "4.bias": 0.1}
    )
    decayed = recipe.but(groups={"*": {"weight_decay": 0.5}}).parameter_groups(net)
    assert {g["lr"] for g in decayed} == {0.1, 0.025} and all(g["weight_decay"] == 0.5 for g in decayed)


def test_an_initialization_that_fails_leaves_the_weights(toy):
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    before = copy.deepcopy(net.state_dict())
    for init in ("fixup", "he_normal+zero_residual", "he_normal+output_bias"):
        with pytest.raises(BadOption):
            tw.Recipe("sgd", lr=0.1, init=init).initialize(net, torch.randn(8, 4))
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    residual = Residual()
    residual.n2.requires_grad_(False)
    tw.Recipe("sgd", lr=0.1, init="zero_residual").initialize(residual, torch.randn(8, 1, 6, 6))
    assert (residual.n2.weight == 1).all()


def test_what_is_frozen_keeps_its_weights():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    before = copy.deepcopy(net.state_dict())
    recipe = tw.Recipe("sgd", lr=0.1, init="he_normal+lsuv", norm="layer", freeze=["0.*"])
    swap_, done = recipe.initialize(net, torch.randn(32, 4))
    after = net.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"]) and torch.equal(after["0.bias"], before["0.bias"])
    assert not torch.equal(after["2.weight"], before["2.weight"]) and done.rows[0].scheme == "frozen"
    swap_.undo()
    assert all(p.requires_grad for p in net.parameters()) and set(net.state_dict()) == set(before)


def test_targets_that_are_sorted_give_the_same_prior():
    x, y = torch.randn(30_000, 2), torch.arange(3).repeat_interleave(10_000)
    task = tw.Task(model=lambda: nn.Linear(2, 3), train=(x, y), valid=(x[::100], y[::100]), batch_size=100, epochs=1)
    model = build(task, tw.Recipe("sgd", lr=0.1, init="output_bias"), 0)
    assert torch.allclose(model.bias.softmax(0), torch.full((3,), 1 / 3))
    rows = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(rows, batch_size=100, shuffle=True)
    task = tw.Task(model=lambda: nn.Linear(2, 3), train=loader, valid=(x[::100], y[::100]), epochs=1)
    model = build(task, tw.Recipe("sgd", lr=0.1, init="output_bias"), 0)
    assert torch.allclose(model.bias.softmax(0), torch.full((3,), 1 / 3), atol=0.03)


def test_a_recipe_with_init_survives_toml_and_differs_from_others():
    a = tw.Recipe("sgd", lr=0.1, init="he_normal+zero_residual", norm="group(4)")
    assert tw.Recipe.from_toml(a.to_toml()) == a and a.diff(tw.Recipe("sgd", lr=0.1))["norm"] == ("group(4)", "keep")
    net, x = mlp(), torch.randn(6, 4)
    with pytest.raises(BadOption, match="norm=layer, init=lsuv was not carried out"):
        tw.Recipe("sgd", lr=0.1, init="lsuv", norm="layer").build(net)
    recipe = tw.Recipe("sgd", lr=0.1, init="lsuv", norm="layer")
    recipe.initialize(net, x, seed=3)
    optimizer, _ = recipe.build(net, steps=10)
    assert len(optimizer.param_groups[0]["params"]) == len(list(net.parameters())) == 10


@pytest.mark.parametrize("scheme", ["lsuv", "he_normal+output_bias", "orthogonal"])
def test_members_of_a_cohort_train_as_they_do_alone(scheme):
    task = tw.Task.load("digits")
    recipes = [
        tw.Recipe("sgd", lr=0.1, init=scheme),
        tw.Recipe("adam", lr=1e-2),
        tw.Recipe("sgd", lr=0.1, init="zeros"),
    ]
    entries = [Entry(recipe, seed, 20) for seed, recipe in enumerate(recipes)]
    runs, cohort = loop.run_cohort(task, entries, [1] * 3, splits=("select",))
    assert type(cohort).__name__ == "Stacked"
    for entry, run in zip(entries, runs, strict=True):
        alone, _ = loop.run(task, entry.recipe, entry.seed, steps=20)
        assert run.trace.loss == pytest.approx(alone.trace.loss, rel=1e-4)


def test_copies_of_a_model_that_was_initialized_are_initialized():
    recipe, net = tw.Recipe("sgd", lr=0.1, init="orthogonal", norm="layer"), mlp()
    recipe.initialize(net, torch.randn(6, 4))
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        recipe.build(twin, steps=3)
        x = torch.randn(6, 4)
        assert torch.equal(twin(x), net(x)), "with its normalization"


def test_what_does_not_fit_the_model_is_found_before_the_first_run(tmp_path):
    task = tw.Task.load("digits")
    with pytest.raises(BadOption, match="adam norm=instance: norm: 0: instance norm averages over positions"):
        tw.compare(task, field=["adam"], axes={"norm": ["keep", "instance"]}, folder=tmp_path / "s", quiet=True)
    assert not (tmp_path / "s").exists()


def test_train_says_what_was_done_to_the_model(tmp_path, capsys):
    recipe = tw.Recipe("adam", lr=1e-3, norm="batch", init="he_normal")
    tw.train("digits", recipe, folder=tmp_path / "run")
    said = capsys.readouterr().err
    assert "0.norm: BatchNorm1d(32)" in said and "output  he_normal" in said
    assert "BatchNorm1d(32)" in (tmp_path / "run" / "built.txt").read_text()


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
def test_zeros_stay_at_chance(rate):
    run = tw.train("digits", tw.Recipe("sgd", lr=rate, init="zeros"), quiet=True)
    assert run.outcome.status == "finished" and run.final["accuracy"] < 0.15, "only the output's bias learns"
