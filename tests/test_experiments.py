import json
import math

import numpy as np
import pytest
from torch import nn

import thalweg as tw
from thalweg import experiments
from thalweg.cli import main
from thalweg.errors import BadOption


def test_over_the_scale_of_the_weights_batch_norm_is_flat_and_without_it_there_is_a_peak(tmp_path):
    def net():
        layers = []
        for i in range(8):
            layers += [nn.Linear(64 if i == 0 else 50, 50), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(50, 10))

    digits = tw.Task.load("digits")
    task = tw.Task(model=net, train=digits.train, valid=digits.valid, batch_size=64, epochs=4, name="deep")
    found = experiments.init_scale(task, values=(1e-4, 1e-2, 0.15, 1.0), seeds=1, quiet=True)
    keep, batch = (found.scores[norm].mean(1) for norm in ("keep", "batch"))
    assert np.nanargmax(keep) == 2 and keep[2] > 0.5, keep
    assert batch[:3].min() > 0.4 > keep[:2].max(), (batch, keep)
    assert json.loads(found.save(tmp_path / "curves.json").read_text())["scores"].keys() == {"keep", "batch"}
    figure = found.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000 and len(figure.axes[0].lines) == 3
    assert "norm=batch: best" in str(found)


def test_batch_sizes_train_for_as_many_epochs_at_rates_of_their_own(monkeypatch):
    entries, run_cohort = [], experiments.loop.run_cohort
    monkeypatch.setattr(
        experiments.loop,
        "run_cohort",
        lambda task, own, *args, **how: (entries.extend(own), run_cohort(task, own, *args, **how))[1],
    )
    digits = tw.Task.load("digits")
    found = experiments.batch_size(digits, norms=("layer",), values=(32, 128), seeds=1, quiet=True)
    assert found.scores["layer"].shape == (2, 1) and (found.scores["layer"] > 2 * found.chance).all()
    data = digits.prepare()
    assert [e.steps for e in entries] == [math.ceil(data.train.rows / size) * data.epochs for size in (32, 128)]
    assert entries[1].recipe.lr == pytest.approx(2 * entries[0].recipe.lr)


def test_a_run_that_diverges_is_no_number():
    scores = {"keep": np.array([[0.9, 0.8], [math.nan, 0.7], [0.85, 0.85]])}
    found = experiments.Curves("t", "x", (1.0, 2.0, 3.0), "accuracy", "max", scores, experiments.PLAIN, 0.1)
    assert "1 of 2 diverged" in str(found) and found.best("keep") == pytest.approx(0.85)
    assert found.flat("keep", 0.05) == pytest.approx(2 / 3)


def test_the_command(capsys, tmp_path):
    asked = ["experiment", "init-scale", "digits", "--values", "0.01,0.1", "--seeds", "1", "--quiet"]
    assert main([*asked, "--save", str(tmp_path / "c.json"), "--plot", str(tmp_path / "c.svg")]) == 0
    assert "standard deviation of the initial weights" in capsys.readouterr().out and (tmp_path / "c.svg").exists()
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values"] == [0.01, 0.1]
    assert main([*asked[:3], "--values", "a"]) == 2 and "cannot read 'a'" in capsys.readouterr().err
    with pytest.raises(BadOption, match="seeds"):
        experiments.init_scale(tw.Task.load("digits"), seeds=0)
