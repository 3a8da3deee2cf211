"""How many rows it takes: the textbook's distance, and power by simulation."""

import math
import re

import numpy as np
import pytest

from thalweg.errors import BadOption
from thalweg.shifts.distributions.kolmogorov import distance
from thalweg.shifts.distributions.power import critical_distance, enough, rows_needed, visible


def test_critical_distances_of_the_tables():
    assert critical_distance(1000, 1000) == pytest.approx(0.0607, abs=1e-4)
    for level, factor in ((0.1, 1.224), (0.05, 1.358), (0.01, 1.628), (0.001, 1.949)):
        assert critical_distance(400, 100, level) == pytest.approx(factor * math.sqrt(500 / 40_000), rel=1e-3)


@pytest.mark.parametrize("n", [200, 1000])
def test_the_critical_distance_is_exceeded_at_the_level(n):
    rng, critical = np.random.default_rng(n), critical_distance(n, n + 1)
    far = []
    for _ in range(1000):
        x = rng.normal(size=2 * n + 1)
        far.append(distance(np.sort(x[:n]), np.sort(x[n:])).value >= critical)
    assert abs(np.mean(far) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize(
    ("effect", "tests", "power", "least", "most"),
    [
        (0.3, 1, 0.8, 0.75, 0.85),
        (0.5, 100, 0.8, 0.75, 0.85),
        (1.0, 784, 0.9, 0.87, 0.98),
        (0.5, 1, 0.5, 0.44, 0.58),
        (2.0, 1, 0.8, 0.78, 1),
    ],
)
def test_with_the_rows_needed_the_power_is_as_stated(effect, tests, power, least, most):
    rng, rows, found = np.random.default_rng(0), rows_needed(effect, power=power, tests=tests), []
    for _ in range(1000):
        x, y = np.sort(rng.normal(size=(2, rows)))
        found.append(distance(x, y + effect).p() < 0.05 / tests)
    assert least < np.mean(found) < most, np.mean(found)


def test_smaller_effects_more_tests_more_power_take_more_rows():
    assert rows_needed(0.1) > rows_needed(0.2) > rows_needed(0.4)
    assert rows_needed(0.5, tests=1000) > rows_needed(0.5, tests=10) > rows_needed(0.5)
    assert rows_needed(0.5, power=0.95) > rows_needed(0.5, power=0.8) and rows_needed(0.5, 0.01) > rows_needed(0.5)
    assert rows_needed(20.0) <= 5 and rows_needed(20.0, tests=5000) >= 10 and 2 / math.comb(18, 9) > 0.05 / 5000


@pytest.mark.parametrize(("n", "m"), [(1000, 20), (20, 1000), (30, 20), (60, 50)])
def test_the_rows_that_are_said_to_do_do(n, m):
    said = enough(n, m, effect=0.5, tests=10)
    assert f"{n} reference and {m} incoming" in said and "10 features" in said
    wanted, side = re.search(r"(\d+) (incoming|reference|of each) would do", said).groups()
    count = int(wanted)
    asked = {"incoming": (n, count), "reference": (count, m), "of each": (count, count)}
    assert enough(*asked[side], effect=0.5, tests=10) is None
    less = {"incoming": (n, count - 1), "reference": (count - 1, m), "of each": (count - 1, count - 1)}
    assert enough(*less[side], effect=0.5, tests=10) is not None


@pytest.mark.parametrize(("n", "m", "tests"), [(100, 100, 1), (400, 120, 10)])
def test_the_visible_effect_is_seen_as_often_as_stated(n, m, tests):
    rng, effect = np.random.default_rng(1), visible(n, m, level=0.01, tests=tests)
    found = []
    for _ in range(600):
        x, y = np.sort(rng.normal(size=n)), np.sort(rng.normal(size=m)) + effect
        found.append(distance(x, y).p() < 0.01 / tests)
    assert 0.72 < np.mean(found) < 0.88, np.mean(found)


def test_the_visible_effect_is_the_other_way_round_of_the_rows_needed():
    for effect in (0.2, 0.5, 1.0):
        rows = rows_needed(effect, 0.01, tests=20)
        assert visible(rows, rows, level=0.01, tests=20) <= effect < visible(rows - 1, rows - 1, level=0.01, tests=20)
    assert visible(5, 5, level=0.01, tests=100) == math.inf


def test_wrong_use_says_what():
    for wrong in (
        {"effect": 0.0},
        {"effect": 1.0, "level": 1.0},
        {"effect": 1.0, "power": 1.0},
        {"effect": 1.0, "tests": 0},
    ):
        with pytest.raises(BadOption):
            rows_needed(**wrong)
    with pytest.raises(BadOption):
        critical_distance(0, 5)
