"""Where on the surface: functions whose critical points are known, and networks at theirs."""

import itertools
import math

import pytest
import torch
from networks import himmelblau, task_at
from torch import nn

import thalweg as tw
from thalweg.curvature import batches_of
from thalweg.diagnosis import locate
from thalweg.diagnosis.critical import flat


def place_of(function, at, **options):
    task = task_at(function, at)
    return locate(task, task.build(0), **options)


MINIMA = (
    (3.0, 2.0),
    (-2.805118086952745, 3.131312518250573),
    (-3.779310253377747, -3.283185991286170),
    (3.584428340330492, -1.848126526964404),
)
SADDLES = (
    (-3.0730257524, -0.0813530439),
    (0.0866775053, 2.8842547013),
    (3.3851541834, 0.0738518796),
    (-0.1279613469, -1.9537149988),
)


@pytest.mark.parametrize("at", MINIMA)
def test_minima_of_himmelblau(at):
    found = place_of(himmelblau, at)
    assert found.code == "local-minimum" and found.ends[0] > 0, str(found)


@pytest.mark.parametrize("at", SADDLES)
def test_saddles_of_himmelblau(at):
    found = place_of(himmelblau, at)
    assert found.code == "saddle-point" and found.ends[0] < -1 and found.escape.falls, str(found)


def test_the_maximum_of_himmelblau():
    found = place_of(himmelblau, (-0.270844590668, -0.923038522202))
    assert found.code == "saddle-point" and found.ends[1] < 0, str(found)


def test_a_monkey_saddle_is_left_though_nothing_is_seen_to_second_order():
    found = place_of(lambda x, y: x**3 - 3 * x * y**2, (0.0, 0.0))
    assert found.code == "saddle-point" and found.ends == (0.0, 0.0) and "second order" in str(found)
    assert found.escape.after < found.escape.before


def test_a_quartic_is_no_saddle():
    assert place_of(lambda x, y: x**4 + y**4, (0.0, 0.0)).code in ("inconclusive", "local-minimum")
    assert place_of(lambda x, y: (x**4 + y**4) / 4, (1e-2, 1e-2)).code != "saddle-point"


def test_a_plateau_is_far_from_a_reference():
    flat = lambda x, y: 1 + 0 * x * y  # noqa: E731
    assert place_of(flat, (0.0, 0.0), reference=0.1).code == "plateau"
    assert place_of(flat, (0.0, 0.0)).code == "inconclusive"


def regression(hidden, layers=2, scale=0.0):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(512, 4, generator=g)
    y = x @ torch.randn(4, 3, generator=g) + 0.1 * torch.randn(512, 3, generator=g)
    sizes = [4, *[hidden] * (layers - 1), 3]
    task = tw.Task(
        model=lambda: nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes))),
        train=(x, y), loss=nn.functional.mse_loss, batch_size=32, epochs=1,
    )  # fmt: skip
    model = task.build(0)
    for p in model.parameters():
        nn.init.zeros_(p) if not scale else p.data.mul_(scale)
    return task, model


def test_a_two_layer_linear_net_at_zero_is_at_a_saddle_and_leaves_it():
    task, model = regression(5)
    found = locate(task, model)
    assert found.code == "saddle-point" and found.escape.after < found.escape.before, str(found)
    assert found.ends[0] == pytest.approx(-found.ends[1], rel=0.02)
    assert all((p == 0).all() for p in model.parameters())


def test_near_a_saddle_the_slope_gains_nothing_and_the_budget_is_kept():
    task = tw.Task.load("digits")
    assert not flat(task, task.build(0))
    small = task.build(0)
    with torch.no_grad():
        for p in small.parameters():
            p.mul_(1e-6)
    assert not flat(task, small)  # the last layer's biases have a slope of their own
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 1, bias=False))
    task = tw.Task(
        model=lambda: net, train=(x, x[:, :1] - x[:, 1:2]), loss=nn.functional.mse_loss, batch_size=40, epochs=1
    )
    assert not flat(task, net)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1e-6)
    assert flat(task, net)
    found = locate(task, net, lr=0.02, batches=2, products=8, most=120)
    assert found.code == "saddle-point" and found.evaluations <= 120, str(found)


def test_a_fresh_network_is_still_descending_and_a_fitted_one_is_not():
    task, model = regression(5, scale=1.0)
    assert locate(task, model).code == "not-critical"
    x, y = task.train
    task = tw.Task(
        model=lambda: nn.Linear(4, 3, bias=False), train=(x, y), loss=nn.functional.mse_loss, batch_size=32, epochs=1
    )
    model = task.build(0)
    model.weight.data = torch.linalg.lstsq(x, y).solution.T.contiguous()
    found = locate(task, model)
    assert found.code == "local-minimum" and found.ends[0] > 0 and math.isfinite(found.tau), str(found)


def test_cloned_units_at_their_own_optimum_are_at_a_saddle():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1024, 3, generator=g)
    y = torch.tanh(2 * x[:, :1]) - torch.tanh(2 * x[:, 1:2])
    task = tw.Task(
        model=lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 1, bias=False)), train=(x, y),
        loss=nn.functional.mse_loss, batch_size=64, epochs=1,
    )  # fmt: skip
    model = task.build(0)
    model[0].weight.data[:] = model[0].weight.data[:1]
    model[2].weight.data[:] = model[2].weight.data[:, :1]
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=500, tolerance_grad=1e-9)
    used = torch.cat([batch.inputs for batch in batches_of(task, 16)])
    wanted = torch.tanh(2 * used[:, :1]) - torch.tanh(2 * used[:, 1:2])

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(used), wanted)
        loss.backward()
        return loss

    optimizer.step(closure)
    found = locate(task, model)
    assert found.code == "saddle-point" and found.escape.falls, str(found)
