"""The p-value of the distance: against scipy, against all relabellings, and the smaller lattice against the full count."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thalweg.shifts.distributions import kolmogorov
from thalweg.shifts.distributions.kolmogorov import EXACT, Distance, distance


def both(rng, n, m, shift=0.0):
    return np.sort(rng.normal(size=n)), np.sort(rng.normal(size=m) + shift)


def reached(x, n, m):
    """D n m of a distance that there can be, next to x."""
    step = math.gcd(n, m)
    return step * round(x / math.sqrt(n * m / (n + m)) * n * m / step)


@pytest.mark.parametrize("seed", range(20))
def test_without_ties_distance_and_p_are_scipys(seed):
    rng = np.random.default_rng(seed)
    first, second = both(rng, *rng.integers(1, 80, 2), shift=rng.choice([0, 0.5, 2]))
    found, wanted = distance(first, second), stats.ks_2samp(first, second, method="exact")
    assert found.value == pytest.approx(wanted.statistic, abs=1e-12)
    assert found.p() == pytest.approx(wanted.pvalue, rel=1e-9)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=9), st.integers(1, 8))
def test_with_ties_p_is_the_share_of_all_relabellings(values, n):
    n = min(n, len(values) - 1)
    x = np.array(values, dtype=float)
    found = distance(np.sort(x[:n]), np.sort(x[n:]))
    farther = []
    for chosen in itertools.combinations(range(len(x)), n):
        mask = np.isin(np.arange(len(x)), chosen)
        farther.append(distance(np.sort(x[mask]), np.sort(x[~mask])).scaled >= found.scaled)
    assert found.p() == pytest.approx(np.mean(farther), rel=1e-9)


def test_counts_of_each_group():
    found = distance(np.array([0.0, 0, 1, 3]), np.array([0.0, 2, 3, 3, 3]))
    assert found.ends.tolist() == [3, 4, 5, 9] and found.first.tolist() == [2, 3, 3, 4]
    assert found.value == max(abs(2 / 4 - 1 / 5), abs(3 / 4 - 1 / 5), abs(3 / 4 - 2 / 5))


@pytest.mark.parametrize("x", [0.6, 1.0, 1.36, 2.0])
@pytest.mark.parametrize(
    ("n", "m", "near"), [(6000, 6000, 0.01), (30, 9000, 0.01), (1999, 4001, 0.02), (2100, 4300, 0.06)]
)
def test_the_smaller_lattice_agrees_with_the_full_count(n, m, near, x):
    ends = np.arange(1, n + m + 1)
    scaled = reached(x, n, m)
    full = kolmogorov._compiled()[1](n, m, scaled, ends)
    assert n + m > EXACT and Distance(scaled, ends, ends, n, m).p() == pytest.approx(full, rel=near)


@pytest.mark.parametrize("x", [0.6, 1.0, 1.36])
@pytest.mark.parametrize("zeros", [0.3, 0.8])
def test_the_smaller_lattice_agrees_with_the_full_count_under_ties(zeros, x):
    rng = np.random.default_rng(1)
    n, m = 4000, 4500
    pooled = np.where(rng.random(n + m) < zeros, 0, rng.integers(1, 100, n + m)).astype(float)
    ends = distance(np.sort(pooled[:n]), np.sort(pooled[n:])).ends
    scaled = reached(x, n, m)
    full = kolmogorov._compiled()[1](n, m, scaled, ends)
    free = Distance(scaled, np.arange(1, n + m + 1), ends, n, m).p()
    assert Distance(scaled, ends, ends, n, m).p() == pytest.approx(full, rel=0.1)
    assert zeros < 0.5 or free > 1.8 * full  # what taking it for continuous would say


def test_far_tails_neither_vanish_nor_exceed_the_truth():
    first, second = np.arange(300.0), np.arange(300.0) + 1000
    assert distance(first, second).p() == pytest.approx(2 / math.comb(600, 300), rel=1e-9)
    n = 100_000
    ends = np.arange(1, 2 * n + 1)
    p = [Distance(round(x * math.sqrt(2 / n) * n * n), ends, ends, n, n).p() for x in (3.9, 3.99, 4.01, 4.1, 5)]
    assert all(a > b > 0 for a, b in itertools.pairwise(p))
    assert p[2] == pytest.approx(stats.kstwobign.sf(4.01), rel=0.01)


def test_one_row_against_one_or_many():
    one = np.array([0.0])
    assert distance(one, np.array([1.0])).p() == 1 and distance(one, one).p() == 1
    assert distance(one, np.arange(1.0, 40)).p() == pytest.approx(2 / 40)
    assert distance(one, np.arange(1.0, 10_000)).p() < 1e-3
