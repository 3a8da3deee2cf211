"""What is asked about, and the rows that came in: files, folders, tables with and without labels."""

import csv
import json

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.data import Tensors
from thalweg.errors import BadData, BadOption, BadStudy
from thalweg.readers import Encoder, Table
from thalweg.shifts.reading import read, subject
from thalweg.shifts.sample import BUCKETS, Sample
from thalweg.store import Store

HEADER = ["age", "income", "town", "answer"]
FILE = '''"""A task."""
import thalweg as tw
import torch

task = tw.Task(model=lambda: torch.nn.Linear(2, 2), train=(torch.randn(200, 2), torch.arange(200) % 2), name="filed")
'''


def write(path, rows, header=HEADER):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def people(count, seed):
    random = np.random.default_rng(seed)
    towns = ["north", "south"]
    return [
        [
            f"{random.integers(18, 80)}",
            f"{random.lognormal():.4f}" if k % 9 else "",
            towns[k % 2],
            ["no", "yes"][k % 3 == 0],
        ]
        for k in range(count)
    ]


@pytest.fixture
def tabled(tmp_path):
    """A task of a .csv file with gaps, text and named classes."""
    path = write(tmp_path / "train.csv", people(120, 0))
    return tw.Task(model=lambda: nn.Linear(5, 2), train=f"{path}:answer", name="people")


def test_a_table_is_encoded_as_the_training_rows_were_and_keeps_its_columns(tabled, tmp_path):
    new = people(30, 1)
    new[3][0] = ""  # a gap where training had none
    found = read(write(tmp_path / "new.csv", new), tabled, "incoming")
    encoder = tabled.prepare().train.encoder
    assert isinstance(encoder, Encoder) and found.inputs.shape == (30, 5) and found.names == tuple(encoder.names)
    columns = found.columns()
    assert columns.names == ["age", "income", "town=north", "town=south"]
    ages = columns.values[:, 0]
    assert np.isnan(ages[3]) and np.allclose(np.delete(ages, 3), [float(r[0]) for k, r in enumerate(new) if k != 3])
    assert np.isnan(columns.values[::9, 1]).all() and np.isfinite(found.flat().values).all()
    assert found.targets.tolist() == [encoder.classes.index(row[3]) for row in new]
    # The reference went through the same numbers, so that equal cells are equal to the bit.
    again = read(write(tmp_path / "old.csv", people(120, 0)), tabled, "old").columns().values
    kept = read(tabled.prepare().train, tabled, "train").columns().values
    assert set(np.unique(kept[:, 0])) <= set(np.unique(again[:, 0]))


def test_a_table_without_labels_and_with_new_classes(tabled, tmp_path):
    bare = read(write(tmp_path / "bare.csv", [row[:3] for row in people(20, 2)], HEADER[:3]), tabled, "incoming")
    assert bare.targets is None and bare.rows == 20
    empty = [[*row[:3], ""] for row in people(20, 2)]
    assert read(write(tmp_path / "empty.csv", empty), tabled, "incoming").targets is None
    new = people(20, 2)
    new[0][3], new[1][3] = "zebra", "perhaps"
    assert read(write(tmp_path / "more.csv", new), tabled, "incoming").targets[:2].tolist() == [3, 2]
    half = [[*row[:3], row[3] if k else ""] for k, row in enumerate(people(20, 2))]
    with pytest.raises(BadData, match="1 targets"):
        read(write(tmp_path / "half.csv", half), tabled, "incoming")
    with pytest.raises(BadData, match="does not occur in the training rows"):  # a task's own splits stay strict
        Encoder(Table.read(tmp_path / "empty.csv", "town")).apply(
            Table(
                "t",
                {n: np.array(["1"], object) for n in ("age", "income", "answer")},
                np.array(["west"], object),
                "town",
            )
        )


def test_columns_that_are_missing_or_of_another_kind(tabled, tmp_path):
    rows = people(20, 3)
    with pytest.raises(BadData, match="'income' of the training data is missing"):
        read(write(tmp_path / "few.csv", [[r[0], *r[2:]] for r in rows], ["age", "town", "answer"]), tabled, "incoming")
    rows[0][0] = "old"
    with pytest.raises(BadData, match="'age' holds text"):
        read(write(tmp_path / "text.csv", rows), tabled, "incoming")


