"""Paths between solutions: barriers with closed forms, curves around known obstacles, and two trained networks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import nn

import thalweg as tw
from thalweg.curvature import batches_of
from thalweg.errors import BadOption, BadTask
from thalweg.landscapes.connecting import bezier, curve, line
from thalweg.landscapes.field import Field, Function, ModelField


def point(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


WELL = Function(lambda x: (x**2 - 1).square().sum(-1), 1)
RING = Function(lambda x: (x.square().sum(-1) - 1).square(), 2)
PARABOLA = Function(lambda x: (x[..., 1] - 3 * (1 - x[..., 0] ** 2)).square(), 2)


@pytest.mark.parametrize("tilt", [0.0, 0.3, -2.0])
def test_the_barrier_of_a_double_well_is_measured_from_the_line_between_its_ends(tilt):
    well = Function(lambda x: (x**2 - 1).square().sum(-1) + tilt * x.sum(-1), 1)
    found = line(well, point(-1.0), point(1.0))
    assert (found.barrier, found.at) == pytest.approx((1.0, 0.5), abs=1e-12)
    assert found.ends == pytest.approx((-tilt, tilt)) and not found.connected


@settings(max_examples=40, deadline=None)
@given(st.floats(-1.9, -0.6), st.floats(0.6, 1.9), st.integers(3, 40))
def test_the_barrier_is_no_artefact_of_the_points(a, b, count):
    def above(t):
        x, ends = (1 - t) * a + t * b, [(e**2 - 1) ** 2 for e in (a, b)]
        return (x**2 - 1) ** 2 - (1 - t) * ends[0] - t * ends[1]

    grid = np.linspace(0, 1, 2001)
    near = grid[above(grid).argmax()]
    bounds = (max(0, near - 1e-3), min(1, near + 1e-3))
    best = max(0.0, -minimize_scalar(lambda t: -above(t), bounds=bounds, method="bounded").fun)
    found = line(WELL, point(a), point(b), count=count)
    height = np.ptp([above(t) for t in grid])
    assert best - 2e-3 * height <= found.barrier <= best + 1e-9 or count < 8
    assert found.barrier == pytest.approx(max(0, above(found.at)), abs=1e-12)


def test_a_narrow_peak_is_climbed():
    peak = Function(lambda x: torch.exp(-(((x[..., 0] - 0.517) / 0.03) ** 2)), 1)
    found = line(peak, point(0.0), point(1.0), count=25)
    evenly = np.linspace(0, 1, 25)
    assert np.exp(-(((evenly - 0.517) / 0.03) ** 2)).max() < 0.8, "the even points miss the top"
    assert found.barrier == pytest.approx(1, abs=2e-3) and found.at == pytest.approx(0.517, abs=2e-3)
    assert (np.diff(found.t) > 0).all() and set(evenly) <= set(found.t) and len(found.t) < 50


def test_a_path_that_only_falls_has_no_barrier():
    bowl = Function(lambda x: x.square().sum(-1), 3)
    found = line(bowl, point(1.0, 0, 0), point(0, 0, 2.0))
    assert found.barrier == 0 and found.at in (0, 1) and found.connected and "No barrier" in found.sentence
    flat = line(Function(lambda x: 0 * x.sum(-1) + 7, 1), point(0.0), point(1.0))
    assert flat.connected and len(flat.t) == 25 and (flat.losses == 7).all()


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_on_the_way_is_an_infinite_barrier(odd):
    pole = Function(lambda x: torch.where((x[..., 0] - 0.5).abs() < 0.1, odd, 1.0), 1)
    found = line(pole, point(0.0), point(1.0))
    assert found.barrier == math.inf and abs(found.at - 0.5) < 0.1 and not found.connected
    with pytest.raises(BadTask, match="end"):
        line(pole, point(0.5), point(1.0))


@pytest.mark.parametrize("t", [0.0, 0.2, 0.7, 1.0])
def test_a_bezier_curve_is_two_lines_of_lines(t):
    """De Casteljau: the point between the points between."""
    a, c, b = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = torch.lerp(a, c, t), torch.lerp(c, b, t)
    torch.testing.assert_close(bezier(a, c, b, [t])[0], torch.lerp(first, second, t))


def test_a_valley_that_is_a_parabola_is_followed_exactly():
    """On y = 3 (1 − x²) between x = ∓1 lies the Bézier curve whose control point is (0, 6), and no other."""
    ends = point(-1.0, 0.0), point(1.0, 0.0)
    assert line(PARABOLA, *ends).barrier == pytest.approx(9)
    found = curve(PARABOLA, *ends, steps=1000)
    assert found.control.tolist() == pytest.approx([0, 6], abs=1e-6)
    assert found.barrier < 1e-10 and found.connected and (found.kind, found.steps) == ("curve", 1000)
    assert (found.losses >= 0).all() and curve(PARABOLA, *ends, steps=1).barrier > 8


@pytest.mark.parametrize("seed", [0, 1])
def test_around_the_hill_of_a_ring(seed):
    """Straight over the middle all slopes point along the line: what leads around the hill is not seen from there.

    With s = t (1 − t) the loss on the curve of control point (0, h) is (4h²s² − 4s)², its mean least at h² = E s³ / E s⁴ =
    B(4, 4) / B(5, 5) = 9/2, and there it is at most 4/81.
    """
    ends = point(-1.0, 0.0), point(1.0, 0.0)
    assert line(RING, *ends).barrier == pytest.approx(1)
    assert float(RING.gradient(point(0.4, 0.0))[1][1]) == 0
    found = curve(RING, *ends, seed=seed)
    assert [abs(x) for x in found.control.tolist()] == pytest.approx([0, 4.5**0.5], abs=1e-3)
    assert found.barrier == pytest.approx(4 / 81, rel=2e-3)


def test_the_curve_descends_along_the_gradient_of_the_mean_loss():
    """The same control point as from plain descent on the mean over a grid of t, differentiated by autograd."""
    ends = point(-1.0, 0.2), point(1.2, 0.0)
    bowl = Function(lambda x: (x[..., 0] * x[..., 1] - 0.4).square() + (x - 1).square().sum(-1), 2)
    control = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    grid = np.linspace(0, 1, 401)[1:] - 1 / 800
    opt = torch.optim.LBFGS([control], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def mean():
        opt.zero_grad()
        value = bowl.fn(bezier(ends[0], control, ends[1], grid)).mean()
        value.backward()
        return value

    opt.step(mean)
    found = curve(bowl, *ends, steps=2000)
    torch.testing.assert_close(found.control, control.detach(), atol=2e-3, rtol=0)
    assert float((found.control - (ends[0] + ends[1]) / 2).norm()) > 0.3


def test_it_is_trained_on_one_field_and_evaluated_on_another():
    class Counting(Field):
        def __init__(self, of):
            self.of, self.n, self.asked = of, of.n, []

        def losses(self, points_Kn):
            self.asked.append("losses")
            return self.of.losses(points_Kn)

        def gradient(self, point_n):
            self.asked.append("gradient")
            return self.of.gradient(point_n)

    train, own, ends = Counting(PARABOLA), Counting(RING), (point(-1.0, 0.0), point(1.0, 0.0))
    found = curve(own, *ends, train_field=train, steps=30)
    assert train.asked == ["gradient"] * 30 and set(own.asked) == {"losses"}
    torch.testing.assert_close(found.control, curve(PARABOLA, *ends, steps=30).control)
    assert found.losses[len(found.t) // 2] == RING.loss(
        bezier(ends[0], found.control, ends[1], found.t[len(found.t) // 2 :][:1])[0]
    )


def test_mini_batches_take_turns():
    """Two halves of a loss, each with a valley of its own: the curve goes through that of their mean."""
    halves = [Function(lambda x, h=h: (x[..., 1] - h * (1 - x[..., 0] ** 2)).square(), 2) for h in (2, 4)]
    ends = point(-1.0, 0.0), point(1.0, 0.0)
    found = curve(PARABOLA, *ends, train_field=halves, steps=3000)
    assert found.control.tolist() == pytest.approx([0, 6], abs=0.1)
    only = curve(PARABOLA, *ends, train_field=halves[:1], steps=1000).control
    assert only.tolist() == pytest.approx([0, 4], abs=1e-6)


def test_the_same_point_twice_and_a_seed():
    there = point(1.0, 0.0)
    assert curve(RING, there, there).control.tolist() == [1, 0]
    ends, state = (point(-1.0, 0.0), point(1.0, 0.0)), torch.get_rng_state()
    a, b, c = (curve(RING, *ends, steps=20, seed=seed).control for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(state, torch.get_rng_state())


def test_what_is_not_allowed():
    a, b = point(-1.0, 0.0), point(1.0, 0.0)
    for wrong in ({"count": 2}, {"count": 2.5}, {"steps": 0}, {"rate": -1.0}):
        with pytest.raises(BadOption, match=next(iter(wrong))):
            curve(RING, a, b, **wrong)
    with pytest.raises(BadTask, match="shape"):
        line(RING, point(1.0), b)
    with pytest.raises(BadTask, match="train_field"):
        curve(RING, a, b, train_field=WELL)
    with pytest.raises(BadTask, match="train_field"):
        curve(RING, a, b, train_field=[])


def test_a_dictionary_of_plain_values():
    found = line(WELL, point(-1.0), point(1.0)).as_dict()
    assert found["kind"] == "line" and found["barrier"] == 1 and len(found["t"]) == len(found["losses"])
    assert all(isinstance(x, float) for x in found["losses"]) and "barrier of 1" in found["sentence"]


@pytest.fixture(scope="module")
def two_runs():
    task = tw.Task.load("digits")
    models = [tw.train(task, tw.Recipe("momentum", lr=0.1), seed=seed, quiet=True).model for seed in (0, 1)]
    return task, models


def test_two_trained_networks_are_connected_by_a_curve(two_runs):
    task, (a, b) = two_runs
    field = ModelField(task, a, batches_of(task, 2, rows=640))
    there = field.point(b.state_dict())
    straight = line(field, field.start, there)
    assert straight.barrier > 0.1
    before = {name: x.clone() for name, x in a.state_dict().items()}
    found = curve(field, field.start, there)
    assert found.barrier <= 0.1 * straight.barrier
    assert all(torch.equal(x, before[name]) for name, x in a.state_dict().items())
    assert all(p.grad is None for p in a.parameters()) and isinstance(a, nn.Module)


def test_the_curve_holds_on_rows_that_it_was_not_trained_on(two_runs):
    task, (a, b) = two_runs
    data = task.prepare()
    field = ModelField(task, a, list(data.judge.batches(250)))
    train = ModelField(task, a, batches_of(task, 2, rows=640))
    ends = field.start, field.point(b.state_dict())
    found = curve(field, *ends, train_field=train)
    assert found.barrier <= 0.25 * line(field, *ends).barrier
