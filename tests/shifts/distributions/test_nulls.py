"""Splits where nothing moved."""

import numpy as np
import pytest

from thalweg.errors import BadData
from thalweg.shifts.distributions.nulls import Null, null


def test_parts_are_of_the_size_asked_without_a_row_twice_and_seeded():
    seen = []

    def test(first, second):
        both = np.r_[first, second][:, 0]
        assert (len(first), len(second)) == (3, 5) and len(set(both)) == 8
        seen.append(both)
        return both[0] / 100

    rows = np.arange(100.0)[:, None]
    one = null(test, rows, 3, 5, splits=200)
    again = null(test, rows, 3, 5, splits=200)
    assert (one.p == again.p).all() and len(set(one.p)) > 20
    assert set(np.concatenate(seen)) == set(rows[:, 0])


def test_rates():
    found = Null(np.repeat([0.01, 0.5], [10, 90]), (3, 3))
    assert found.rate() == 0.1 and found.deviations() == pytest.approx(0.05 / np.sqrt(0.05 * 0.95 / 100))


def test_too_few_rows():
    with pytest.raises(BadData, match="6 \\+ 6 rows of 10"):
        null(lambda a, b: 1.0, np.zeros((10, 1)), 6)
