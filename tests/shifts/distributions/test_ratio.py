"""The density ratio against the closed form of two normal distributions."""

import math

import numpy as np
import pytest

from thalweg.errors import BadData, BadOption
from thalweg.shifts.distributions import ratio
from thalweg.shifts.distributions.ratio import density_ratio


def coefficients(found, at, columns):
    return np.linalg.lstsq(np.column_stack([*columns, np.ones(len(at))]), np.log(found.of(at)), rcond=None)[0]


@pytest.mark.parametrize(("n", "m"), [(20_000, 20_000), (30_000, 5000)])
def test_two_normal_distributions_of_one_covariance_give_exp_linear(n, m):
    rng = np.random.default_rng(0)
    shift = np.array([0.6, -0.3, 0.0])
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) + shift
    found = density_ratio(x, y, clip=1.0)
    slope = coefficients(found, x[:2000], x[:2000].T)
    error = math.sqrt(1 / n + 1 / m)
    assert slope[:3] == pytest.approx(shift, abs=4.5 * error)
    assert slope[3] == pytest.approx(-(shift @ shift) / 2, abs=6 * error)
    true = np.exp(x @ shift - shift @ shift / 2)
    assert np.abs(found.weights_N - true).mean() < 0.05 and found.weights_N.mean() == pytest.approx(1)
    assert found.effective == pytest.approx(n * math.exp(-(shift @ shift)), rel=0.1) and found.clipped == 0
    assert (found.weights_N * x[:, 0]).mean() == pytest.approx(
        0.6, abs=6 * error
    )  # the weighted reference is the incoming


def test_other_variances_take_squares_and_products():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20_000, 2)), rng.normal(size=(20_000, 2)) * [0.7, 1] + [0.3, 0]
    found = density_ratio(x, y, clip=1.0, degree=2, penalty=0.1)
    at = x[:2000]
    square, product, slope, other, none = coefficients(
        found, at, [at[:, 0] ** 2, at[:, 0] * at[:, 1], at[:, 0], at[:, 1]]
    )
    assert square == pytest.approx(0.5 - 0.5 / 0.49, abs=0.05) and slope == pytest.approx(0.3 / 0.49, abs=0.05)
    assert (product, other) == pytest.approx((0, 0), abs=0.05)
    assert none == pytest.approx(-0.045 / 0.49 - math.log(0.7), abs=0.05)


def test_where_nothing_moved_all_weights_are_near_one_even_with_many_features():
    x, y = np.random.default_rng(0).normal(size=(2, 300, 50))
    found = density_ratio(x, y)
    assert found.effective > 0.9 * 300 and found.auc == pytest.approx(0.5, abs=0.1) and found.penalty == 1000


def test_large_weights_are_cut_at_the_quantile_and_the_mean_stays_one():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2000, 1))
    free, cut = (density_ratio(x, y + 2, clip=clip) for clip in (1.0, 0.9))
    assert cut.clipped == pytest.approx(0.1, abs=0.01) and cut.effective > free.effective
    assert cut.weights_N.mean() == pytest.approx(1) and cut.of(x).mean() == pytest.approx(1)
    assert (cut.weights_N == cut.weights_N.max()).mean() == pytest.approx(0.1, abs=0.01)
    assert cut.of([[50.0]]) == pytest.approx(cut.of(x).max())


def test_rows_apart_have_few_effective_rows_and_finite_weights():
    x = np.random.default_rng(0).normal(size=(100, 2))
    found = density_ratio(x, x + 30, clip=1.0)
    assert found.auc == 1 and np.isfinite(found.weights_N).all() and found.weights_N.mean() == pytest.approx(1)


def test_missing_values_constants_and_an_outlier_leave_the_weights_finite():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 400, 3))
    x[:, 1] = y[:, 1] = 4
    y[rng.random(400) < 0.5, 2] = np.nan
    x[rng.random(400) < 0.1, 2] = np.nan
    x[0, 0] = 1e12
    found = density_ratio(x, y)
    assert np.isfinite(found.weights_N).all()
    missing = np.isnan(x[:, 2])
    assert found.weights_N[missing].mean() > 2 * found.weights_N[~missing].mean()


def test_a_seed_gives_the_same_and_many_rows_are_fitted_in_part_but_weighted_all(monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(2, 500, 2))
    one, same = (density_ratio(x, y, seed=2) for _ in range(2))
    assert (one.weights_N == same.weights_N).all() and one.as_dict()["weights"] == one.weights_N.tolist()
    monkeypatch.setattr(ratio, "ROWS", 50)
    monkeypatch.setattr(ratio, "NUMBERS", 200)
    found = density_ratio(x, y, penalty=1.0)
    assert found.weights_N.shape == (500,) and found.of(x).shape == (500,) and found.of(x[:0]).shape == (0,)


def test_wrong_use_says_what():
    x = np.zeros((5, 2))
    for wrong in ({"penalty": 0.0}, {"clip": 0.0}, {"degree": 3}):
        with pytest.raises(BadOption):
            density_ratio(x, x, **wrong)
    with pytest.raises(BadOption, match="61"):
        density_ratio(np.zeros((5, 61)), np.zeros((5, 61)), degree=2)
    with pytest.raises(BadData, match="3 rows"):
        density_ratio(x, x[:2])
    with pytest.raises(BadData, match="2"):
        density_ratio(x, x).of(np.zeros((2, 3)))
