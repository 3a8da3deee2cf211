"""The edge of stability of an optimizer on two quadratics, against matrices."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.errors import BadData
from thalweg.shifts.surfaces.edge import edge

H = [np.diag([3.0, 1.0, 0.5]), np.array([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 9.0]])]
PRODUCTS = [lambda v, h=h: torch.from_numpy(h) @ v for h in H]


def stepped(recipe, steps=3):
    model = nn.Linear(2, 1).double()
    optimizer, _ = recipe.build(model)
    for k in range(steps):
        for p in model.parameters():
            p.grad = torch.full_like(p, 0.3 + k) * (1 + torch.arange(p.numel(), dtype=torch.float64).reshape(p.shape))
        optimizer.step()
    return model, optimizer


def test_gradient_descent_with_momentum_needs_no_state():
    model, _ = stepped(tw.Recipe("momentum", lr=0.2, momentum=0.9))
    kept = copy.deepcopy(model.state_dict())
    found = edge(model, tw.Recipe("momentum", lr=0.2, momentum=0.9), None, PRODUCTS, 3)
    assert found.reference == pytest.approx(0.2 * 3) and found.incoming == pytest.approx(0.2 * 9)
    assert found.limit == pytest.approx(3.8) and "would be stable" in str(found)
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())
    fast = edge(model, tw.Recipe("momentum", lr=0.5, momentum=0.9), None, PRODUCTS, 3)
    assert "would be unstable" in str(fast)


def test_adam_divides_by_what_it_has_seen():
    recipe = tw.Recipe("adam", lr=0.1, schedule="constant")
    model, optimizer = stepped(recipe)
    state = optimizer.state_dict()
    moments = [optimizer.state[p]["exp_avg_sq"].double().reshape(-1).numpy() for p in model.parameters()]
    d = np.sqrt(np.concatenate(moments) / (1 - 0.999**3)) + 1e-8
    wanted = [0.1 * np.linalg.eigvalsh(h / np.sqrt(np.outer(d, d)))[-1] for h in H]
    found = edge(model, recipe, state, PRODUCTS, 3)
    assert (found.reference, found.incoming) == pytest.approx(wanted, rel=1e-3)
    assert found.limit == pytest.approx(38)
    assert edge(model, recipe, None, PRODUCTS, 3) is None  # its denominators are not known
    with pytest.raises(BadData, match="does not fit"):
        edge(model, recipe, {"state": {0: {"exp_avg_sq": torch.zeros(7)}}, "x": 1}, PRODUCTS, 3)
