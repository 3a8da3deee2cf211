"""The built-in tasks: exactly as published."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from thalweg import tasks
from thalweg.errors import BadData, BadOption
from thalweg.order import order
from thalweg.prepared import fixed_weights
from thalweg.readers import read_images
from thalweg.tasks.quadratic import hessian, rotation, rows

NEEDS = {
    "fashion-mlp": "fashion-mnist/train-images-idx3-ubyte.gz",
    "fashion-cnn": "fashion-mnist/train-images-idx3-ubyte.gz",
    "mnist-mlp": "mnist/train-images-idx3-ubyte.gz",
    "shakespeare": "tinyshakespeare/input.txt",
    "housing": "california-housing/housing.csv",
}

# name: kind, metric, direction, train, select, judge, test, batch size, steps, parameters
EXPECTED = {
    "digits": ("classification", "accuracy", "max", 1297, 250, 250, None, 64, 420, 64 * 32 + 32 + 330),
    "fashion-mlp": ("classification", "accuracy", "max", 50_000, 5_000, 5_000, 10_000, 128, 5 * 391, 101_770),
    "fashion-cnn": ("classification", "accuracy", "max", 50_000, 5_000, 5_000, 10_000, 64, 2 * 782, 20_586),
    "mnist-mlp": ("classification", "accuracy", "max", 50_000, 5_000, 5_000, 10_000, 128, 5 * 391, 101_770),
    "shakespeare": ("language-model", "nll", "min", 15_685, 871, 871, None, 32, 500, 112_577),
    "housing": ("regression", "mse", "min", 14_448, 2_064, 2_064, 2_064, 64, 2_260, 14 * 64 + 64 + 64 * 65 + 65),
    "quadratic-deep": ("other", "loss", "min", 1_000, 896, 896, 896, 128, 700, 100),
}


def folder():
    return Path(os.environ.get("THALWEG_DATA", "nowhere"))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    """Tensors are compared with those of files and of other processes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def built():
    """Each task once, since the image sets take a second to read."""
    memory = {}

    def get(name):
        if name in NEEDS and not (folder() / NEEDS[name]).exists():
            pytest.skip(f"no data for {name}: THALWEG_DATA has no {NEEDS[name]}")
        if name not in memory:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("THALWEG_DATA", str(folder()))
                memory[name] = tasks.load(name)
        return memory[name]

    return get


def test_the_table_is_what_is_tested():
    assert set(tasks.TABLE) == set(EXPECTED) and len(EXPECTED) == 7
    with pytest.raises(BadOption, match="did you mean 'fashion-cnn'"):
        tasks.load("fashion-cn")


@pytest.mark.parametrize("name", EXPECTED)
def test_sizes_and_budgets(built, name):
    task = built(name)
    p = task.prepare()
    test = None if p.test is None else p.test.rows
    got = (p.kind, p.metric, p.direction, p.train.rows, p.select.rows, p.judge.rows, test, p.batch_size, p.steps)
    assert (*got, p.parameters) == EXPECTED[name] and task.name == name
    batch = next(p.train.batches(p.batch_size, seed=0))
    model = task.build(0)
    task.loss_of(model, batch).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert fixed_weights(task) == (name == "quadratic-deep")
    values = task.evaluate(model, p.select)
    assert np.isfinite(values[p.metric])


def test_fingerprints_are_the_same_in_another_process(built):
    names = ["digits", "quadratic-deep"] + (["housing"] if (folder() / NEEDS["housing"]).exists() else [])
    code = f"from thalweg import tasks; print(*[tasks.load(name).fingerprint() for name in {names}])"
    env = os.environ | {"THALWEG_DATA": str(folder()), "PYTHONHASHSEED": "7"}
    path = str(Path(tasks.__file__).parents[2])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env, cwd=path)
    assert run.stdout.split() == [built(name).fingerprint() for name in names]


def test_digits_are_those_of_scikit_learn(built):
    p = built("digits").prepare()
    x, y = load_digits(return_X_y=True)
    with np.load(Path(tasks.__file__).with_name("digits.npz")) as file:
        assert np.array_equal(file["x"], x) and np.array_equal(file["y"], y)
    parts = [p.train, p.select, p.judge]
    ours = {
        (tuple(row), int(label)) for part in parts for row, label in zip(part.inputs.numpy(), part.targets, strict=True)
    }
    assert ours == {(tuple(row), int(label)) for row, label in zip((x / 16).astype(np.float32), y, strict=True)}


