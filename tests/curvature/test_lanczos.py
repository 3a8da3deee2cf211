"""Eigenvalues against LAPACK's, on spectra of many kinds."""

import numpy as np
import pytest
import torch

from thalweg.curvature import lanczos, spectral_density, start_vector, trace


def matrix_of(values, rng):
    q, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return torch.from_numpy((q * values) @ q.T)


def spectrum(kind, n, rng):
    """Clusters, conditions from 1 to 1e8, negative tails, negative ones that dominate."""
    if kind == 0:
        return rng.normal(size=n)
    if kind == 1:
        return rng.choice(rng.normal(size=3) * 10, size=n) + 1e-6 * rng.normal(size=n)
    if kind == 2:
        return np.geomspace(1, 10.0 ** rng.uniform(0, 8), n)
    if kind == 3:
        return np.r_[-np.geomspace(1e-3, 1, n // 3), np.geomspace(1e-3, 100, n - n // 3)]
    return np.r_[-np.geomspace(1, 50, n - n // 3), rng.uniform(0, 1, n // 3)]


def test_an_eigenvalue_lies_within_the_bound_of_every_ritz_value():
    held = total = 0
    for trial in range(1000):
        rng = np.random.default_rng(trial)
        n = int(rng.integers(2, 60))
        values = np.sort(spectrum(trial % 5, n, rng))
        a = matrix_of(values, rng)
        found = lanczos(lambda v, a=a: a @ v, start_vector(n, trial), int(rng.integers(1, n + 1)))
        away = np.abs(found.values_k[:, None] - values).min(1)
        held += (away <= found.bounds_k + 1e-12 * np.abs(values).max()).sum()
        total += found.products
        assert found.products <= n and (found.values_k[-1] <= values[-1] + 1e-9 * abs(values).max())
    assert held >= 0.99 * total, (held, total)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_both_ends_are_lapacks_where_all_products_are_made(kind, n):
    rng = np.random.default_rng(n)
    values = np.sort(spectrum(kind, n, rng)[:n])
    a = matrix_of(values, rng)
    found = lanczos(lambda v: a @ v, start_vector(n, 0), n)
    assert found.values_k[[0, -1]] == pytest.approx(values[[0, -1]], rel=1e-9, abs=1e-9 * abs(values).max())
    for vector, value in zip(found.vectors_kn, found.values_k[list(found.kept)], strict=True):
        assert float(vector.norm()) == pytest.approx(1, abs=1e-9)
        assert float((a @ vector - value * vector).norm()) < 1e-7 * abs(values).max()


def test_the_largest_is_found_where_a_negative_one_is_larger_in_magnitude():
    values = np.r_[-1000.0, np.linspace(-1, 5, 199)]
    found = lanczos(lambda v: torch.from_numpy(values) * v, start_vector(200, 1), 60, tolerance=1e-6, ends=1)
    assert found.values_k[0] == pytest.approx(-1000, rel=1e-6) and found.values_k[-1] == pytest.approx(5, abs=1e-3)
    assert found.products <= 60


def test_it_stops_when_both_ends_are_sure():
    values = torch.linspace(0, 1, 500, dtype=torch.float64)
    values[-1], values[0] = 100, -50
    few = lanczos(lambda v: values * v, start_vector(500, 0), 100, tolerance=1e-3, ends=1)
    assert few.products < 20 and few.values_k[-1] == pytest.approx(100, rel=1e-3)
    assert few.bounds_k[-1] <= 0.1


def test_repeated_eigenvalues_and_a_zero_matrix():
    found = lanczos(lambda v: 3 * v, start_vector(9, 0), 9)
    assert found.values_k.tolist() == pytest.approx([3.0]) and found.exact and found.products == 1
    assert lanczos(lambda v: 0 * v, start_vector(9, 0), 9).values_k.tolist() == [0.0]


@pytest.mark.parametrize("seed", range(5))
def test_a_trace_lies_within_its_error(seed):
    rng = np.random.default_rng(seed)
    values = spectrum(seed, 60, rng)
    a = matrix_of(values, rng)
    apart = []
    for draw in range(40):
        found = trace(lambda v: a @ v, 60, probes=30, seed=draw)
        apart.append((found.value - values.sum()) / found.error if found.error else 0.0)
    assert np.mean(np.abs(apart) < 2.05) > 0.8 and abs(np.mean(apart)) < 0.6
    few = trace(lambda v: a @ v, 60, probes=30, relative=1e9)
    assert few.probes == 10


def test_the_density_is_where_the_eigenvalues_are():
    values = torch.cat([torch.zeros(150), torch.full((45,), 1.0), torch.full((5,), 10.0)]).double()
    found = spectral_density(lambda v: values * v, 200, probes=20)
    assert np.trapezoid(found.density, found.at) == pytest.approx(1, abs=1e-3)
    for centre, share in ((0, 0.75), (1, 0.225), (10, 0.025)):
        near = np.abs(found.at - centre) < 0.5
        assert np.trapezoid(found.density[near], found.at[near]) == pytest.approx(share, abs=0.03)
