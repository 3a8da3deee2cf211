"""Studies that the tests look at, made once: a toy task in a file, so that a folder says where its task is."""

import json
import math

import numpy as np
import pytest
import torch

import thalweg as tw
from thalweg.store import Store
from thalweg.web.following import Follower

FILE = """
import torch
from torch import nn
import thalweg as tw

generator = torch.Generator().manual_seed(0)
x = torch.randn(240, 4, generator=generator)
y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def net(width=16):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


task = tw.Task(model=net, train=(x[:160], y[:160]), valid=(x[160:], y[160:]), batch_size=16, epochs=4, name="toy")
"""
WILD = tw.Recipe("sgd", lr=1e30, schedule="constant")


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """A folder with the task's file, in which the studies lie."""
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "toy.py").write_text(FILE)
    return folder


@pytest.fixture(scope="session")
def study(shelf):
    """Three optimizers, one of which diverges, with all that can be looked at; the folder's name has a space in it."""
    from thalweg.diagnosis.keeping import keep, of_study
    from thalweg.shifts.keeping import keep as keep_shift

    torch.manual_seed(0)
    field = ["adam", "sgd", WILD]
    options = {"field": field, "seeds": 3, "executor": "sequential", "folder": shelf / "a study", "quiet": True}
    found = tw.compare(f"{shelf / 'toy.py'}:task", **options)
    tw.layers(found, looks=8, quiet=True)
    tw.landscape(found, resolution=7, rows=60, runs=2, planes=["pca", "random"], slices=["line", "random"], quiet=True)
    diagnosis, run = of_study(found.folder)
    keep(diagnosis, found.folder, run)
    data = found.best.task.prepare()
    moved = (data.judge.inputs * 3 + 1, data.judge.targets)
    keep_shift(tw.shift(found, incoming=moved, remedies=False, quiet=True), found.folder)
    return found


@pytest.fixture(scope="session")
def crossed(shelf):
    """Initialization against normalization."""
    axes = {"init": ["torch", "he_normal"], "norm": ["keep", "layer"]}
    options = {"field": [tw.Recipe("adam", lr=1e-2)], "axes": axes, "seeds": 2, "executor": "sequential"}
    return tw.compare(f"{shelf / 'toy.py'}:task", **options, folder=shelf / "crossed", quiet=True)


@pytest.fixture(scope="session")
def alone(shelf):
    """The folder of a single run."""
    tw.train(f"{shelf / 'toy.py'}:task", tw.Recipe("sgd", lr=0.1), folder=shelf / "alone", quiet=True)
    return shelf / "alone"


def interrupted(folder, runs=2, points=50, rows=None, lost=lambda k: False):
    """A study whose process is gone: some runs ended, one did not; ``rows`` gives a run's losses, some are ``lost``."""
    asked = {
        "task": "toy",
        "fingerprint": "0",
        "field": [["sgd", {"optimizer": "sgd"}]],
        "budget": "no limit",
        "effort": "quick",
    }
    store = Store(folder)
    environment = {"thalweg": "0", "command": "/usr/bin/thalweg compare toy.py:task --show --budget 5m"}
    store.create({"asked": asked, "source": None, "environment": environment, "complete": False, "executor": None})
    for k in range(runs + 1):
        name = f"final-aa-{points}-{k}"
        recipe = {"optimizer": "sgd", "lr": 0.1}
        job = {"run": name, "phase": "final", "entrant": "sgd", "recipe": recipe, "seed": k, "steps": points}
        store.append(job | {"kind": "start", "at": float(k)})
        losses = [math.exp(-i / points) + 0.01 * k for i in range(points)] if rows is None else rows(k)
        n = len(losses)
        if n:
            step = list(range(1, n + 1))
            samples, seconds = [16 * s for s in step], [0.001 * s for s in step]
            line = {
                "step": step,
                "samples": samples,
                "seconds": seconds,
                "loss": losses,
                "lr": [0.1] * n,
                "grad_norm": losses,
            }
            store.append({"run": name, "kind": "steps"} | line | {"at": float(k)})
        if k < runs:
            outcome = {"status": "diverged" if lost(k) else "finished", "step": n, "where": None, "reason": None}
            last = {
                "step": n,
                "samples": 16 * n,
                "seconds": 0.001 * n,
                "split": "select",
                "loss": losses[-1] if n else math.nan,
            }
            done = {"evaluations": [last], "steps_done": n, "samples": 16 * n, "seconds": 0.001 * n, "model": None}
            store.append(job | done | {"kind": "end", "outcome": outcome, "at": float(k + 1)})
    return folder


def columns_of(folder):
    """The columns of every run of a trace, read plainly: by run the columns as float64."""
    found = {}
    for record in Store(folder).records():
        if record["kind"] == "steps":
            own = found.setdefault(record.get("run", "run"), {})
            for name in ("step", "samples", "seconds", "loss", "lr", "grad_norm"):
                own.setdefault(name, []).extend(float(v) for v in record[name])
    return {run: {name: np.array(values) for name, values in own.items()} for run, own in found.items()}


def follower(folder):
    """A follower of a study that has read all there is."""
    found = Follower(folder)
    found.refresh()
    return found


def rounded(x):
    """A number as documents have it."""
    return float(f"{x:.6g}")


def ends_of(folder):
    """The closing records of all runs."""
    return [record for record in Store(folder).records() if record["kind"] == "end"]


def whole(study):
    """The verdict's file."""
    return json.loads((study.folder / "verdict.json").read_text())
