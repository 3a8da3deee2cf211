"""DeepOBS's quadratic-deep against a transcription in plain NumPy, and against the published figures."""

import math

import numpy as np
import pytest
import torch

import thalweg as tw
from thalweg import loop
from thalweg.order import order
from thalweg.stacked import Entry

STEPS, BATCH, EPOCHS = 700, 128, 100
RECIPES = {
    "sgd": tw.Recipe("sgd", lr=0.0158, schedule="constant"),
    "momentum": tw.Recipe("momentum", lr=2.51e-3, momentum=0.99, schedule="constant"),
    "adam": tw.Recipe("adam", lr=0.0398, schedule="constant"),
}
MEANS = {"sgd": 87.52, "momentum": 87.46, "adam": 87.22}  # of the final test loss, over many orders of the rows


def quadratic_form():
    """Q as the text has it: 100 eigenvalues, then the subgroup algorithm with one plane or reflection a dimension."""
    draw = np.random.RandomState(42)
    eigenvalues = np.r_[draw.uniform(0, 1, 90), draw.uniform(30, 60, 10)]
    angle = 2 * math.pi * draw.uniform()
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    for d in range(2, 100):
        v = draw.normal(size=(d + 1, 1))
        v /= math.sqrt(float((v * v).sum()))
        e1 = np.zeros((d + 1, 1))
        e1[0] = 1
        x = (e1 - v) / np.linalg.norm(e1 - v)
        bordered = np.block([[np.ones((1, 1)), np.zeros((1, d))], [np.zeros((d, 1)), turn]])
        turn = (np.eye(d + 1) - 2 * x @ x.T) @ bordered
    turn = -turn
    return (turn.T * eigenvalues) @ turn


def rows(seed):
    return np.random.RandomState(seed).normal(0, 0.6, (1000, 100)).astype(np.float32).astype(np.float64)


def transcription(name, seed):
    """The final test loss of a run in float64."""
    Q, x, theta = quadratic_form(), rows(42), np.ones(100)
    m, v, t = np.zeros(100), np.zeros(100), 0
    for epoch in range(EPOCHS):
        visited = order(1000, seed, epoch, 100).numpy()
        for start in range(0, 1000 - BATCH + 1, BATCH):
            g = Q @ (theta - x[visited[start : start + BATCH]].mean(0))
            t += 1
            if name == "sgd":
                theta = theta - 0.0158 * g
            elif name == "momentum":
                m = 0.99 * m + g
                theta = theta - 2.51e-3 * m
            else:
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                theta = theta - 0.0398 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert t == STEPS
    away = theta - rows(43)[: 7 * BATCH]
    return float(((away @ Q) * away).sum(1).mean() / 2)


def final_loss(task, name, seed):
    run, cohort = loop.run(task, RECIPES[name], seed, evaluations=1)
    assert run.outcome.status == "finished" and len(run.trace) == STEPS
    assert set(run.trace.lr) == {RECIPES[name].lr}
    return task.evaluate(cohort.model, task.prepare().test)["loss"]


@pytest.fixture(scope="module")
def task():
    made = tw.Task.load("quadratic-deep")
    made.prepare()
    return made


def test_the_quadratic_form_has_the_check_values():
    Q = quadratic_form()
    found = np.trace(Q), Q[0, 0], Q[0, 99], Q.sum()
    assert found == pytest.approx((477.6123, 6.22143, 3.23386, 535.0587), abs=6e-5)
    assert np.allclose(Q, tw.Task.load("quadratic-deep").build(0).Q, atol=1e-5)


def test_the_shuffle_buffer_holds_a_hundred_rows():
    visited = order(1000, 3, 7, 100).numpy()
    assert sorted(visited) == list(range(1000))
    assert (visited <= np.arange(1000) + 99).all()  # a row cannot leave before it has come in
    assert np.corrcoef(visited, np.arange(1000))[0, 1] < 0.99 and (visited[:128] < 228).all()


@pytest.mark.parametrize("name", RECIPES)
def test_given_the_same_order_a_run_equals_the_transcription(task, name):
    assert final_loss(task, name, seed=11) == pytest.approx(transcription(name, seed=11), abs=1e-3)


def test_the_means_over_fifty_seeds_are_the_known_ones(task):
    """All 150 runs as one cohort, each with its own order; `test_given_the_same_order…` ties runs alone to the text."""
    jobs = [(name, seed) for name in RECIPES for seed in range(50)]
    entries = [Entry(RECIPES[name], seed, STEPS) for name, seed in jobs]
    runs, cohort = loop.run_cohort(task, entries, [1] * len(jobs))
    assert all(run.outcome.status == "finished" and len(run.trace) == STEPS for run in runs)
    evaluated = cohort.evaluate(task.prepare().test, range(len(jobs)))
    losses = {job: metrics["loss"] for job, metrics in zip(jobs, evaluated, strict=True)}
    means = {name: np.mean([losses[name, seed] for seed in range(50)]) for name in RECIPES}
    assert means == pytest.approx(MEANS, abs=0.1)
    assert losses["adam", 11] == pytest.approx(transcription("adam", seed=11), abs=1e-3)


def test_beyond_the_edge_of_stability_sgd_diverges_and_says_where(task):
    edge = 2 / np.linalg.eigvalsh(quadratic_form())[-1]
    assert 0.0316 < edge == pytest.approx(0.03764, abs=1e-5) and edge < 0.0398
    run, _ = loop.run(task, RECIPES["sgd"].but(lr=0.0398), 0, evaluations=1)
    assert run.outcome.status == "diverged" and 1 < run.outcome.step < STEPS
    assert run.outcome.where == "loss"  # θ itself is still finite when its square is not
    assert "inf" in run.outcome.reason and "loss" in run.outcome.reason
    assert torch.tensor(run.trace.loss).isfinite().all() and len(run.trace) == run.outcome.step - 1
    calm, _ = loop.run(task, RECIPES["sgd"].but(lr=0.0316), 0, evaluations=1)
    assert calm.outcome.status == "finished"
