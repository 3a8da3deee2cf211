import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.curvature import hessian_product, largest_eigenvalue, sharpness


def test_a_product_is_that_of_the_matrix():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(6, 6, generator=g, dtype=torch.float64)
    h = a + a.T
    x, y = (torch.randn(k, generator=g, dtype=torch.float64, requires_grad=True) for k in (2, 4))
    z = torch.cat([x, y])
    v = [torch.randn(2, generator=g, dtype=torch.float64), torch.randn(4, generator=g, dtype=torch.float64)]
    got = torch.cat(hessian_product(0.5 * z @ h @ z, [x, y])(v))
    torch.testing.assert_close(got, h @ torch.cat(v))


def test_parameters_that_the_loss_does_not_curve_have_zeros():
    x, unused = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    assert [h.tolist() for h in hessian_product((2 * x).sum(), [x, unused])([x, unused])] == [[0.0] * 3, [0.0] * 2]
    assert largest_eigenvalue(hessian_product((2 * x).sum(), [x]), [x]) == 0.0


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_the_largest_eigenvalue_is_lapacks_also_where_a_negative_one_is_larger(n):
    rng = np.random.default_rng(n)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    values = np.sort(rng.normal(size=n))
    values[0] = -50.0 if n > 1 else values[0]
    matrix = torch.from_numpy(q @ np.diag(values) @ q.T)
    found = largest_eigenvalue(lambda v: [matrix @ v[0]], [torch.zeros(n, dtype=torch.float64)], steps=n)
    assert found == pytest.approx(values[-1], abs=1e-9)
    few = largest_eigenvalue(lambda v: [matrix @ v[0]], [torch.zeros(n, dtype=torch.float64)], steps=max(1, n // 4))
    assert few <= values[-1] + 1e-9, "a few steps never say too much"


def test_sharpness_of_quadratic_deep_and_what_it_leaves_alone():
    task = tw.Task.load("quadratic-deep")
    batch = next(iter(task.prepare().train.training(128, [0])))
    assert 2 / sharpness(task, task.build(0), batch, steps=60) == pytest.approx(0.0376, abs=5e-4)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    x = torch.randn(64, 4)
    task = tw.Task(model=net, train=(x, (x[:, 0] > 0).long()), batch_size=32, steps=3)
    model = task.build(0).train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = sharpness(task, model, next(iter(task.prepare().train.training(32, [0]))))
    assert math.isfinite(found) and torch.equal(state, torch.get_rng_state()) and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