@pytest.mark.parametrize("name", ["fashion-mlp", "mnist-mlp"])
def test_images_are_split_as_published(built, name):
    p = built(name).prepare()
    path = folder() / NEEDS[name]
    x, y = read_images(path)
    index = order(60_000, 0, 0)
    assert torch.equal(p.select.targets, y[index[50_000:55_000]]) and torch.equal(p.judge.targets, y[index[55_000:]])
    assert torch.equal(p.judge.inputs, x[index[55_000:]]) and torch.equal(p.train.targets, y[index[:50_000]])
    test_x, test_y = read_images(path.with_name(path.name.replace("train", "t10k")))
    assert torch.equal(p.test.inputs, test_x) and torch.equal(p.test.targets, test_y)
    assert float(x.min()) == 0 and float(x.max()) == 1


def test_models_are_as_published(built):
    assert repr(built("digits").build(0)) == repr(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
    kinds = [type(module).__name__ for module in built("fashion-cnn").build(0)]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 2 + ["Flatten", "Linear"]


def test_shakespeare_predicts_the_next_character_causally(built):
    task = built("shakespeare")
    p = task.prepare()
    x, y = p.train.inputs, p.train.targets
    assert torch.equal(x[:, 1:], y[:, :-1]) and torch.equal(y[:-1, -1], x[1:, 0]) and int(x.max()) == 64
    model = task.build(0).eval()
    tokens = x[:2].clone()
    with torch.no_grad():
        before = model(tokens)
        tokens[:, 40:] = 0
        after = model(tokens)
    assert before.shape == (2, 64, 65) and torch.allclose(before[:, :40], after[:, :40], atol=1e-6)
    assert not torch.allclose(before[:, 40:], after[:, 40:])
    assert task.evaluate(model, p.judge)["nll"] == pytest.approx(np.log(65), abs=0.5)


def test_housing_uses_training_statistics(built):
    p = built("housing").prepare()
    assert p.train.inputs.shape[1] == 14 and p.target_sd == pytest.approx(1, abs=1e-3)
    assert float(p.train.targets.mean()) == pytest.approx(0, abs=1e-5)
    assert p.train.inputs[:, [0, 1, 2, 3, 4, 6, 7, 8]].mean(0).abs().max() < 1e-5
    assert 0.005 < float(p.train.inputs[:, 5].mean()) < 0.015  # 207 of 20 640 districts miss the bedrooms
    assert (p.train.inputs[:, 9:].sum(1) == 1).all()
    assert p.judge.inputs[:, 0].mean().abs() > 1e-5


def test_the_quadratic_has_the_published_numbers():
    Q = hessian()
    for got, expected in [(np.trace(Q), 477.6123), (Q[0, 0], 6.22143), (Q[0, 99], 3.23386), (Q.sum(), 535.0587)]:
        assert got == pytest.approx(expected, abs=6e-5)
    R = rotation(np.random.RandomState(1), 12)
    assert np.allclose(R @ R.T, np.eye(12)) and np.linalg.det(R) == pytest.approx(1)
    assert rows(42).dtype == torch.float32 and rows(42).shape == (1000, 100)


def test_the_quadratic_loss_and_its_batches(built):
    task = built("quadratic-deep")
    p = task.prepare()
    model = task.build(5)
    assert torch.equal(model.theta, torch.ones(100))
    away = 1 - rows(43)[:896].double().numpy()
    expected = np.einsum("ni,ij,nj->n", away, hessian(), away).mean() / 2
    assert task.evaluate(model, p.judge)["loss"] == pytest.approx(expected, rel=1e-5)
    assert task.evaluate(model, p.test) == task.evaluate(model, p.select) == task.evaluate(model, p.judge)
    batches = list(p.train.batches(128, seed=2, epoch=3))
    assert [batch.rows for batch in batches] == [128] * 7
    assert torch.equal(torch.cat([batch.raw for batch in batches]), rows(42)[order(1000, 2, 3, 100)[:896]])


@pytest.mark.parametrize("name", NEEDS)
def test_missing_data_say_where_they_come_from(name, monkeypatch, tmp_path):
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    with pytest.raises(BadData, match=r"THALWEG_DATA is not set[\s\S]*https?://[\s\S]*'digits'"):
        tasks.load(name)
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    with pytest.raises(BadData, match=r"no file [\s\S]*set THALWEG_DATA"):
        tasks.load(name)


def test_digits_learn(built):
    task = built("digits")
    p, model = task.prepare(), task.build(0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(8):
        for batch in p.train.batches(64, seed=0, epoch=epoch):
            optimizer.zero_grad()
            task.loss_of(model, batch).backward()
            optimizer.step()
    values = task.evaluate(model, p.judge)
    assert values["accuracy"] > 0.9
    with torch.no_grad():
        assert values["nll"] == pytest.approx(float(F.cross_entropy(model(p.judge.inputs), p.judge.targets)), abs=1e-6)