def test_a_transform_is_applied_and_hides_the_columns(tmp_path):
    path = write(tmp_path / "train.csv", people(120, 0))
    task = tw.Task(
        model=lambda: nn.Linear(5, 2), train=f"{path}:answer", transform=lambda x: 2 * x, name="doubled"
    )  # fmt: skip
    plain = tw.Task(model=lambda: nn.Linear(5, 2), train=f"{path}:answer", name="plain")
    file = write(tmp_path / "new.csv", people(10, 4))
    once, doubled = read(file, plain, "incoming"), read(file, task, "incoming")
    assert torch.equal(doubled.inputs, 2 * once.inputs) and doubled.table is None and once.table is not None
    judge = task.prepare().judge  # prepared already: not transformed again
    assert torch.equal(read(judge, task, "judge").inputs, judge.inputs)


@pytest.mark.parametrize("labels", [True, False])
def test_arrays_files_and_pairs(toy, tmp_path, labels):
    x, y = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3
    np.savez(tmp_path / "new.npz", **({"x": x, "y": y} if labels else {"x": x}))
    given = (x, y) if labels else (x, None)
    for source in (
        tmp_path / "new.npz",
        given,
        Tensors(torch.from_numpy(x).float(), torch.from_numpy(y) if labels else None),
    ):
        found = read(source, toy, "incoming", like=read(toy.prepare().judge, toy, "judge"))
        assert found.rows == 12 and found.inputs.dtype == torch.float32 and found.order
        assert (found.targets is None) != labels
    assert read(x, toy, "incoming").targets is None


def test_rows_of_another_shape_are_refused(toy):
    like = read(toy.prepare().judge, toy, "judge")
    with pytest.raises(BadData, match=r"rows of shape \[\(5,\)\], the reference has \[\(4,\)\]"):
        read(np.zeros((9, 5)), toy, "incoming", like=like)
    with pytest.raises(BadData, match="targets of shape"):
        read((np.zeros((9, 4)), np.zeros((9, 2))), toy, "incoming", like=like)


