"""Proportions of categories: against scipy, and on tables drawn where nothing moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from thalweg.shifts.distributions.categories import _merged, homogeneity


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_two_categories_are_fishers_exact_test(cells):
    table = np.reshape(cells, (2, 2))
    if not table.sum(0).all() or not table.sum(1).all():
        assert homogeneity(table) == (0.0, 1.0, 1.0)
        return
    assert homogeneity(table)[1] == pytest.approx(stats.fisher_exact(table)[1], rel=1e-6)
    assert homogeneity(table[::-1])[1] == pytest.approx(homogeneity(table)[1], rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_more_categories_are_the_more_careful_of_two_chi_squares(seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(20, 200, size=(2, int(rng.integers(3, 12))))
    pearson = stats.chi2_contingency(table, correction=False)
    statistic, p, _ = homogeneity(table)
    assert statistic == pytest.approx(pearson.statistic)
    likelihood = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert p == pytest.approx(max(pearson.pvalue, likelihood.pvalue), rel=0.15)
    assert p >= pearson.pvalue * (1 - 1e-9)


def test_rare_categories_are_merged_by_their_pooled_counts():
    assert _merged(np.array([[1.0, 2, 100, 3, 50, 0], [2.0, 1, 90, 9, 60, 0]])).tolist() == [[6, 50, 100], [12, 60, 90]]
    assert _merged(np.array([[1.0, 0, 0, 9], [0.0, 1, 1, 9]])).tolist() == [[1, 9], [2, 9]]
    table = np.array([[4.0, 1, 7, 80, 33], [2.0, 3, 9, 70, 40]])
    assert _merged(table).sum() == table.sum() and _merged(table[:, ::-1]).shape == _merged(table).shape


@pytest.mark.parametrize(
    ("n", "shares"),
    [(50, [0.1, 0.2, 0.3, 0.4]), (30, [0.1, 0.9]), (60, [0.25, 0.3, 0.45]), (2000, [0.004, 0.3, 0.3, 0.396])],
)
def test_where_nothing_moved_alarms_are_no_more_than_the_level_says_far_into_the_tail(n, shares):
    totals = np.round(np.array(shares) * (n + 5000)).astype(int)
    drawn = np.random.default_rng(0).multivariate_hypergeometric(totals, n, size=100_000)
    seen, counts = np.unique(drawn, axis=0, return_counts=True)
    some = np.random.default_rng(1).permutation(len(seen))[:3000]
    p, weight = np.array([homogeneity([row, totals - row])[1] for row in seen[some]]), counts[some] / counts[some].sum()
    for level in (0.05, 0.01, 0.001):
        rate, spread = weight[p <= level].sum(), np.sqrt(level * (1 - level) / counts[some].sum())
        assert rate <= level * 1.25 + 3 * spread, (level, rate)
    assert weight[p <= 0.05].sum() > 0.02


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 24))
def test_the_least_p_value_is_that_of_the_most_extreme_table(n, m, c):
    c = min(c, n + m)
    tables = [[[k, n - k], [c - k, m - c + k]] for k in range(max(0, c - m), min(n, c) + 1)]
    assert homogeneity(tables[0]).least == pytest.approx(min(homogeneity(table).p for table in tables))


def test_one_category_or_one_side_says_nothing():
    assert homogeneity([[5], [7]]) == homogeneity([[0, 0], [3, 4]]) == homogeneity([[0, 0], [0, 0]]) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "totals", [(3, 4, 90), (1, 2, 3, 40, 50, 60), (1, 1, 30, 30, 1), (2, 2, 2, 2, 2), (9, 9, 9, 1)]
)
def test_merging_keeps_every_row_in_one_category(totals):
    """Also where the smaller side is so small that what is left over joins a category that was complete."""
    for few in (5, 20, 60):
        generator = np.random.default_rng(few)
        counts = np.stack([np.array(totals) * 3, generator.multinomial(few, np.array(totals) / sum(totals))])
        merged = _merged(counts.astype(float))
        np.testing.assert_array_equal(merged.sum(1), counts.sum(1))
        assert 2 <= merged.shape[1] <= len(totals)
