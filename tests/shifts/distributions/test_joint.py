"""Both joint tests: level, power, what marginals do not show, and their parts against other transcriptions."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from thalweg.errors import BadData, BadOption
from thalweg.shifts.distributions import joint
from thalweg.shifts.distributions.joint import classifier_test, mmd_test
from thalweg.shifts.distributions.nulls import null

BOTH = (classifier_test, mmd_test)


def mixed(rng, rows):
    """Normal, skewed and heavy-tailed, categories, missing; correlated."""
    data = np.c_[
        rng.normal(size=(rows, 3)), rng.exponential(size=rows), rng.standard_cauchy(rows), rng.integers(0, 3, rows)
    ]
    data[:, 1] += data[:, 0]
    data[rng.random(rows) < 0.1, 2] = np.nan
    return data


@pytest.mark.parametrize(("n", "m", "splits"), [(30, 30, 300), (20, 120, 200), (300, 300, 120)])
def test_where_nothing_moved_the_classifiers_p_is_uniform(n, m, splits):
    found = null(lambda a, b: classifier_test(a, b).p, mixed(np.random.default_rng(n), 6000), n, m, splits=splits)
    assert -3 < found.deviations() < 3 and stats.kstest(found.p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("n", "m", "splits"), [(30, 30, 300), (20, 120, 300), (100, 100, 200)])
def test_where_nothing_moved_the_kernels_p_is_uniform(n, m, splits):
    test = lambda a, b: mmd_test(a, b, permutations=199).p  # noqa: E731
    found = null(test, mixed(np.random.default_rng(n), 6000), n, m, splits=splits)
    assert -3 < found.deviations() < 3 and stats.kstest(found.p, "uniform").pvalue > 1e-3


def test_where_nothing_moved_random_frequencies_are_calibrated_too(monkeypatch):
    monkeypatch.setattr(joint, "EXACT", 10)
    test = lambda a, b: mmd_test(a, b, permutations=99).p  # noqa: E731
    found = null(test, mixed(np.random.default_rng(5), 6000), 40, 60, splits=300)
    assert -3 < found.deviations() < 3 and stats.kstest(found.p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("test", BOTH)
def test_shifts_are_seen(test):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    tilted = rng.normal(size=(500, 6))
    tilted[:, 0] = 0.7 * tilted[:, 1] + math.sqrt(0.51) * tilted[:, 0]  # as before one by one, but correlated
    for y in (rng.normal(size=(500, 6)) + 0.3, 1.4 * rng.normal(size=(500, 6)), tilted):
        assert test(x, y).alarm and test(x, y).p < 0.01
    missing = rng.normal(size=(500, 6))
    missing[:, 3][rng.random(500) < 0.3] = np.nan
    assert test(x, missing).alarm


def test_the_classifiers_effect_is_in_standard_deviations_and_its_gate_holds():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20_000, 3))
    y[:, 0] += 1
    found = classifier_test(x, y)
    assert found.effect == pytest.approx(1.0, abs=0.05) and found.statistic == pytest.approx(
        stats.norm.cdf(1 / math.sqrt(2)), abs=0.01
    )
    y[:, 0] -= 0.94
    small = classifier_test(x, y)
    assert small.p < 0.05 and not small.alarm and classifier_test(x, y, gate=0.0).alarm
    apart = classifier_test(x[:100], x[:100] + 100)
    assert apart.statistic == 1 and math.isfinite(apart.effect) and apart.alarm


def test_the_rank_sums_p_is_scipys():
    rng = np.random.default_rng(0)
    for shift in (0, 0.5):
        first, second = rng.normal(size=40).round(1), rng.normal(size=55).round(1) + shift
        wanted = stats.mannwhitneyu(second, first, alternative="greater", method="asymptotic")
        area = wanted.statistic / (40 * 55)
        assert joint._rank_sum_p(area, first, second) == pytest.approx(wanted.pvalue, rel=1e-9)


def test_the_discrepancy_is_the_sum_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(20, 2)) + 1
    both = np.r_[x, y]
    x, y = (x - both.mean(0)) / both.std(0), (y - both.mean(0)) / both.std(0)
    width = np.median(pdist(np.r_[x, y]))
    k = lambda a, b: np.exp(-(cdist(a, b) ** 2) / (2 * width**2))  # noqa: E731
    wanted = (k(x, x).sum() - 30) / (30 * 29) + (k(y, y).sum() - 20) / (20 * 19) - 2 * k(x, y).mean()
    found = mmd_test(both[:30], both[30:])
    assert found.statistic == pytest.approx(wanted, rel=1e-9) and found.p == 1 / 500


def test_random_frequencies_come_near_the_kernel(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 3)), rng.normal(size=(400, 3)) + 0.4
    exact = mmd_test(x, y)
    monkeypatch.setattr(joint, "EXACT", 10)
    assert mmd_test(x, y).statistic == pytest.approx(exact.statistic, rel=0.25)


@pytest.mark.parametrize("test", BOTH)
def test_many_rows_are_looked_at_in_part_and_too_few_say_nothing(test, monkeypatch):
    monkeypatch.setattr(joint, "ROWS", 100)
    monkeypatch.setattr(joint, "KERNEL_ROWS", 100)
    x = np.random.default_rng(0).normal(size=(1000, 2))
    assert test(x, x[:500]).rows in (100, 200)
    for few in (x[:1], np.zeros((1, 2))):
        found = test(few, x[:50])
        assert found.p == 1 and not found.alarm
    assert test(np.zeros((20, 2)), np.zeros((30, 2))).p == 1
    both = test(x[:2], x[2:4] + 9)
    assert not both.alarm and 0 < both.p <= 1


@pytest.mark.parametrize("test", BOTH)
def test_a_seed_gives_the_same_answer_leaves_the_data_and_no_other_generator_moves(test):
    x, y = np.random.default_rng(0).normal(size=(2, 60, 3)).astype(np.float32)
    kept, state = x.copy(), np.random.get_state()[1].copy()
    assert test(x, y, seed=3) == test(x, y, seed=3) and len({test(x, y, seed=s).p for s in range(5)}) > 1
    assert (x == kept).all() and (np.random.get_state()[1] == state).all()
    assert set(test(x, y).as_dict()) == {"kind", "statistic", "p", "effect", "alarm", "rows"}


def test_wrong_use_says_what():
    x = np.zeros((5, 2))
    for test in BOTH:
        with pytest.raises(BadData, match="features"):
            test(x, np.zeros((5, 3)))
        with pytest.raises(BadOption):
            test(x, x, level=2.0)
    with pytest.raises(BadOption):
        mmd_test(x, x, permutations=0)
    with pytest.raises(BadOption):
        classifier_test(x, x, gate=-1.0)
