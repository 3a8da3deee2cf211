"""Lines and planes: fewer places where a smooth curve says the others, all of them where it does not."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.shifts.rows import Rows, drawn
from thalweg.shifts.surfaces.sections import ACROSS, ALONG, SECTION_ROWS, _over, along, few, line_along

AT = np.linspace(-2, 2, ALONG)


def asked(function, at=AT):
    places = []
    found, evaluated = along(lambda s: places.extend(s) or [function(x) for x in s], at)
    assert len(places) == len(set(places)) == evaluated
    return found, evaluated


@pytest.mark.parametrize("function", [np.exp, np.cos, lambda x: 3 * x**2 - x + 1, lambda x: 0.0 * x])
def test_smooth_losses_are_asked_for_at_half_of_the_places(function):
    found, evaluated = asked(function)
    assert evaluated == 9 and np.abs(found - function(AT)).max() <= 0.01 * max(np.ptp(function(AT)), 1e-9)


def test_near_a_bend_every_place_is_asked_for():
    found, evaluated = asked(lambda x: abs(x - 0.1))
    assert 9 < evaluated < ALONG and np.abs(found - np.abs(AT - 0.1)).max() < 0.01 * 2
    rough = np.random.default_rng(0).normal(size=ALONG)
    found, evaluated = asked(lambda x: rough[round((x + 2) * 4)])
    assert evaluated == ALONG and (found == rough).all()


def test_what_is_not_finite_is_never_between():
    found, evaluated = asked(lambda x: np.inf if x > 1.3 else x)
    assert evaluated == ALONG and np.isinf(found[AT > 1.3]).all() and (found[AT <= 1.3] == AT[AT <= 1.3]).all()


@pytest.fixture
def surface():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, generator=g, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    task = tw.Task(model=lambda: nn.Linear(3, 1, bias=False).double(), train=(x, y), loss=F.mse_loss, steps=1)
    return Rows(task, task.build(0), drawn((x, y), 600))


def test_a_quadratic_over_a_plane_is_exact_from_a_third_of_the_places(surface):
    turn, grids = torch.eye(3, dtype=torch.float64)[:, :2], [np.linspace(-1, 2, ACROSS), np.linspace(-2, 1, ACROSS)]
    found, evaluated = _over(surface, turn, grids)
    assert 49 < evaluated < 70
    [batch] = [torch.cat([b.inputs for b in surface.batches])]
    w = surface.model.weight.detach()[0] - torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    for i, j in ((0, 0), (3, 8), (12, 11), (5, 5)):
        moved = w + turn @ torch.tensor([grids[0][i], grids[1][j]], dtype=torch.float64)
        assert found[i, j] == pytest.approx(float((batch @ moved).square().mean()), rel=1e-10)


def test_a_plane_that_no_spline_fits_is_evaluated_everywhere(surface, monkeypatch):
    random = np.random.default_rng(0)
    monkeypatch.setattr(surface, "loss", lambda: float(random.normal()))
    found, evaluated = _over(surface, torch.eye(3, dtype=torch.float64)[:, :2], [np.linspace(-1, 1, ACROSS)] * 2)
    assert evaluated == ACROSS**2 and np.isfinite(found).all()
    monkeypatch.setattr(surface, "loss", lambda: float("nan"))
    assert _over(surface, torch.eye(3, dtype=torch.float64)[:, :2], [np.linspace(-1, 1, ACROSS)] * 2)[1] == ACROSS**2


def test_sections_say_how_many_rows_they_are_of(surface):
    small = few(surface)
    assert small.rows == SECTION_ROWS and few(surface, 10).rows == 10 and few(surface, 10**6).rows == 600
    first = torch.cat([b.inputs for b in surface.batches])[:SECTION_ROWS]
    assert torch.equal(torch.cat([b.inputs for b in small.batches]), first)
    line = line_along("x", torch.ones(3, dtype=torch.float64), 1.0, small, few(surface, 60))
    assert line.rows == (128, 60) and line.evaluated == (9, 9)
