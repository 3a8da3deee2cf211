"""Fields: a loss at many points at once is the loss at each of them."""

import copy

import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.curvature import Surface, batches_of
from thalweg.errors import BadTask
from thalweg.landscapes.field import Function, ModelField

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(96, 1, 8, 8, generator=GENERATOR)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).long()
NETS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)),
    "cnn": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)),
    "smooth": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2)),
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 2)),
}


def field_of(name, norm="running"):
    task = tw.Task(model=NETS[name], train=(IMAGES, LABELS), batch_size=32)
    return ModelField(task, task.build(0), batches_of(task, 2), norm)


def around(field, k=9):
    noise = torch.randn(k, field.n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return field.start + 0.1 * noise


@pytest.mark.parametrize("norm", ["running", "batch"])
@pytest.mark.parametrize("name", NETS)
def test_many_points_at_once_are_each_alone(name, norm):
    field = field_of(name, norm)
    points = around(field)
    before = copy.deepcopy(field.model.state_dict())
    together = field.losses(points)
    alone = torch.stack([field.losses(p[None])[0] for p in points])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert field.way and together.dtype == torch.float64 and together.unique().numel() == 9
    assert all(torch.equal(x, before[key]) for key, x in field.model.state_dict().items())
    assert field.model.training and all(p.grad is None for p in field.model.parameters())


def test_it_is_the_loss_and_gradient_that_a_surface_measures():
    field = field_of("cnn")
    surface = Surface(field.task, field.model, field.batches)
    value, slope = field.gradient(field.start)
    assert value == pytest.approx(surface.loss(), rel=1e-6)
    assert field.loss(field.start) == pytest.approx(surface.loss(), rel=1e-6)
    torch.testing.assert_close(slope, surface.gradient(), rtol=1e-4, atol=1e-7)


def test_batch_norm_goes_by_the_batch_where_it_is_asked_to():
    """Scaling what comes before a batch norm changes nothing then, whatever the running statistics are."""
    running, batch = field_of("cnn"), field_of("cnn", "batch")
    scaled = running.start.clone()
    scaled[: 4 * 9 + 4] *= 3
    assert batch.loss(scaled) == pytest.approx(batch.loss(batch.start), rel=1e-4)
    assert abs(running.loss(scaled) - running.loss(running.start)) > 1e-3
    assert running.normalizes and not field_of("mlp").normalizes


def test_what_cannot_be_batched_goes_one_by_one():
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 2)

        def forward(self, x):
            out = self.layer(x.flatten(1))
            return out if out.sum() > 0 else 2 * out

    task = tw.Task(model=Deciding, train=(IMAGES, LABELS), batch_size=32)
    field = ModelField(task, task.build(0), batches_of(task, 2))
    points = around(field)
    torch.testing.assert_close(field.losses(points), torch.stack([field.losses(p[None])[0] for p in points]))
    assert field.way.startswith("one by one")


def test_products_of_a_function_and_by_differences():
    field = Function(lambda x: x[..., 0] ** 2 * x[..., 1], 2)
    point, v = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert field.losses(torch.stack([point, 2 * point])).tolist() == [2.0, 16.0]
    assert field.hessian_product(point, v).tolist() == [2.0, 2.0]
    torch.testing.assert_close(super(Function, field).hessian_product(point, v), field.hessian_product(point, v))
    assert field.gradient(point)[1].tolist() == [4.0, 1.0]


def test_weights_of_another_model_are_refused():
    with pytest.raises(BadTask, match="another model"):
        field_of("mlp").point(NETS["cnn"]().state_dict())
    field = field_of("mlp")
    assert torch.equal(field.point(field.model.state_dict()), field.start)


@pytest.mark.parametrize("norm", ["running", "batch"])
@pytest.mark.parametrize("name", ["smooth", "dropout"])  # at kinks differences are none of a derivative
def test_products_are_those_by_differences(name, norm):
    field = field_of(name, norm)
    point, v = around(field)[0], around(field, 9)[8] - field.start
    exact = field.hessian_product(point, v)
    near = super(ModelField, field).hessian_product(point, v)
    assert float((exact - near).norm()) < 0.05 * float(exact.norm()) and float(exact.norm()) > 0
