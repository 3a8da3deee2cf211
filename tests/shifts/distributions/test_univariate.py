"""Feature by feature: level, power, missing values, categories, precisions, order; and the adjusted p-values."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr

from thalweg.errors import BadData, BadOption
from thalweg.shifts.distributions.nulls import null
from thalweg.shifts.distributions.univariate import adjust, feature_tests, normal_shift


def least(reference, incoming, method="holm"):
    return min(test.adjusted for test in feature_tests(reference, incoming, method=method))


def mixed(rng, rows):
    """Normal, skewed, categories, half of it zeros, and a tenth missing."""
    normal, half, gaps = rng.normal(size=(3, rows))
    gaps[rng.random(rows) < 0.1] = np.nan
    return np.c_[normal, rng.exponential(size=rows), rng.integers(0, 8, rows), np.maximum(half, 0).round(1), gaps]


@pytest.mark.parametrize("method", ["holm", "benjamini-hochberg"])
@pytest.mark.parametrize("kind", ["normal", "mixed"])
@pytest.mark.parametrize("n", [30, 300, 3000])
def test_where_nothing_moved_the_family_alarms_at_its_level(n, kind, method):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(10 * n, 4)) if kind == "normal" else mixed(rng, 10 * n)
    found = null(lambda a, b: least(a, b, method), data, n, n + 1, splits=300 if n < 3000 else 150)
    assert -3 < found.deviations() < 3, found.rate()


@pytest.mark.parametrize(("n", "m"), [(30, 31), (300, 311), (50, 2000), (3000, 3001)])
@pytest.mark.parametrize("feature", range(5))
def test_where_nothing_moved_p_is_uniform(feature, n, m):
    data = mixed(np.random.default_rng(feature), 20_000)[:, [feature]]
    found = null(lambda a, b: feature_tests(a, b)[0].p, data, n, m, splits=250)
    if feature >= 3 and n < 3000:  # p takes few values where few groups of equal values are: it is at least uniform
        for level in (0.05, 0.2, 0.5, 0.8):
            assert -6 < found.deviations(level) < 3
    else:
        assert stats.kstest(found.p, "uniform").pvalue > 1e-3


def test_on_correlated_features_the_family_alarms_no_more_often_than_its_level():
    rng = np.random.default_rng(3)
    data = rng.normal(size=(4000, 1)) + 0.5 * rng.normal(size=(4000, 20))
    assert null(least, data, 200, splits=200).deviations() < 3


@pytest.mark.parametrize("n", [100_000])
def test_trifling_differences_are_certain_but_no_alarm(n):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, n, 6))
    y[:, 0] += 0.005
    y[:, 1] += 0.04
    y[:, 2] += 0.2
    y[:, 3] *= 1.3
    found = feature_tests(x, y)
    assert [test.alarm for test in found] == [False, False, True, True, False, False]
    assert found[1].adjusted < 0.01 and found[1].effect == pytest.approx(0.04, abs=0.015)
    assert found[2].effect == pytest.approx(0.2, abs=0.015)
    assert [test.alarm for test in feature_tests(x, y, gate=0.0)][1]


def test_without_ties_a_numeric_feature_is_scipys_test_and_the_summaries_are_numpys():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 3)), rng.normal([0, 0.3, 2], size=(70, 3))
    y[:5, 1] = np.nan
    for k, test in enumerate(feature_tests(x, y, ["a", "b", "c"])):
        there = y[~np.isnan(y[:, k]), k]
        wanted = stats.ks_2samp(x[:, k], there, method="exact")
        assert test.statistic == pytest.approx(wanted.statistic) and test.name == "abc"[k] and test.kind == "numeric"
        side = test.incoming
        assert (side.mean, side.sd, side.low, side.high, side.median) == pytest.approx(
            (there.mean(), there.std(ddof=1), there.min(), there.max(), np.median(there))
        )
        assert side.missing == pytest.approx(np.isnan(y[:, k]).mean()) and side.distinct == len(there)
        if k != 1:
            assert test.p == pytest.approx(wanted.pvalue, rel=1e-9)
        else:
            gaps = stats.fisher_exact([[90, 0], [65, 5]])[1]
            assert test.p == pytest.approx(1 - (1 - min(wanted.pvalue, gaps)) ** 2)


def test_missing_values_alone_are_seen():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 500, 3))
    y[rng.random(500) < 0.1, 0] = np.nan
    y[:, 1] = np.nan
    x[:, 2] = y[:, 2] = np.nan
    found = feature_tests(x, y)
    assert [test.alarm for test in found] == [True, True, False]
    assert found[0].incoming.missing > 0.05 and math.isnan(found[1].incoming.mean) and found[2].p == 1
    json.dumps([test.as_dict() for test in found])


def test_categories():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (400, 2)).astype(float), rng.integers(0, 5, (400, 2)).astype(float)
    y[:80, 1] = 7
    same, new = feature_tests(x, y)
    table = np.stack([np.bincount(side[:, 0].astype(int)) for side in (x, y)])
    assert same.kind == "categorical" and same.statistic == pytest.approx(stats.chi2_contingency(table).statistic)
    assert not same.alarm and new.alarm and new.incoming.distinct == 6
    assert new.effect == pytest.approx(normal_shift(0.2, 800), rel=0.15)
    few = feature_tests(np.arange(4.0), np.arange(4.0))[0]
    assert few.kind == "numeric"  # four values of eight rows are not yet categories


def test_constant_features_are_no_alarm_unless_the_constant_moved_and_cost_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60, 1))
    alone = feature_tests(x, y)[0]
    flat = np.zeros((60, 50))
    found = feature_tests(np.c_[x, flat], np.c_[y, flat])
    assert found[0].adjusted == alone.adjusted and all(test.p == 1 and not test.alarm for test in found[1:])
    moved = feature_tests(flat[:, :1], flat[:, :1] + 1)[0]
    assert moved.alarm and math.isfinite(moved.effect) and moved.effect > 3


def test_features_that_could_never_alarm_are_not_of_the_family():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40, 1))
    rare = np.zeros((40, 200))
    rare[0] = 1  # lit once: p = 1 whoever has it
    alone, among = feature_tests(x, y)[0], feature_tests(np.c_[x, rare], np.c_[y, 0 * rare])
    assert among[0].adjusted == alone.adjusted == alone.p and {test.adjusted for test in among[1:]} == {1.0}
    two = feature_tests(np.c_[x, x], np.c_[y, y])
    assert [test.adjusted for test in two] == pytest.approx([min(1, 2 * alone.p)] * 2)


@pytest.mark.parametrize("method", ["holm", "benjamini-hochberg"])
def test_sparse_features_alarm_at_the_level(method):
    data = (np.random.default_rng(0).random((4000, 60)) < np.linspace(0.002, 0.2, 60)).astype(float)
    assert -3.4 < null(lambda a, b: least(a, b, method), data, 60, 61, splits=300).deviations() < 3


def test_broken_units_and_codes_are_large_and_finite():
    rng = np.random.default_rng(0)
    x, y = rng.exponential(size=(2, 300, 3))
    y[:, 0] *= 1000
    y[::2, 1] = -1
    y[0, 2] = 1e300
    x[1, 2] = np.inf
    found = feature_tests(x, y)
    assert found[0].alarm and found[1].alarm and not found[2].alarm
    assert all(math.isfinite(test.effect) for test in found)


@pytest.mark.parametrize("narrow", [np.float16, np.float32])
def test_a_copy_in_a_lower_precision_has_not_moved(narrow):
    values = np.random.default_rng(0).choice([0.1, 0.2, 0.7], size=(200, 1))
    for sides in ((values, values.astype(narrow)), (values.astype(narrow), values)):
        assert feature_tests(*sides)[0].p == pytest.approx(1.0)
    whole = np.random.default_rng(0).integers(0, 2, (50, 2))
    assert [t.p for t in feature_tests(whole, whole.astype(bool))] == pytest.approx([1.0, 1.0])


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 40))
def test_neither_order_nor_an_increasing_map_nor_swapping_sides_matters(seed, n, m):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 2)).round(1), rng.normal(size=(m, 2)).round(1)
    x[rng.random((n, 2)) < 0.1] = np.nan
    wanted = [(t.p, t.statistic, t.adjusted) for t in feature_tests(x, y)]
    shuffled = feature_tests(rng.permutation(x), rng.permutation(y))
    assert [(t.p, t.statistic, t.adjusted) for t in shuffled] == wanted
    for other in (feature_tests(np.exp(x), np.exp(y)), feature_tests(y, x)):
        assert np.allclose([(t.p, t.statistic, t.adjusted) for t in other], wanted, rtol=1e-9)
    assert np.isfinite([t.effect for t in shuffled]).all()


def test_one_row_and_many_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    assert feature_tests([[1.0, 2.0]], [[3.0, np.nan]])[0].p == 1
    x, y = rng.normal(size=(2, 50, 7))
    wanted = feature_tests(x, y)
    monkeypatch.setattr("thalweg.shifts.distributions.univariate.BLOCK", 250)
    assert feature_tests(x, y) == wanted


def test_data_are_left_as_they_were():
    x = np.random.default_rng(0).normal(size=(50, 3))
    kept = x.copy()
    feature_tests(x, x[::-1])
    assert (x == kept).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values(p):
    assert adjust(p, "benjamini-hochberg") == pytest.approx(stats.false_discovery_control(p), abs=1e-12)
    order = np.argsort(p, kind="stable")
    running, wanted = 0.0, np.empty(len(p))
    for rank, k in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[k]))
        wanted[k] = running
    assert adjust(p) == pytest.approx(wanted)


@given(st.floats(0, 3))
def test_a_normal_shift_is_read_off_its_distance(shift):
    assert normal_shift(2 * ndtr(shift / 2) - 1, 10**9) == pytest.approx(shift, abs=1e-6)


def test_wrong_use_says_what():
    x = np.zeros((3, 2))
    with pytest.raises(BadData, match="2 features, incoming rows 3"):
        feature_tests(x, np.zeros((3, 3)))
    with pytest.raises(BadData, match="at least one"):
        feature_tests(x, np.zeros((0, 2)))
    with pytest.raises(BadData, match="not real numbers"):
        feature_tests(x, np.array([["a", "b"]]))
    for wrong in ({"level": 0.0}, {"method": "none"}, {"gate": -1.0}, {"names": ["a"]}):
        with pytest.raises(BadOption):
            feature_tests(x, x, **wrong)
