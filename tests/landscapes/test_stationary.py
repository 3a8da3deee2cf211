"""All stationary points of surfaces where they are known, and the barriers over them."""

import itertools
import math

import numpy as np
import pytest
import torch

from thalweg.errors import BadOption
from thalweg.landscapes.classic import CLASSIC
from thalweg.landscapes.field import Function
from thalweg.landscapes.stationary import CriticalPoint, barriers, critical_points

KINDS = {"minimum": "minima", "saddle": "saddles", "maximum": "maxima", "degenerate": "degenerate"}
MUELLER_BROWN = {  # as published: value, place
    "minimum": [(-146.6995, (-0.558, 1.442)), (-108.1667, (0.623, 0.028)), (-80.7678, (-0.050, 0.467))],
    "saddle": [(-72.2489, (0.212, 0.293)), (-40.6648, (-0.822, 0.624))],
}


@pytest.mark.parametrize("name", [name for name, surface in CLASSIC.items() if surface.complete])
def test_exactly_the_listed_points_are_found(name):
    surface = CLASSIC[name]
    found = critical_points(surface)
    for kind, listed in KINDS.items():
        mine = sorted(p.at for p in found if p.kind == kind)
        assert np.array(mine).reshape(-1, 2) == pytest.approx(
            np.array(sorted(getattr(surface, listed))).reshape(-1, 2), abs=1e-9
        ), kind
    assert [p.value for p in found] == sorted(p.value for p in found)


def test_mueller_brown_as_published():
    found = critical_points(CLASSIC["mueller-brown"])
    for kind, expected in MUELLER_BROWN.items():
        mine = [p for p in found if p.kind == kind]
        assert [p.value for p in mine] == pytest.approx([value for value, _ in expected], abs=1e-3)
        for p, (_, at) in zip(mine, expected, strict=True):
            assert p.at == pytest.approx(at, abs=1e-3)


def test_the_barriers_of_mueller_brown():
    a, b, c = (value for value, _ in MUELLER_BROWN["minimum"])
    low, high = (value for value, _ in MUELLER_BROWN["saddle"])
    surface = CLASSIC["mueller-brown"]
    found = barriers(surface, critical_points(surface))
    assert [x.start.value for x in found] == pytest.approx([a, a, b], abs=1e-3)
    assert [x.end.value for x in found] == pytest.approx([b, c, c], abs=1e-3)
    assert [x.height for x in found] == pytest.approx([high - a, high - a, low - b], abs=1e-3)
    assert [x.back for x in found] == pytest.approx([high - b, high - c, low - c], abs=1e-3)


@pytest.mark.parametrize("name", ["himmelblau", "styblinski-tang", "saddle", "double-well"])
def test_no_way_on_a_grid_is_lower_than_the_barrier(name):
    """The minimax over a fine grid, by flooding it, against the one over saddles."""
    surface, side = CLASSIC[name], 241
    axes = [np.linspace(low, high, side) for low, high in surface.bounds]
    z = surface.fn(torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1))).numpy()
    found = barriers(surface, critical_points(surface))
    assert len(found) == math.comb(len(surface.minima), 2)
    from scipy.ndimage import label

    for barrier in found:
        start, end = (
            tuple(int(np.abs(axis - x).argmin()) for axis, x in zip(axes, p.at, strict=True))
            for p in (barrier.start, barrier.end)
        )
        over, slack = barrier.over.value, 0.02 * (barrier.over.value - barrier.start.value)
        below, _ = label(z <= over - slack, np.ones((3, 3)))
        above, _ = label(z <= over + slack, np.ones((3, 3)))
        assert below[start] != below[end] or not below[start]
        assert above[start] == above[end] != 0


def test_all_of_rastrigin():
    found = critical_points(CLASSIC["rastrigin"])
    assert len(found) == 441 and found[0].at == pytest.approx((0, 0), abs=1e-9)
    assert [sum(p.kind == kind for p in found) for kind in KINDS] == [121, 220, 100, 0]


def test_a_quadratic_of_any_kind_anywhere():
    for signs, kind in {(1, 1): "minimum", (1, -1): "saddle", (-1, -1): "maximum"}.items():
        turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
        a = turn.T @ torch.diag(torch.tensor(signs, dtype=torch.float64) * torch.tensor([3.0, 0.2]).double()) @ turn
        center = torch.tensor([0.3, -0.7], dtype=torch.float64)
        field = Function(lambda x, a=a, center=center: ((x - center) @ a * (x - center)).sum(-1) / 2, 2)
        [found] = critical_points(field, ((-1, 1), (-1, 1)))
        assert found.kind == kind and found.at == pytest.approx((0.3, -0.7), abs=1e-12)
        assert found.eigenvalues == pytest.approx(sorted([3 * signs[0], 0.2 * signs[1]]))
        assert not critical_points(field, ((0.5, 1), (0, 1)))


def test_what_has_no_stationary_point_gives_none():
    assert critical_points(lambda x: x[..., 0] + 2 * x[..., 1], ((-1, 1), (-1, 1))) == []
    flat_tail = critical_points(lambda x: -torch.exp(-(x**2).sum(-1)), ((3, 6), (3, 6)))
    assert flat_tail == []
    half = critical_points(lambda x: x[..., 0] * torch.log(x[..., 0]) + x[..., 1] ** 2, ((-1, 1), (-1, 1)))
    assert [p.kind for p in half] == ["minimum"] and half[0].at == pytest.approx((math.exp(-1), 0), abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_minima_less_saddles_plus_maxima_are_one(seed):
    """Poincaré–Hopf in a box through whose sides the gradient points outwards."""
    a, b, c, d, e, f, g = (3 * np.random.default_rng(seed).normal(size=7)).tolist()

    def fn(p):
        x, y = p.unbind(-1)
        xx, yy = x * x, y * y
        return xx * (xx + a * y + b * x + c) + yy * (yy + d * x + e * y) + f * x + g * y

    found = [p.kind for p in critical_points(fn, ((-20, 20), (-20, 20)))]
    assert found.count("minimum") - found.count("saddle") + found.count("maximum") == 1, found


def test_a_constant_is_degenerate_everywhere():
    found = critical_points(lambda x: 0 * x.sum(-1) + 2, ((-1, 1), (-1, 1)), starts=8)
    assert len(found) == 64 and all(p.kind == "degenerate" and p.value == 2 for p in found)


def test_minima_that_no_saddle_joins():
    """A ring of wells round a hill of which only two are known: the paths that are known count."""
    surface = CLASSIC["himmelblau"]
    points = [p for p in critical_points(surface) if p.kind == "minimum"]
    assert all(b.over is None and b.height == b.back == math.inf for b in barriers(surface, points))
    assert barriers(surface, []) == [] and barriers(surface, points[:1]) == []
    alone = CriticalPoint((0.0, 0.0), 0.0, "saddle", (-1.0, 1.0))
    assert barriers(lambda x: x[..., 0] ** 2 - x[..., 1] ** 2, [alone]) == []


def test_bounds_must_be_a_box():
    for bounds in (None, ((1, 0), (0, 1)), ((0, math.inf), (0, 1))):
        with pytest.raises(BadOption, match="bounds"):
            critical_points(CLASSIC["saddle"].fn, bounds)


def test_barriers_satisfy_the_ultrametric_inequality():
    surface = CLASSIC["himmelblau"]
    over = {frozenset((b.start.at, b.end.at)): b.over.value for b in barriers(surface, critical_points(surface))}
    for a, b, c in itertools.permutations({at for pair in over for at in pair}, 3):
        assert over[frozenset((a, c))] <= max(over[frozenset((a, b))], over[frozenset((b, c))])
