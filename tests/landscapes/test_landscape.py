"""The verb: checkpoints, kinds of slices and planes, what is written, what is refused."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg import cli
from thalweg.errors import BadOption, BadTask
from thalweg.landscapes import replay
from thalweg.landscapes.views import sample

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(300, 6, generator=GENERATOR)
Y = (X[:, 0] * X[:, 1] > 0).long()


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def normed():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def toy(make=net, **options):
    return tw.Task(model=make, train=(X[:200], Y[:200]), valid=(X[200:], Y[200:]), batch_size=20, epochs=3, **options)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landscape") / "study"
    return tw.compare(toy(), field=["momentum", "adam"], budget="40 runs", quiet=True, folder=folder)


def small(what, **options):
    return tw.landscape(what, **{"resolution": 9, "rows": 100, "quiet": True, "slices": [], "planes": []} | options)


def test_a_trajectory_is_the_run_itself():
    task, recipe = toy(), tw.Recipe("adam", lr=1e-2)
    run = tw.train(task, recipe, seed=4, quiet=True)
    found = replay(task, recipe, 4, checkpoints=3)
    assert found.steps == [0, 10, 20, 30]
    assert found.recorded[-1] == run.final["loss"]
    for name, x in run.model.state_dict().items():
        assert torch.equal(found.states[-1][name], x)


def test_runs_of_processes_are_trained_again_on_one_thread_as_they_were(tmp_path, monkeypatch):
    from thalweg.landscapes import subject

    study = tw.compare(toy(), field=["sgd"], budget="14 runs", executor="processes", quiet=True, folder=tmp_path / "s")
    seen = []

    def counted(*args, **options):
        seen.append(torch.get_num_threads())
        return replay(*args, **options)

    monkeypatch.setattr(subject, "replay", counted)
    torch.set_num_threads(2)
    try:
        found = small(study, slices=["line"], runs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [1]
    assert not [note for note in found.notes if "trained again" in note]


def test_averaged_weights_are_those_that_were_evaluated():
    task, recipe = toy(normed), tw.Recipe("adam", lr=1e-2, average=0.9)
    run = tw.train(task, recipe, quiet=True)
    assert replay(task, recipe, 0, checkpoints=3).recorded[-1] == pytest.approx(run.final["loss"], rel=1e-6)


def test_a_study_with_its_runs(study):
    found = tw.landscape(study, planes=["pca", "random", "eigen", "three"], resolution=9, rows=100, quiet=True)
    assert list(found.planes) == ["pca", "random", "eigen", "three"]
    assert list(found.slices) == ["line", "random", "gradient", "top", "bottom"]
    assert found.apart < 1e-5
    pca = found.planes["pca"]
    assert {mark.run for mark in pca.marks} <= {s.name for s in study.finalists}
    for mark in pca.marks:
        assert mark.measured == pytest.approx(mark.recorded, rel=1e-5)
        assert pca.coordinates[0][0] <= mark.at[0] <= pca.coordinates[0][-1]
    assert sum(pca.explained) <= 1 + 1e-12 and max(mark.off for mark in pca.marks) > 0
    middle = found.planes["random"]
    assert middle.losses[4, 4] == pytest.approx(found.loss, rel=1e-6) and middle.marks[0].at == (0.0, 0.0)
    line = found.slices["line"]
    assert [mark.at[0] for mark in line.marks] == pytest.approx([0.0, 1.0])
    assert line.others["select"].shape == line.losses.shape == (9,)
    written = json.loads((study.folder / "landscape.json").read_text())
    with np.load(study.folder / "landscape.npz") as arrays:
        assert np.array_equal(arrays["pca|losses"], pca.losses)
    assert written["axes"] == list(pca.names) and written["shape"] == [9, 9]
    assert written["checkpoints"][0].keys() >= {"run", "step", "at", "off", "loss", "recorded", "measured"}
    assert "pca" in str(found) and "variance" in str(found)


def test_the_model_and_the_random_numbers_are_left_alone():
    task = toy(normed)
    model = task.build(0).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    state = torch.random.get_rng_state()
    small(model, task=task, planes=["random", "eigen"], slices=["gradient"], convex=3, walls=True)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert model.training and all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_mini_batches_over_the_first_plane():
    task = toy()
    found = small(task.build(0), task=task, planes=["random"], both=True, batches=3).planes["random"]
    assert set(found.others) == {"select", "batch 1", "batch 2", "batch 3"}
    assert not np.allclose(found.others["batch 1"], found.others["batch 2"])


def test_ways_walls_and_chords(study):
    found = small(study, connect=True, walls=True, convex=20)
    assert set(found.connections) == {"line", "matched line", "curve"}
    assert found.connections["curve"].barrier <= found.connections["line"].barrier + 1e-9
    assert found.convexity is not None and found.convexity.segments <= 20
    assert found.walls is not None and {w.direction for w in found.walls.walls} == {"steepest", "softest", "random"}
    assert found.walls.between is not None and found.escapes is not None
    assert found.matched.distance[1] <= found.matched.distance[0]


def test_batch_norms_go_by_the_batch_unless_asked():
    task = toy(normed)
    model = task.build(0)
    words = [small(model, task=task, planes=["random"], norm=n).planes["random"].words[-2] for n in (None, "running")]
    assert "each batch's own" in words[0] and "the model in the middle" in words[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"planes": ["pcs"]}, "pcs"),
        ({"slices": ["down"]}, "down"),
        ({"resolution": 0}, "resolution"),
        ({"norm": "layer"}, "norm"),
        ({"batches": -1}, "batches"),
    ],
)
def test_a_wrong_option_is_refused(options, said):
    with pytest.raises(BadOption, match=said):
        small(net(), task=toy(), **options)


def test_what_is_no_subject_is_refused():
    with pytest.raises(BadTask, match="task="):
        small(net())
    with pytest.raises(BadOption, match="cannot look"):
        small(3, task=toy())


def test_the_command(study, tmp_path, capsys):
    path = tmp_path / "task.py"
    path.write_text("raise SystemExit")
    assert cli.main(["landscape", str(tmp_path / "none")]) == 2
    assert "no folder" in capsys.readouterr().err


def test_the_command_on_a_built_in_task(tmp_path, capsys):
    folder = tmp_path / "study"
    tw.compare("digits", field=["momentum"], budget="60 runs", quiet=True, folder=folder)
    words = ["landscape", str(folder), "--planes", "pca", "--slices", "none", "--resolution", "5", "--rows", "64"]
    assert cli.main([*words, "--plot", str(tmp_path / "l.png"), "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"].endswith("landscape.npz") and document["recorded_against_measured"] < 1e-5
    assert (tmp_path / "l.png").stat().st_size > 10_000
    assert cli.main([*words, "--quiet"]) == 0
    assert "the loss surface around momentum" in capsys.readouterr().out


def test_rows_are_drawn_where_the_data_are_sorted():
    """Of rows that lie by class, every class has its share; a last batch of one row is left out."""
    order = Y.sort().indices
    task = tw.Task(model=normed, train=(X[order], Y[order]), valid=(X[:81], Y[:81]), batch_size=20, epochs=1)
    drawn = sample(task.prepare().train, 100)
    labels = torch.cat([batch.targets for batch in drawn])
    assert len(labels) == 100 and 0.2 < float(labels.double().mean()) < 0.8
    assert [batch.rows for batch in sample(task.prepare().train, 251)] == [250]
    found = small(task.build(0), task=task, planes=["random"], rows=251)
    assert np.isfinite(found.planes["random"].losses).all()


def test_ctrl_c_keeps_what_is_done(monkeypatch):
    task = toy()

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("thalweg.landscapes.directions.ends", stop)
    found = small(task.build(0), task=task, slices=["random", "top", "bottom"], planes=["random"])
    assert list(found.slices) == ["random"] and not found.planes and not found.complete
    assert "Interrupted" in str(found)


def test_a_look_without_surfaces_leaves_those_that_were_written(study):
    tw.landscape(study, planes=["random"], slices=[], resolution=5, rows=50, quiet=True)
    found = small(study, convex=2)
    assert found.folder is None
    with np.load(study.folder / "landscape.npz") as arrays:
        assert "random|losses" in arrays


def test_a_run_that_did_not_finish_is_refused():
    task = toy()
    run = tw.train(task, tw.Recipe("sgd", lr=1e30), quiet=True)
    with pytest.raises(BadTask, match="diverged"):
        small(run, task=task)
