"""Logistic regression against scikit-learn's, scales, and products."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from thalweg.shifts.distributions.logistic import auc, fit
from thalweg.shifts.distributions.standard import Standard, leading, products


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
@pytest.mark.parametrize(("n", "m", "d"), [(40, 60, 3), (300, 20, 10), (10, 10, 50)])
def test_the_minimum_is_scikit_learns(n, m, d, penalty):
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
    found = fit(x, y, penalty)
    peer = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(
        np.r_[x, y], np.r_[np.zeros(n), np.ones(m)]
    )
    assert found.weights_d == pytest.approx(peer.coef_[0], abs=1e-4)
    assert found.intercept == pytest.approx(peer.intercept_[0], abs=1e-4)
    scores = found.log_odds(x), found.log_odds(y)
    assert auc(*scores) == pytest.approx(roc_auc_score(np.r_[np.zeros(n), np.ones(m)], np.concatenate(scores)))


def test_area_with_ties():
    x, y = np.random.default_rng(0).integers(0, 4, (2, 50))
    assert auc(x, y) == pytest.approx(((y[None] > x[:, None]) + 0.5 * (y[None] == x[:, None])).mean())


def test_scales_missing_values_constants_and_outliers():
    rng = np.random.default_rng(0)
    rows = rng.normal(3, 2, size=(500, 4))
    rows[:, 1] = 0.1
    rows[::5, 2] = np.nan
    rows[0, 3] = np.inf
    standard = Standard.of(rows)
    z = standard(rows)
    assert z.shape == (500, 5) and np.isfinite(z).all() and np.abs(z).max() <= 10
    assert z[:, 0].mean() == pytest.approx(0, abs=1e-9) and z[:, 0].std() == pytest.approx(1)
    assert (z[:, 1] == 0).all() and (z[::5, 2] == 0).all() and z[:, 4].tolist() == [1.0, 0, 0, 0, 0] * 100
    assert z[0, 3] == 10
    rows[:, 2] = np.nan
    assert Standard.of(rows)(rows).shape == (500, 4)  # missing everywhere tells nothing


def test_products_and_components():
    z = np.random.default_rng(0).normal(size=(300, 40)) * np.r_[[5.0, 4, 3], np.full(37, 0.1)]
    assert products(z[:, :3]) == pytest.approx(np.c_[z[:, [0]] * z[:, :3], z[:, [1]] * z[:, 1:3], z[:, 2] ** 2])
    scores = leading(z, 3, np.random.default_rng(1))
    u = np.linalg.svd(z, full_matrices=False)[0][:, :3]
    assert np.abs(u.T @ scores / np.sqrt(300)) == pytest.approx(np.eye(3), abs=1e-4)
    assert leading(z[:, :2], 3, np.random.default_rng(1)) is not None and leading(z[:, :2], 3, None).shape == (300, 2)