def test_a_run_folder_knows_its_task(tmp_path):
    run = tw.train("digits", tw.Recipe("sgd", lr=0.1), folder=tmp_path / "run", quiet=True)
    found = subject(tmp_path / "run")
    judge = found.task.prepare().judge
    assert found.title.startswith("digits") and torch.equal(found.reference.inputs, judge.inputs) and not found.notes
    assert found.recipe == run.recipe and found.fitted.rows == 1297 and found.classes == 10
    for a, b in zip(found.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(subject(run).reference.inputs, judge.inputs)
    other = tw.Task(**{n: getattr(tw.Task.load("digits"), n) for n in ("model", "train", "valid")}, batch_size=32)
    assert "changed" in subject(tmp_path / "run", task=other).notes[0]


def test_the_task_of_a_file_is_found_from_any_folder(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.py").write_text(FILE, encoding="utf-8")
    monkeypatch.chdir(home)
    tw.train("mine.py:task", tw.Recipe("sgd", lr=0.1), folder=tmp_path / "run", quiet=True)
    assert json.loads((tmp_path / "run" / "study.json").read_text())["source"] == f"{home / 'mine.py'}:task"
    monkeypatch.chdir(tmp_path)
    assert subject(tmp_path / "run").task.name == "filed"
    (home / "mine.py").unlink()
    with pytest.raises(BadStudy, match="cannot be loaded"):
        subject(tmp_path / "run")


def test_a_study_knows_its_task(tmp_path):
    study = tw.compare("digits", field=["sgd"], budget="14 runs", quiet=True, folder=tmp_path / "study")
    assert Store(tmp_path / "study").head()["source"] == "digits"
    one, two = subject(tmp_path / "study"), subject(study)
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.recipe == study.best.recipe and not one.notes


def test_folders_without_a_task_or_a_model(toy, tmp_path):
    tw.train(toy, tw.Recipe("sgd", lr=0.1), folder=tmp_path / "run", quiet=True)
    with pytest.raises(BadStudy, match="does not say where its task is") as caught:
        subject(tmp_path / "run")
    assert "--task" in caught.value.hint
    assert subject(tmp_path / "run", task=toy).classes == 3
    with pytest.raises(BadStudy, match="holds no study"):
        subject(tmp_path / "nothing")
    wider = tw.Task(model=lambda: nn.Linear(4, 3), train=toy.train, valid=toy.valid)
    with pytest.raises(BadStudy, match="not those of the task's model"):
        subject(tmp_path / "run", task=wider)


def test_a_module_alone():
    model = nn.Linear(4, 3)
    x, y = torch.randn(40, 4), torch.arange(40) % 3
    with pytest.raises(BadOption, match="no reference"):
        subject(model)
    with pytest.raises(BadOption, match="has no model"):
        subject(b"digits", reference=(x, y))
    found = subject(model, reference=(x, y))
    assert found.task.prepare().kind == "classification" and found.fitted is None and found.known.tolist() == [0, 1, 2]
    bare = subject(model, reference=x)
    assert bare.task is None and bare.classes is None and "no labels" in bare.notes[0]
    with pytest.raises(BadOption, match="needs labels"):
        subject(model, reference=x, loss=nn.MSELoss())
    own = subject(model, reference=(x, torch.randn(40, 3)), loss=nn.functional.l1_loss)
    assert own.task.loss is nn.functional.l1_loss


def test_features_of_a_sample_have_names():
    images = torch.rand(5, 3, 2, 2)
    flat = Sample(images).flat()
    assert flat.names[:2] == ["channel 0 pixel 0,0", "channel 0 pixel 0,1"] and flat.values.shape == (5, 12)
    assert np.allclose(flat.values, images.reshape(5, -1).numpy()) and flat.values.dtype == np.float64
    large = Sample(torch.rand(2, 1, 100, 100)).flat()
    assert large.values.shape == (2, 1024) and large.names[1] == "pixel block 0,1"
    tokens = Sample(torch.tensor([[1, 1, 2, 44]])).flat()
    assert tokens.values.shape == (1, BUCKETS) and tokens.values[0, 1] == 0.5 and tokens.names[2] == "token 2"
    pair = Sample({"a": torch.ones(3, 1), "b": torch.zeros(3)}).flat()
    assert pair.names == ["a x0", "b x0"] and pair.values.tolist() == [[1.0, 0.0]] * 3


def test_parts_of_a_sample():
    x = torch.arange(20.0).reshape(10, 2)
    sample = Sample(x, torch.arange(10), order=True)
    first, second = sample.split(0, 0.3)
    assert first.rows == 3 and second.rows == 7
    assert sorted([*first.targets.tolist(), *second.targets.tolist()]) == list(range(10))
    assert first.targets.tolist() == sorted(first.targets.tolist()) and torch.equal(x[first.targets], first.inputs)
    assert sample.unlabeled().targets is None and sample.unlabeled().feed().rows == 10
    assert [b.targets.tolist() for b in sample.feed().batches(6)] == [list(range(6)), list(range(6, 10))]


def test_a_table_of_numbers_for_a_model_of_vectors(tmp_path):
    x, y = torch.randn(60, 3), torch.arange(60) % 2
    task = tw.Task(model=lambda: nn.Linear(3, 2), train=(torch.randn(200, 3), torch.arange(200) % 2), name="vectors")
    like = Sample(x, y)
    cells = [[f"{v:.6f}" for v in row] for row in x.tolist()]
    labeled = write(
        tmp_path / "a.csv", [[*row, str(int(k))] for row, k in zip(cells, y, strict=True)], ["a", "b", "c", "y"]
    )
    found = read(labeled, task, "incoming", like=like)
    assert (
        torch.allclose(found.inputs, x, atol=1e-6) and torch.equal(found.targets, y) and found.inputs.dtype == x.dtype
    )
    assert read(write(tmp_path / "b.csv", cells, ["a", "b", "c"]), task, "incoming", like=like).targets is None
    with pytest.raises(BadData, match="2 columns beside the target"):
        read(write(tmp_path / "c.csv", [row[:2] for row in cells], ["a", "b"]), task, "incoming", like=like)
    with pytest.raises(BadData, match="no number"):
        read(write(tmp_path / "d.csv", [["x", "1", "2"], *cells], ["a", "b", "c"]), task, "incoming", like=like)
    with pytest.raises(BadData, match="training data are none"):
        read(labeled, task, "incoming", like=Sample(torch.zeros(9, 1, 3, 1), y[:9]))
