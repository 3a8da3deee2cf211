"""The surfaces against transcriptions in NumPy, and what is said of them against their derivatives."""

import math

import numpy as np
import pytest
import torch

from thalweg.landscapes.classic import CLASSIC


def beale(x, y):
    return sum((a - x * (1 - y**k)) ** 2 for k, a in ((1, 1.5), (2, 2.25), (3, 2.625)))


def mueller_brown(x, y):
    A, a, b, c = [-200, -100, -170, 15], [-1, -1, -6.5, 0.7], [0, 0, 11, 0.6], [-10, -10, -6.5, 0.7]
    x0, y0 = [1, 0, -0.5, -1], [0, 0.5, 1.5, 1]
    exponents = [a[k] * (x - x0[k]) ** 2 + b[k] * (x - x0[k]) * (y - y0[k]) + c[k] * (y - y0[k]) ** 2 for k in range(4)]
    return sum(A[k] * np.exp(exponents[k]) for k in range(4))


def ackley(x, y):
    waves = np.exp(0.5 * (np.cos(2 * np.pi * x) + np.cos(2 * np.pi * y)))
    return -20 * np.exp(-0.2 * np.sqrt(0.5 * (x * x + y * y))) - waves + np.e + 20


FORMULAS = {
    "ravine": lambda x, y: 50 * x * x + y * y / 2,
    "saddle": lambda x, y: x * x / 2 + y**4 / 4 - y * y / 2,
    "monkey-saddle": lambda x, y: np.real((x + 1j * y) ** 3),
    "double-well": lambda x, y: x**4 / 4 - x * x / 2 + 0.15 * x + y * y / 2,
    "inflection": lambda x, y: x**4 / 4 - x**3 / 3 + y * y / 2,
    "rosenbrock": lambda x, y: 100 * (y - x * x) ** 2 + (x - 1) ** 2,
    "beale": beale,
    "himmelblau": lambda x, y: (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2,
    "mueller-brown": mueller_brown,
    "rastrigin": lambda x, y: 20 + sum(z * z - 10 * np.cos(2 * np.pi * z) for z in (x, y)),
    "styblinski-tang": lambda x, y: sum(0.5 * (z**4 - 16 * z**2 + 5 * z) for z in (x, y)),
    "ackley": ackley,
}
VALUES = {  # as published
    "himmelblau": [0, 0, 0, 0],
    "mueller-brown": [-146.6995, -108.1667, -80.7678],
    "styblinski-tang": [-78.33233],
    "beale": [0],
    "ackley": [0],
    "rastrigin": [0],
    "rosenbrock": [0],
}
TIP = {"ackley"}  # its minimum has no second derivative


def test_every_surface_has_a_transcription():
    assert FORMULAS.keys() == CLASSIC.keys() and len(CLASSIC) == 12


@pytest.mark.parametrize("name", CLASSIC)
def test_a_grid_is_one_call_and_the_formula_is_the_transcription(name):
    surface = CLASSIC[name]
    (x0, x1), (y0, y1) = surface.bounds
    x, y = np.meshgrid(np.linspace(x0, x1, 23), np.linspace(y0, y1, 17), indexing="ij")
    found = surface.fn(torch.from_numpy(np.stack([x, y], -1)))
    assert found.shape == (23, 17) and found.dtype == torch.float64
    expected = FORMULAS[name](x, y)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    assert float(surface.fn(torch.tensor([x[3, 4], y[3, 4]]))) == pytest.approx(expected[3, 4], rel=1e-12)
    field = surface.field()
    assert field.n == 2 and torch.equal(field.losses(torch.from_numpy(np.stack([x, y], -1)[0])), found[0])


@pytest.mark.parametrize("name", CLASSIC)
def test_what_is_listed_is_stationary_and_of_the_kind_that_is_said(name):
    surface = CLASSIC[name]
    kinds = {"minima": (1, 1), "saddles": (-1, 1), "maxima": (-1, -1), "degenerate": None}
    for kind, signs in kinds.items():
        for point in getattr(surface, kind):
            at = torch.tensor(point, dtype=torch.float64)
            assert all(low <= z <= high for z, (low, high) in zip(point, surface.bounds, strict=True))
            slope = torch.autograd.functional.jacobian(surface.fn, at)
            if name in TIP:
                assert not slope.any()
                circle = torch.linspace(0, 2 * math.pi, 33, dtype=torch.float64)
                for radius in (1e-8, 1e-4, 0.1):
                    around = radius * torch.stack([circle.cos(), circle.sin()], -1)
                    assert (surface.fn(around) > surface.fn(at) + radius).all()
                continue
            bend = torch.autograd.functional.hessian(surface.fn, at)
            values = torch.linalg.eigvalsh(bend)
            assert float(slope.norm()) <= 1e-11 * max(1.0, float(bend.norm()))
            if signs is None:
                assert float(values.abs().min()) == 0
            else:
                assert values.sign().tolist() == list(signs)


@pytest.mark.parametrize("name", VALUES)
def test_the_minima_have_the_published_values(name):
    assert CLASSIC[name].values[: len(VALUES[name])] == pytest.approx(VALUES[name], abs=5e-5)


@pytest.mark.parametrize("name", CLASSIC)
def test_what_is_said_is_said(name):
    surface = CLASSIC[name]
    assert surface.name == name and surface.formula and surface.source
    assert (
        surface.shows.endswith(".") and surface.does_not_show.endswith(".") and surface.shows != surface.does_not_show
    )
    assert all(low < z < high for z, (low, high) in zip(surface.start, surface.bounds, strict=True))
    start = torch.tensor(surface.start, dtype=torch.float64)
    assert float(torch.autograd.functional.jacobian(surface.fn, start).norm()) > 0
