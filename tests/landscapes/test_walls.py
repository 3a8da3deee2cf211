"""Walls and escapes against the double well, whose wall is a root of a cubic, and other closed forms."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import thalweg as tw
from thalweg.curvature import batches_of
from thalweg.errors import BadData, BadOption
from thalweg.landscapes.classic import CLASSIC
from thalweg.landscapes.escape import escape
from thalweg.landscapes.field import Function, ModelField
from thalweg.landscapes.walls import rise_between, walls

WELL = Function(lambda x: (x**4 / 4 - x**2 / 2 + 0.15 * x).sum(-1), 1)
LOW, TOP, HIGH = np.sort(np.roots([1, 0, -1, 0.15]).real)  # f' = x³ − x + .15


def f(x):
    return x**4 / 4 - x**2 / 2 + 0.15 * x


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(("minimum", "sign"), [(HIGH, -1), (LOW, 1)])
@pytest.mark.parametrize("reach", [2.0, 7.3])
def test_the_wall_of_the_double_well(minimum, sign, reach):
    found = walls(WELL, tensor(minimum), directions={"x": tensor(5.0)}, reach=reach)
    wall, none = sorted(found.walls, key=lambda w: w.sign != sign)
    assert wall.found and wall.distance == pytest.approx(abs(minimum - TOP), abs=1e-6)
    assert wall.height == pytest.approx(f(TOP) - f(minimum), abs=1e-9) and wall.lowest == 0
    assert not none.found and math.isnan(none.height) and none.reach == reach
    assert found.nearest == found.lowest == wall and found.loss == pytest.approx(f(minimum))
    assert f"none within {reach:.4g}" in str(found) and f"{wall.distance:.4g}" in str(found)
    assert f"Walls on 1 of 2 ways: the nearest {wall.distance:.4g} away ({wall.way})" in found.sentence
    assert found.as_dict()["sentence"] == found.sentence


def test_within_less_reach_there_is_none():
    found = walls(WELL, tensor(HIGH), directions={"x": tensor(1.0)}, reach=HIGH - TOP - 0.01)
    assert not any(w.found for w in found.walls) and found.nearest is None and found.lowest is None
    assert found.sentence == f"No wall within {HIGH - TOP - 0.01:.4g} on any of 2 ways."


def test_the_line_to_the_other_well():
    found = walls(WELL, tensor(HIGH), directions={}, reach=1.0, other=tensor(LOW)).between
    assert found.distance == pytest.approx(HIGH - LOW) and found.at == pytest.approx(
        (HIGH - TOP) / (HIGH - LOW), abs=1e-6
    )
    assert found.height == pytest.approx(f(TOP) - f(HIGH), abs=1e-9)
    assert found.back == pytest.approx(f(TOP) - f(LOW), abs=1e-9)
    down = walls(
        Function(lambda x: (x**2).sum(-1), 1), tensor(1.0), directions={}, reach=1.0, other=tensor(0.0)
    ).between
    assert down.height == 0 and down.back == pytest.approx(1) and down.at == 0


def test_directions_of_a_surface_of_two_numbers():
    field, (a, b) = CLASSIC["saddle"].field(), CLASSIC["saddle"].minima
    found = walls(field, tensor(*a), directions={"soft": tensor(0.0, 1.0), "steep": tensor(1.0, 0.0)}, reach=4.0,
                  other=tensor(*b))  # fmt: skip
    by_name = {(w.direction, w.sign): w for w in found.walls}
    assert by_name["soft", 1].distance == pytest.approx(1, abs=1e-6)
    assert by_name["soft", 1].height == pytest.approx(0.25, abs=1e-9)
    assert not any(by_name[key].found for key in [("soft", -1), ("steep", 1), ("steep", -1)])
    assert found.between.height == pytest.approx(0.25, abs=1e-9) == found.between.back


@pytest.mark.parametrize("period", [0.01, 1.0, 30.0])
def test_a_wave_has_its_wall_at_half_its_period(period):
    field = Function(lambda x: 1 - torch.cos(2 * math.pi * x / period).sum(-1), 1)
    found = walls(field, tensor(0.0), directions={"x": tensor(1.0)}, reach=2 * period)
    assert [w.distance for w in found.walls] == pytest.approx([period / 2] * 2, rel=1e-6)
    assert [w.height for w in found.walls] == pytest.approx([2, 2], rel=1e-9)


def test_a_sharp_wall_is_placed_within_its_bracket():
    field = Function(lambda x: torch.minimum(x.abs(), 2 * (1 - x).abs()).sum(-1), 1)
    found = walls(field, tensor(0.0), directions={"x": tensor(1.0)}, reach=1.5)
    assert found.walls[0].distance == pytest.approx(2 / 3, abs=1e-3) and found.walls[0].height == pytest.approx(
        2 / 3, abs=1e-3
    )


def test_rounding_makes_no_wall():
    a = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    bowl = Function(lambda x: sum(F.softplus(s * x.float() @ a) for s in (1, -1)).mean(-1).double(), 20)
    at = torch.zeros(20, dtype=torch.float64)
    directions = {str(k): torch.randn(20, generator=torch.Generator().manual_seed(k)) for k in range(20)}
    for reach in (1e-3, 1.0):
        found = walls(bowl, at, directions=directions, reach=reach)
        assert not any(w.found for w in found.walls) and 1e-7 < found.tolerance < 1e-5


def test_where_it_is_no_minimum_it_says_so():
    found = walls(WELL, tensor(HIGH + 0.3), directions={"x": tensor(1.0)}, reach=1.5)
    wall = found.walls[1]
    assert wall.lowest == pytest.approx(f(HIGH) - f(HIGH + 0.3), abs=1e-3)
    assert wall.distance == pytest.approx(HIGH + 0.3 - TOP, abs=1e-6)
    assert wall.height == pytest.approx(f(TOP) - f(HIGH + 0.3), abs=1e-9)
    assert "Not a minimum along x −" in str(found)


def test_a_loss_that_ends_being_finite_ends_the_reach():
    field = Function(lambda x: torch.where(x.abs() > 1, torch.nan, x**2).sum(-1), 1)
    found = walls(field, tensor(0.0), directions={"x": tensor(1.0)}, reach=4.0)
    assert not found.walls[0].found and 0.9 < found.walls[0].reach <= 1


def test_walls_of_a_model_leave_it_as_it_was():
    task = tw.Task.load("digits")
    model = task.build(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    field = ModelField(task, model, batches_of(task, 1))
    random = torch.randn(field.n, generator=torch.Generator().manual_seed(1))
    found = walls(field, field.start, directions={"random": random}, reach=1.0, other=-field.start, points=16)
    assert len(found.walls) == 2 and math.isfinite(found.between.height)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    json.dumps(found.as_dict())


def test_wrong_use_of_walls():
    with pytest.raises(BadData, match="x has 2 numbers, and the field has 1"):
        walls(WELL, tensor(0.0), directions={"x": torch.ones(2)}, reach=1.0)
    with pytest.raises(BadData, match="no length"):
        walls(WELL, tensor(0.0), directions={"x": torch.zeros(1)}, reach=1.0)
    with pytest.raises(BadData, match="is nan"):
        walls(Function(lambda x: x.sum(-1) * torch.nan, 1), tensor(0.0), directions={}, reach=1.0)
    with pytest.raises(BadOption, match="reach"):
        walls(WELL, tensor(0.0), directions={}, reach=0.0)


def test_the_first_wall_between_two_points():
    assert rise_between(WELL, tensor(HIGH), tensor(LOW)) == pytest.approx(f(TOP) - f(HIGH), abs=1e-9)
    assert rise_between(WELL, tensor(HIGH), tensor(TOP + 0.05)) == 0 == rise_between(WELL, tensor(HIGH), tensor(HIGH))


def test_d3_momentum_leaves_the_upper_well():
    found = escape(
        WELL, tensor(HIGH), start=tensor(2.0), rates=(0.02,), momentums=(0.0, 0.5, 0.8, 0.9, 0.95), steps=1000
    )
    assert [a.left for a in found.attempts] == [False, False, False, True, True]
    assert [a.distance for a in found.attempts] == pytest.approx([0, 0, 0, HIGH - LOW, HIGH - LOW], abs=5e-4)
    assert [a.loss for a in found.attempts] == pytest.approx([f(HIGH)] * 3 + [f(LOW)] * 2, abs=1e-6)
    assert [(a.lr, a.momentum) for a in found.least] == [(0.02, 0.9)]
    assert found.attempts[0].farthest == pytest.approx(2 - HIGH) and found.attempts[3].wall == pytest.approx(
        f(TOP) - f(HIGH)
    )
    assert str(found) == "momentum: 2 of 5 runs of 1000 steps leave the minimum, from lr 0.02 with momentum 0.9 on"
    json.dumps(found.as_dict())


@pytest.mark.parametrize(("momentum", "edge"), [(None, 2 / 100), (0.5, 2 * 1.5 / 100), (0.9, 2 * 1.9 / 100)])
def test_on_a_quadratic_it_leaves_from_the_stability_limit_on(momentum, edge):
    bowl = Function(lambda x: 50 * (x**2).sum(-1), 1)
    rule, momentums = ("gd", None) if momentum is None else ("momentum", (momentum,))
    found = escape(
        bowl, tensor(0.0), rule=rule, rates=(0.5 * edge, 0.99 * edge, 1.01 * edge, 2 * edge), momentums=momentums,
        steps=800, distance=1.0,
    )  # fmt: skip
    assert [a.left for a in found.attempts] == [False, False, True, True]
    assert [a.lr for a in found.least] == [1.01 * edge]


def test_the_least_are_those_below_which_nothing_leaves():
    found = escape(
        WELL, tensor(HIGH), start=tensor(2.0), rates=(0.02, 0.05), momentums=(0.5, 0.8, 0.9, 0.95), steps=500
    )
    left = {(a.lr, a.momentum) for a in found.attempts if a.left}
    least = {(a.lr, a.momentum) for a in found.least}
    assert least == {p for p in left if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in left)} and least
    assert {p for p in left if p[0] == 0.02} == {(0.02, 0.9), (0.02, 0.95)}


def test_noise_throws_it_over_the_wall():
    quiet, loud = (
        escape(WELL, tensor(HIGH), rule="gd", rates=(0.1,), steps=500, noise=noise, distance=HIGH - TOP, seed=3)
        for noise in (0.0, 3.0)
    )
    assert not quiet.least and loud.attempts[0].farthest > HIGH - TOP
    assert "none of 1 runs of 500 steps leaves" in quiet.sentence
    again = escape(WELL, tensor(HIGH), rule="gd", rates=(0.1,), steps=500, noise=3.0, distance=HIGH - TOP, seed=3)
    assert again == loud


def test_escape_from_a_model_leaves_it_as_it_was():
    task = tw.Task.load("digits")
    model = task.build(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    field = ModelField(task, model, batches_of(task, 1))
    found = escape(field, field.start, rule="gd", rates=(1e-4, 1e4), steps=5, distance=5.0)
    assert [a.left for a in found.attempts] == [False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_wrong_use_of_escape():
    with pytest.raises(BadOption, match="too long"):
        escape(Function(lambda x: x.sum(-1), 10**6), torch.zeros(10**6), steps=1000)
    with pytest.raises(BadData, match="must have 1 numbers"):
        escape(WELL, torch.zeros(2))
    with pytest.raises(BadOption, match="steps"):
        escape(WELL, torch.zeros(1), steps=0)
