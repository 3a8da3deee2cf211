import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f, ks_1samp, ttest_ind, uniform

from thalweg.errors import BadData, BadOption
from thalweg.shifts.distributions.score import PERMUTATIONS, score_test

RNG = np.random.default_rng


def test_of_one_number_it_is_welchs_t():
    a, b = RNG(0).normal(size=(80, 1)), 3 * RNG(1).normal(size=(30, 1)) + 0.4
    found, t = score_test(a, b), ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert found.kind == "full" and found.rows == (80, 30)
    assert found.statistic == pytest.approx(t.statistic**2) and found.p == pytest.approx(t.pvalue)


@given(st.integers(0, 1000), st.integers(1, 4))
def test_of_as_many_rows_the_statistic_is_hotellings(seed, k):
    rng, n = RNG(seed), 60
    a, b = rng.normal(size=(n, k)) @ rng.normal(size=(k, k)), rng.normal(size=(n, k))
    delta, pooled = a.mean(0) - b.mean(0), (np.cov(a.T) + np.cov(b.T)).reshape(k, k) / 2
    found = score_test(a, b)
    assert found.statistic == pytest.approx(n / 2 * delta @ np.linalg.solve(pooled, delta))
    # Unlike covariances have fewer degrees of freedom, and never more.
    exact = f.sf(found.statistic * (2 * n - k - 1) / ((2 * n - 2) * k), k, 2 * n - k - 1)
    assert exact - 1e-12 <= found.p <= exact + 0.05


def test_the_score_of_a_gaussian_mean_is_the_z_test_of_means():
    # loss ½(x − θ)²: the gradient of a row is θ − x, whatever θ is
    x, y, theta = RNG(2).normal(size=(500, 2)), RNG(3).normal(size=(400, 2)) + 0.3, np.array([5.0, -1.0])
    found = score_test(theta - x, theta - y)
    apart = y.mean(0) - x.mean(0)
    assert found.statistic == pytest.approx(apart @ np.linalg.inv(np.cov(x.T) / 500 + np.cov(y.T) / 400) @ apart)
    assert found.alarm


def test_the_score_of_linear_regression_in_its_parameters_does_not_depend_on_their_scale():
    rng = RNG(4)
    x, z = rng.normal(size=(300, 3)), rng.normal(size=(300, 3))
    w, v = np.array([1.0, 2.0, -1.0]), np.array([1.0, 2.0, -0.6])
    one = (x @ w - (x @ w + rng.normal(size=300)))[:, None] * x
    two = (z @ w - (z @ v + rng.normal(size=300)))[:, None] * z
    found, scaled = score_test(one, two), score_test(one * [1e-6, 1.0, 1e6], two * [1e-6, 1.0, 1e6])
    assert found.alarm and scaled.statistic == pytest.approx(found.statistic) and scaled.p == pytest.approx(found.p)


@pytest.mark.parametrize(
    ("rows", "numbers", "kind"),
    [((150, 60), 3, "full"), ((12, 9), 3, "projected"), ((15, 25), 40, "permutation")],
)
@pytest.mark.parametrize("law", ["normal", "skewed"])
def test_without_a_shift_p_is_uniform(rows, numbers, kind, law):
    rng, mixed = RNG(5), RNG(6).normal(size=(numbers, numbers))
    draw = (
        (lambda n: rng.normal(size=(n, numbers))) if law == "normal" else (lambda n: rng.exponential(size=(n, numbers)))
    )
    p = np.array([score_test(draw(rows[0]) @ mixed, draw(rows[1]) @ mixed, kind=kind, seed=i).p for i in range(300)])
    assert ks_1samp(p, uniform.cdf).pvalue > 1e-3
    assert abs((p < 0.05).mean() - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(("rows", "numbers", "kind"), [((100, 30), 2, "full"), ((40, 40), 100, "permutation")])
def test_another_spread_alone_is_no_shift_of_the_mean(rows, numbers, kind):
    rng = RNG(7)
    p = [
        score_test(rng.normal(size=(rows[0], numbers)), 3 * rng.normal(size=(rows[1], numbers)), kind=kind, seed=i).p
        for i in range(150)
    ]
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 150)


def test_the_distance_of_means_has_no_bias():
    rng, shift = RNG(8), np.full(50, 0.2)
    found = [
        score_test(rng.normal(size=(20, 50)), rng.normal(size=(30, 50)) + shift, kind="permutation", seed=i).statistic
        for i in range(200)
    ]
    assert np.mean(found) == pytest.approx(shift @ shift, abs=4 * np.std(found) / np.sqrt(200))
    a, b = rng.normal(size=(5, 7)), rng.normal(size=(6, 7))
    gram = [x @ x.T for x in (a, b)]
    pairs = [(g.sum() - np.trace(g)) / (len(g) * (len(g) - 1)) for g in gram]
    assert score_test(a, b, kind="permutation").statistic == pytest.approx(sum(pairs) - 2 * (a @ b.T).mean())


def test_auto_goes_by_rows_and_says_why():
    a, b = RNG(0).normal(size=(60, 30)), RNG(1).normal(size=(60, 30))
    found = score_test(a, b)
    assert (
        found.kind == "permutation"
        and found.why == f"60 rows on a side, 30 numbers need 310. {PERMUTATIONS} permutations of the rows."
    )
    few = score_test(a, b, directions_qk=np.eye(30)[:3])
    assert few.kind == "projected" and few.statistic == pytest.approx(score_test(a[:, :3], b[:, :3]).statistic)
    assert "F with 3" in few.why
    assert "too few for F" in score_test(a[:10], b[:10], directions_qk=np.eye(30)[:3]).why
    doubled = score_test(np.c_[a[:, :2], a[:, :1]], np.c_[b[:, :2], b[:, :1]])
    assert doubled.kind == "permutation" and "singular" in doubled.why


def test_numbers_that_never_change_say_nothing():
    a, b = RNG(0).normal(size=(60, 2)), RNG(1).normal(size=(70, 2))
    with_dead = score_test(np.c_[a, np.zeros(60)], np.c_[b, np.zeros(70)])
    assert with_dead.kind == "full" and with_dead.p == score_test(a, b).p
    same = score_test(np.zeros((5, 3)), np.zeros((4, 3)))
    assert (same.statistic, same.p, same.alarm) == (0.0, 1.0, False)
    assert score_test(np.zeros((60, 1)), np.ones((60, 1))).p == pytest.approx(1 / (PERMUTATIONS + 1))


def test_permutations_find_a_shift_and_repeat_with_their_seed():
    a, b = RNG(0).normal(size=(30, 400)), RNG(1).normal(size=(25, 400)) + 0.2
    found = score_test(a, b, seed=3)
    assert found.alarm and found == score_test(a, b, seed=3)
    assert (
        score_test(2.0**-900 * a, 2.0**-900 * b, seed=3).p
        == score_test(2.0**500 * a, 2.0**500 * b, seed=3).p
        == found.p
    )


def test_what_is_refused():
    good = RNG(0).normal(size=(20, 3))
    for bad in (good[:1], good[:, :2], np.full((20, 3), np.nan), good[:, 0]):
        with pytest.raises(BadData):
            score_test(good, bad)
    with pytest.raises(BadData, match="singular"):
        score_test(np.c_[good, good], np.c_[good, good], kind="full")
    with pytest.raises(BadData, match="rows on a side"):
        score_test(good[:4], good[:4], kind="projected")
    with pytest.raises(BadOption):
        score_test(good, good, kind="other")
    with pytest.raises(BadOption):
        score_test(good, good, directions_qk=np.eye(2))
