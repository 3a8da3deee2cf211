"""The verb: its answer, its words, what it leaves as it was; and the command."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.cli import main
from thalweg.errors import BadData, BadOption
from thalweg.shifts import Kind, Shift
from thalweg.shifts.shifted import TITLES
from thalweg.store import plain

KEYS = {"kind", "inputs", "surface", "remedies", "recommended", "enough_data"}


@pytest.fixture(scope="module")
def trained():
    """Digits after 20 epochs."""
    task = tw.Task.load("digits")
    return task, tw.train(task, tw.Recipe("adamw", lr=3e-3), quiet=True)


def state(model):
    return [t.clone() for t in (*model.parameters(), *model.buffers())]


def test_a_broken_unit_is_named_and_its_undoing_recommended(trained):
    task, run = trained
    select = task.prepare().select
    x = select.inputs.clone()
    kept = state(run.model), x.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    run.model.train()
    found = tw.shift(run, task=task, incoming=(x / 255, select.targets), quiet=True)
    assert isinstance(found, Shift) and found.kind == "pipeline" and found.matters
    assert found.recommended.name == "undo the change" and found.remedies[0].name == "nothing"
    assert found.inputs.moved and found.inputs.joint.alarm and found.surface.alarm
    # The model, its mode, the rows and the random states are as they were.
    assert all(torch.equal(a, b) for a, b in zip(kept[0], state(run.model), strict=True)) and run.model.training
    assert all(p.grad is None for p in run.model.parameters())
    assert torch.equal(kept[1], x) and torch.equal(kept[2], torch.get_rng_state())
    assert (kept[3] == np.random.get_state()[1]).all()
    run.model.eval()
    document = json.loads(json.dumps(plain(found.as_dict()), allow_nan=False))
    assert document.keys() >= KEYS and document["recommended"] == "undo the change" and document["enough_data"]
    assert all({"name", "loss", "interval", "cost", "old_loss"} <= row.keys() for row in document["remedies"])
    lines = str(found).splitlines()
    assert "all features are ÷255" in str(found) and "* undo the change" in str(found)
    assert max(len(line) for line in lines if not line.startswith("    ")) <= 80
    page = found._repr_html_()
    assert "<table>" in page and "÷255" in page and page.count("<div>") == page.count("</div>")


def test_nothing_moved_needs_no_remedy(trained):
    task, run = trained
    select = task.prepare().select
    found = tw.shift(run, task=task, incoming=(select.inputs, select.targets), quiet=True)
    assert found.kind is None and not found.matters and found.remedies == () and found.recommended is None
    assert "nothing to mend" in found.notes[0] and str(found).splitlines()[1].startswith("No shift")
    assert found.as_dict()["kind"] is None


def test_a_new_class_beyond_the_outputs_breaks_nothing(trained):
    task, run = trained
    select = task.prepare().select
    y = select.targets.clone()
    y[:20] = 12
    found = tw.shift(run, task=task, incoming=(select.inputs, y), remedies=False, quiet=True)
    assert (
        found.kind == "new-class"
        and found.surface is not None
        and found.notes == ["Remedies were not tried: remedies=False."]
    )


def test_rows_that_are_far_too_few(trained):
    task, run = trained
    found = tw.shift(run, task=task, incoming=torch.zeros(2, 64), quiet=True)
    assert found.kind == "not-enough-data" and found.inputs is None and not found.as_dict()["enough_data"]
    assert "2 incoming rows" in str(found) and found._repr_html_()


def test_without_labels_anywhere_the_inputs_are_still_tested():
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    found = tw.shift(model, reference=x, incoming=x * torch.tensor([1.0, 3.0, 1.0, 1.0]), quiet=True)
    assert found.kind == "covariate" and found.named.features == ("x1",) and found.surface is None
    assert any("without a task or labels" in note for note in found.notes)


def test_wrong_use(trained):
    task, run = trained
    x = torch.zeros(9, 64)
    for options in ({"level": 0.9}, {"seed": -1}, {"remedies": "no"}, {"task": 3}):
        with pytest.raises(BadOption):
            tw.shift(run, **({"task": task} | options), incoming=x)
    with pytest.raises(BadOption, match="does not know its task"):
        tw.shift(run, incoming=x)
    with pytest.raises(BadData, match="rows of shape"):
        tw.shift(run, task=task, incoming=torch.zeros(9, 63))


def test_the_monitor_hangs_on_the_verb():
    from thalweg.shifts.monitor import Monitor

    assert tw.shift.Monitor is Monitor and tw.Shift is Shift


@pytest.mark.parametrize("code", [None, *TITLES])
def test_every_kind_can_be_shown(code):
    shown = Shift("a model", Kind(code, "What happened.", ("a",)), None, None, (), None, (10, 20))
    assert TITLES[code] in str(shown) and TITLES[code] in shown._repr_html_()
    assert shown.matters == (code not in (None, "harmless", "not-enough-data"))


def test_the_command(tmp_path, capsys):
    folder = tmp_path / "run"
    tw.train("digits", tw.Recipe("adamw", lr=3e-3), folder=folder, quiet=True)
    select = tw.Task.load("digits").prepare().select
    np.savez(tmp_path / "same.npz", x=select.inputs.numpy(), y=select.targets.numpy())
    np.savez(tmp_path / "bright.npz", x=255 * select.inputs.numpy())
    assert main(["shift", str(folder), "--incoming", str(tmp_path / "same.npz"), "--quiet"]) == 0
    out = capsys.readouterr()
    assert "No shift" in out.out and out.err == ""
    asked = ["shift", str(folder), "--incoming", str(tmp_path / "bright.npz"), "--no-remedies", "--json"]
    assert main(asked) == 1
    out = capsys.readouterr()
    document = json.loads(out.out)
    assert document["kind"] == "pipeline" and document["remedies"] == [] and "pipeline" in out.err
    assert main([*asked[:2], "--incoming", str(tmp_path / "none.npz"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad-data"
    assert main(["shift", str(tmp_path / "none"), "--incoming", "x.npz"]) == 2
    asked = [
        "shift",
        str(folder),
        "--incoming",
        str(tmp_path / "bright.npz"),
        "--reference",
        str(tmp_path / "bright.npz"),
    ]
    assert main([*asked, "--task", "digits", "--no-remedies", "--quiet"]) == 0
