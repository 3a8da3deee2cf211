"""Grids: what is evaluated, what is interpolated, and how sure that is."""

import numpy as np
import pytest
import torch

from thalweg.landscapes import grids
from thalweg.landscapes.field import Function

EYE = torch.eye(2).double()
ZERO = torch.zeros(2).double()
AT = np.linspace(-2, 2, 41)


class Counting:
    """A field that counts its points."""

    def __init__(self, fn):
        self.n, self.count, self._field = 2, 0, Function(fn, 2)

    def losses(self, points):
        self.count += len(points)
        return self._field.losses(points)


def bowl(x):
    return 1 + 3 * x[..., 0] ** 2 + x[..., 1] ** 2


def test_a_quadratic_is_exact():
    """Where all is evaluated, at skew axes from an origin elsewhere."""
    axes, origin = torch.tensor([[1.0, 1.0], [0.5, -1.0]]).double(), torch.tensor([0.3, -0.2], dtype=torch.float64)
    found = grids.evaluate(Function(bowl, 2), origin, axes, [AT, AT[:9]], refine=False)
    y, x = np.meshgrid(AT[:9], AT, indexing="ij")
    p, q = 0.3 + x + 0.5 * y, -0.2 + x - y
    np.testing.assert_allclose(found.values, 1 + 3 * p**2 + q**2, rtol=1e-13)
    assert found.values.shape == (9, 41) and found.complete and found.evaluated.all() and found.error == 0


def test_points_are_saved_where_the_surface_is_straight_and_not_where_it_bends():
    def fold(x):
        return 1 + 4 * torch.relu(x[..., 0] - 0.35) + 0.1 * x[..., 1]

    field = Counting(fold)
    found = grids.evaluate(field, ZERO, EYE, [AT, AT])
    y, x = np.meshgrid(AT, AT, indexing="ij")
    true = 1 + 4 * np.maximum(x - 0.35, 0) + 0.1 * y
    assert field.count < 0.7 * 41 * 41 and found.error < 0.01
    np.testing.assert_allclose(found.values, true, atol=0.02)
    bend = found.evaluated[:, np.abs(AT - 0.35) < 0.15]
    assert bend.all() and not found.evaluated[:, AT < -1].all()


def test_the_stated_error_bounds_that_of_what_was_checked():
    found = grids.evaluate(Function(bowl, 2), ZERO, EYE, [AT, AT])
    y, x = np.meshgrid(AT, AT, indexing="ij")
    size = np.maximum(1 + 3 * x**2 + y**2, np.median(found.values))
    assert np.max(np.abs(found.values - (1 + 3 * x**2 + y**2)) / size) < 0.02
    assert found.checked > 0 or found.evaluated.all()


def test_one_axis():
    """A few points are not worth refining; of many, a part is evaluated."""
    wave = Function(lambda x: 2 + torch.sin(3 * x).sum(-1), 1)
    few = grids.evaluate(wave, ZERO[:1], EYE[:1, :1], [AT])
    assert few.values.shape == (41,) and few.evaluated.all()
    np.testing.assert_allclose(few.values, 2 + np.sin(3 * AT), rtol=1e-12)
    at = np.linspace(-2, 2, 801)
    many = grids.evaluate(wave, ZERO[:1], EYE[:1, :1], [at])
    assert many.evaluated.mean() < 0.6
    np.testing.assert_allclose(many.values, 2 + np.sin(3 * at), rtol=0.01)


def test_an_interruption_keeps_what_is_done():
    class Stopping(Counting):
        def losses(self, points):
            if self.count >= 200:
                raise KeyboardInterrupt
            return super().losses(points)

    found = grids.evaluate(Stopping(bowl), ZERO, EYE, [AT, AT], refine=False)
    assert not found.complete and found.evaluated.sum() >= 192
    assert np.isfinite(found.values[found.evaluated]).all() and np.isnan(found.values[~found.evaluated]).all()
    assert found.evaluated[18:23, 18:23].all()  # the middle first


def test_what_is_not_finite_is_evaluated_all_around():
    def cliff(x):
        return torch.where(x[..., 0] > 1, torch.full_like(x[..., 0], torch.inf), x[..., 0] ** 2)

    found = grids.evaluate(Function(cliff, 2), ZERO, EYE, [AT, AT])
    assert np.isinf(found.values[:, AT > 1.0001]).all() and np.isfinite(found.values[:, AT < 0.9999]).all()


def test_an_empty_axis_is_refused():
    with pytest.raises(ValueError, match="points along an axis"):
        grids.evaluate(Function(bowl, 2), ZERO, EYE, [AT[:0], AT])
