"""Directions: isotropy, lengths, the same picture for rescaled twins, principal planes against numpy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.curvature import Surface, batches_of
from thalweg.errors import BadTask
from thalweg.landscapes import directions
from thalweg.landscapes.balance import balance
from thalweg.landscapes.field import ModelField

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(96, 1, 8, 8, generator=GENERATOR)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).long()


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 2, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2),
    )  # fmt: skip


def rescaled(model, kind):
    """A twin that computes the same: units' incoming weights times a number, outgoing ones divided by it."""
    twin, draw = copy.deepcopy(model), torch.Generator().manual_seed(3)

    def numbers(k):
        return torch.exp(0.7 * torch.randn(k, generator=draw))

    with torch.no_grad():
        if kind == "relu":
            for a, b in ((1, 3), (3, 5)):
                s = numbers(len(twin[a].weight))
                twin[a].weight *= s[:, None]
                twin[a].bias *= s
                twin[b].weight /= s
        if kind == "batch norm":  # what comes before it does not matter, and its own scale is a unit's
            for conv, norm in ((0, 1), (4, 5)):
                s = numbers(len(twin[conv].weight))
                twin[conv].weight *= s[:, None, None, None]
                if twin[conv].bias is not None:
                    twin[conv].bias *= s
                twin[norm].running_mean *= s
                twin[norm].running_var *= s**2
            s = numbers(4)
            twin[1].weight *= s
            twin[1].bias *= s
            twin[4].weight /= s[:, None, None]
            s = numbers(5)
            twin[5].weight *= s
            twin[5].bias *= s
            twin[8].weight /= s.repeat_interleave(4)
    return twin


def of(make):
    task = tw.Task(model=make, train=(IMAGES, LABELS), batch_size=32)
    model = task.build(0)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(7))
        model(IMAGES)  # running statistics
    return task, model.eval()


@pytest.mark.parametrize("norm", ["running", "batch"])
@pytest.mark.parametrize(("make", "kind"), [(mlp, "relu"), (cnn, "batch norm")])
def test_a_rescaled_twin_has_the_same_surface(make, kind, norm):
    task, model = of(make)
    twin = rescaled(model, kind)
    with torch.no_grad():
        torch.testing.assert_close(twin(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)
    seen, plain = [], []
    for net in (model, twin):
        field = ModelField(task, net, batches_of(task, 2), norm)
        scales, units = balance(net, lambda m: m(IMAGES))
        assert units == (14 if make is mlp else 9)
        for found, own in ((seen, scales), (plain, None)):
            a, b = (directions.random(net, seed, own) for seed in (0, 1))
            points = torch.stack([field.start + x * a + y * b for x in (-1, 0, 0.5) for y in (-0.7, 0, 1)])
            found.append(field.losses(points))
    torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-5)
    assert float((plain[0] - plain[1]).abs().max()) > 1e-2, "without balance the pictures differ"


def test_what_is_not_homogeneous_is_not_balanced():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 2))
    scales, units = balance(net, lambda m: m(IMAGES))
    assert units == 0 and bool((scales == 1).all())


def test_filters_are_as_long_as_the_models_and_nothing_else_moves():
    _, net = of(cnn)
    d = directions.random(net, 0)
    at = 0
    for p in net.parameters():
        part, at = d[at : at + p.numel()].reshape(p.shape), at + p.numel()
        if p.ndim > 1:
            torch.testing.assert_close(part.flatten(1).norm(dim=1), p.detach().double().flatten(1).norm(dim=1))
        else:
            assert not part.any()
    transposed = nn.ConvTranspose2d(3, 4, 2, bias=False)
    own = directions.random(transposed, 0).reshape(3, 4, 2, 2).movedim(1, 0).flatten(1).norm(dim=1)
    torch.testing.assert_close(own, transposed.weight.detach().double().movedim(1, 0).flatten(1).norm(dim=1))


def test_no_direction_is_preferred():
    """Within a filter: mean 0, covariance a multiple of the identity, uniform on the sphere."""
    net = nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, 0, 0, 0, 0]]))
    drawn = torch.stack([directions.random(net, seed) for seed in range(4000)])
    torch.testing.assert_close(drawn.norm(dim=1), torch.full((4000,), 3.0).double())
    error = 3 / np.sqrt(4000)
    assert float(drawn.mean(0).abs().max()) < 4 * error / np.sqrt(5)
    covariance = drawn.T @ drawn / 4000
    torch.testing.assert_close(covariance, 9 / 5 * torch.eye(5).double(), rtol=0, atol=0.25)


def test_principal_directions_are_numpys():
    points = np.random.default_rng(0).normal(size=(12, 40)) * np.geomspace(5, 0.1, 40)
    found = directions.principal(torch.from_numpy(points))
    _, s, v = np.linalg.svd(points - points.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.explained, s[:2] ** 2 / (s**2).sum(), rtol=1e-10)
    np.testing.assert_allclose(np.abs((found.axes.numpy() * v[:2]).sum(1)), 1, rtol=1e-9)
    rest = points - points.mean(0) - found.at @ found.axes.numpy()
    np.testing.assert_allclose(found.off, np.linalg.norm(rest, axis=1), rtol=1e-10)
    np.testing.assert_allclose(found.axes.numpy() @ found.axes.numpy().T, np.eye(2), atol=1e-12)


def test_points_on_a_line_span_no_plane():
    line = torch.arange(5.0)[:, None] * torch.ones(1, 3)
    with pytest.raises(BadTask, match="span"):
        directions.principal(line)
    with pytest.raises(BadTask, match="on a line"):
        directions.plane_of(line[0], line[1], line[4])


def test_coordinates_at_skew_axes():
    axes = torch.tensor([[1.0, 1, 0], [0, 2, 0]], dtype=torch.float64)
    at, off = directions.coordinates(torch.tensor([[3.0, 7.0, 4.0]]), torch.zeros(3), axes)
    np.testing.assert_allclose(at, [[3, 2]], atol=1e-12)
    np.testing.assert_allclose(off, [4], atol=1e-12)


def test_the_ends_of_a_known_spectrum():
    x = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5]))
    task = tw.Task(
        model=lambda: nn.Linear(4, 1, bias=False), train=(x, torch.zeros(4, 1)), valid=(x, torch.zeros(4, 1)),
        loss=nn.MSELoss(), batch_size=4,
    )  # fmt: skip
    surface = Surface(task, task.build(0), batches_of(task, 1), double=True)
    found = directions.ends(surface.hessian(), surface.n)
    assert found.values == pytest.approx((4.5, 0.125), rel=1e-6)
    np.testing.assert_allclose(found.vectors.abs().numpy(), np.eye(4)[[0, 3]], atol=1e-5)
