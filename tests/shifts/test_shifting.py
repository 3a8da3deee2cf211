"""The verb: its answer, its words, what it leaves as it was; and the command."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.cli import main
from thalweg.errors import BadData, BadOption
from thalweg.shifts import Kind, Sample, Shift
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
        and [note.split(":")[0] for note in found.notes]
        == [
            "20 of 250 incoming rows have a target that the loss ignores or the model has no output for",
            "Remedies were not tried",
        ]
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


def test_the_optimizers_state_goes_into_remedies_and_the_surface():
    task = tw.Task.load("digits")
    model, recipe = task.build(0), tw.Recipe("adam", lr=3e-3, schedule="constant")
    optimizer, _ = recipe.build(model)
    train = task.prepare().train
    for epoch in range(8):
        for batch in train.batches(64, seed=epoch):
            optimizer.zero_grad()
            task.loss_of(model, batch).backward()
            optimizer.step()
    model.eval()
    select = task.prepare().select
    incoming = (0.3 * select.inputs, select.targets)
    known = {"task": task, "incoming": incoming, "quiet": True}
    found = tw.shift(model, recipe=recipe, optimizer_state=optimizer.state_dict(), **known)
    tried = {t.name: t for t in found.remedies}
    kept = tried["fine-tune everything, state kept"]
    assert kept.measured and kept.loss != tried["fine-tune everything"].loss
    assert found.surface.plane.training == "20 steps of adam on each, lr 0.003"
    assert found.surface.edge.limit == pytest.approx(38) and "As adam at lr 0.003 sees it" in str(found.surface)
    without = tw.shift(model, remedies=False, recipe=recipe, **known).surface
    assert without.edge is None and "gradient descent" in without.plane.training
    with pytest.raises(BadOption, match="not known"):
        tw.shift(model, optimizer_state=optimizer.state_dict(), **known)
    with pytest.raises(BadOption, match="optimizer_state"):
        tw.shift(model, recipe=recipe, optimizer_state={"moments": 1}, **known)


def test_classes_are_called_by_their_names(tmp_path):
    random = np.random.default_rng(0)

    def rows(count, share):
        y = random.random(count) < share
        return "\n".join(
            ["a,b,label", *(f"{2 * k + random.normal():.3f},{random.normal():.3f},{'cat' if k else 'dog'}" for k in y)]
        )

    for name, share in (("train", 0.5), ("new", 0.9)):
        (tmp_path / f"{name}.csv").write_text(rows(1200, share), encoding="utf-8")
    task = tw.Task(
        model=lambda: nn.Linear(2, 2), train=str(tmp_path / "train.csv"), epochs=3, name="pets", device="cpu"
    )
    run = tw.train(task, tw.Recipe("adamw", lr=1e-2), quiet=True)
    found = tw.shift(run, task=task, incoming=str(tmp_path / "new.csv"), remedies=False, quiet=True)
    assert "most, class cat:" in str(found) or "most, class dog:" in str(found)
    assert found.as_dict()["inputs"]["labels"]["classes"] == ["cat", "dog"]


def test_wrong_use(trained):
    task, run = trained
    x = torch.zeros(9, 64)
    for options in ({"level": 0.9}, {"seed": -1}, {"remedies": "no"}, {"task": 3}):
        with pytest.raises(BadOption):
            tw.shift(run, **({"task": task} | options), incoming=x)
    with pytest.raises(BadOption, match="does not know its task"):
        tw.shift(run, incoming=x)
    with pytest.raises(BadOption, match="a task has its own"):
        tw.shift(run, task=task, incoming=x, loss=nn.functional.cross_entropy)
    with pytest.raises(BadData, match="rows of shape"):
        tw.shift(run, task=task, incoming=Sample(torch.zeros(9, 63)))
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
