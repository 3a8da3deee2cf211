"""Looking at layers over a run: the run is the same to the bit, and what is told is what the weights say."""

import json
import math

import numpy as np
import pytest
import torch
from contract import wrong
from studies import columns_of
from torch import nn

import thalweg as tw
from thalweg import building, loop
from thalweg.cli import main
from thalweg.cohort import Solo
from thalweg.errors import BadOption, BadStudy
from thalweg.layering import FILE, follow, spaced
from thalweg.seeds import stream
from thalweg.store import load_weights
from thalweg.web.documents import layers as document


def noisy(norm=True):
    """Dropout and batch norm: a run that a careless look would disturb."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 6, generator=generator), torch.randint(3, (200,), generator=generator)

    def net():
        middle = [nn.BatchNorm1d(12)] if norm else []
        return nn.Sequential(nn.Linear(6, 12), *middle, nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(12, 3))

    return tw.Task(model=net, train=(x[:160], y[:160]), valid=(x[160:], y[160:]), batch_size=16, epochs=3, name="noisy")


@pytest.mark.parametrize("recipe", [tw.Recipe("adamw", lr=1e-2, clip_norm=1.0), tw.Recipe("schedulefreesgd", lr=0.1)])
def test_a_run_does_not_notice_that_it_is_looked_at(recipe):
    task = noisy()
    own, _ = loop.run(task, recipe, 3, evaluations=0, splits=())
    before = torch.get_rng_state()
    followed = follow(noisy(), recipe, 3, len(own.trace), looks=10)
    assert torch.equal(before, torch.get_rng_state())
    assert followed.trace.loss == own.trace.loss and followed.trace.grad_norm == own.trace.grad_norm
    assert len(followed.seen) == len(followed.steps) >= 8
    with stream(3, "dropout"):  # the weights as they are after the last update, before an average takes their place
        solo = Solo(noisy(), recipe, 3, len(own.trace))
        data = solo.task.prepare()
        loop.train(solo, loop.updates(data.train, data.batch_size, 1, 3), [loop.Course(len(own.trace))])
    for name, value in solo.model.state_dict().items():
        assert torch.equal(followed.model.state_dict()[name], value), name


def test_quantities_are_those_of_the_weights_and_rows():
    task, recipe = noisy(norm=False), tw.Recipe("sgd", lr=0.1, schedule="constant")
    seen = follow(task, recipe, 0, 30, looks=4)
    assert seen.steps == [0, 1, 5, 30]
    x = building.sample(task).inputs.double().numpy()
    with stream(0, "dropout"):  # the same run, stopped one update before the last look
        solo = Solo(task, recipe, 0, 30)
        data = task.prepare()
        loop.train(solo, loop.updates(data.train, data.batch_size, 1, 0), [loop.Course(29)])
    before = solo.model[0].weight.detach().double().numpy()
    first, last = seen.model[0], seen.seen[-1].layers[0]
    weight, bias = (p.detach().double().numpy() for p in (first.weight, first.bias))
    active = np.maximum(x @ weight.T + bias, 0)
    assert last.std == pytest.approx(active.std(), rel=1e-5) and last.mean == pytest.approx(active.mean(), rel=1e-5)
    assert last.dead == (active == 0).all(0).mean()
    assert last.update_ratio == pytest.approx(np.linalg.norm(weight - before) / np.linalg.norm(before), rel=1e-5)
    assert math.isnan(seen.seen[0].layers[0].update_ratio)
    values = np.linalg.svd(active, compute_uv=False)
    shares = values[values > 1e-12] / values.sum()
    few = active[:: -(-len(active) // 128)]
    values = np.linalg.svd(few, compute_uv=False)
    shares = values[values > 1e-10] / values.sum()
    assert last.effective_rank == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-4)


def test_gradients_are_those_on_the_rows():
    task = noisy(norm=False)
    seen = follow(task, tw.Recipe("sgd", lr=0.1), 0, 5, looks=2)
    model, batch = seen.model.eval(), building.sample(task)
    task.loss_of(model, batch).backward()
    for layer, module in zip(seen.seen[-1].layers, (model[0], model[3]), strict=True):
        assert layer.gradient_norm == pytest.approx(module.weight.grad.norm().item(), rel=1e-5)


def test_the_best_recipes_final_is_followed(study):
    found = tw.layers(study, looks=8, quiet=True)
    assert found.complete and found.folder == study.folder and found.rows > 0
    assert found.notes == ()  # its last loss is the recorded one
    name = next(k for k in columns_of(study.folder) if k.startswith("final") and k.endswith(str(found.seed)))
    assert found.steps[-1] == 40 and name
    again = follow(study.best.task, study.best.recipe, study.best.seed, 40, looks=3)
    kept = load_weights(study.best.model_file)
    assert all(torch.equal(again.model.state_dict()[key], value) for key, value in kept.items())


def test_what_is_written_is_what_the_page_expects(study):
    own = json.loads((study.folder / FILE).read_text())
    shown = document.document(study.folder)
    assert not wrong(shown, "Layers")
    assert [q["key"] for q in shown["quantities"]] == [
        "std",
        "mean",
        "dead",
        "gradient_norm",
        "update_ratio",
        "effective_rank",
    ]
    for quantity in shown["quantities"]:
        assert len(quantity["values"]) == len(own["layers"]) == 2
        assert all(len(row) == len(own["steps"]) for row in quantity["values"])
    assert shown["recipe"] == str(study.best.recipe) and shown["experiments"] is None


def test_a_run_can_be_followed_by_its_folder_or_itself(alone, tmp_path):
    found = tw.layers(alone, looks=4, folder=tmp_path / "new", quiet=True)
    assert (tmp_path / "new" / FILE).exists() and not (alone / FILE).exists() and found.notes == ()
    task = noisy()
    run = tw.train(task, tw.Recipe("sgd", lr=0.1), quiet=True)
    assert tw.layers(run, task=task, looks=3, quiet=True).folder is None
    with pytest.raises(BadOption, match="hold its task"):
        tw.layers(run, quiet=True)


def test_a_run_that_diverges_is_told_up_to_there(tmp_path):
    task = noisy()
    run = tw.train(task, tw.Recipe("sgd", lr=1e30, schedule="constant"), folder=tmp_path / "run", quiet=True)
    found = tw.layers(run, task=task, looks=20, quiet=True)
    assert not found.complete and "ended at step" in found.notes[0]
    json.dumps(document.document(tmp_path / "run"), allow_nan=False)
    assert not wrong(document.document(tmp_path / "run"), "Layers")


def test_the_command_prints_a_table_and_where_it_was_written(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["layers", str(study.folder), "--looks", "5", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "relu" in printed and str(study.folder / FILE) in printed
    assert all(len(line) <= 110 for line in printed.splitlines()[2:5])
    assert main(["layers", str(study.folder), "--looks", "5", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(study.folder / FILE)


def test_what_is_refused(tmp_path, capsys):
    with pytest.raises(BadStudy):
        tw.layers(tmp_path / "nothing", quiet=True)
    with pytest.raises(BadOption, match="looks"):
        tw.layers(tmp_path, looks=0)
    assert main(["layers", str(tmp_path / "nothing")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_steps_are_spaced_in_the_logarithm():
    found = spaced(10_000, 41)
    assert found[0] == 0 and found[-1] == 10_000 and len(found) <= 41
    late = np.diff(np.log(found[15:]))
    assert late.max() < 1.2 * late.min() + 0.02
    assert spaced(1, 40) == [0, 1] and spaced(5, 1) == [0]


def test_a_run_that_is_judged_by_averages_says_that_the_looks_are_not(tmp_path):
    notes = {}
    for name, recipe in {"raw": tw.Recipe("sgd", lr=0.1), "mean": tw.Recipe("sgd", lr=0.1, average=0.9)}.items():
        run = tw.train(noisy(), recipe, quiet=True)
        notes[name] = tw.layers(run, task=noisy(), looks=3, quiet=True).notes
    assert any("averages of the weights" in note for note in notes["mean"])
    assert not any("averages" in note for note in notes["raw"])
