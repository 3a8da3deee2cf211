"""Distances to classes, and rows that lie apart."""

import numpy as np
import pytest

from thalweg.shifts.causes import regions
from thalweg.shifts.causes.regions import _far


def brute(rows, centres, covariance):
    inverse = np.linalg.inv(covariance)
    return np.min([np.einsum("nh,hk,nk->n", rows - c, inverse, rows - c) for c in centres], 0)


@pytest.mark.parametrize("block", [3, 10**6])
def test_the_distance_is_mahalanobis_to_the_nearest_class_in_blocks(monkeypatch, block):
    monkeypatch.setattr(regions, "BLOCK", block)
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    old = random.normal(size=(200, 4)) @ random.normal(size=(4, 4)) + 5 * labels[:, None]
    new = 3 * random.normal(size=(50, 4))
    centres = np.stack([old[labels == c].mean(0) for c in range(3)])
    covariance = np.cov((old - centres[labels]).T)
    covariance += 1e-2 * np.trace(covariance) / 4 * np.eye(4)
    far = _far(old, labels, new)
    assert far[0] == pytest.approx(brute(old, centres, covariance)) and far[1] == pytest.approx(
        brute(new, centres, covariance)
    )


def test_a_constant_representation_has_no_distances():
    labels = np.arange(60) % 2
    assert _far(np.full((60, 3), 0.1), labels, np.zeros((9, 3))) is None
    assert _far(np.repeat([[1.0, 2.0], [3.0, 4.0]], 30, 0), np.repeat([0, 1], 30), np.zeros((9, 2))) is None
    assert _far(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((9, 3))) is None


def test_the_memory_is_that_of_a_block_not_of_all_rows_and_classes():
    import tracemalloc

    random = np.random.default_rng(0)
    old, labels = random.normal(size=(4000, 100)), np.arange(4000) % 50
    tracemalloc.start()
    _far(old, labels, old)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4000 * 50 * 100 * 8 / 4
