"""Thinned curves: the extremes of every column of pixels are there, in order, and so are the gaps."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thalweg.web.thinning import MOST, kept, rounded

values = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0])


def columns_of(x, low, high, columns):
    """The column of each point, one by one."""
    share = [(v - low) / (high - low) if high > low else 0.0 for v in x]
    return [min(max(math.floor(s * columns), 0), columns - 1) for s in share]


@given(
    arrays.arrays(np.float64, st.integers(1, 300), elements=st.floats(0, 1e6)).map(np.sort),
    st.data(),
    st.integers(1, 40),
)
def test_every_column_keeps_its_extremes_its_ends_and_its_gap(x, data, columns):
    y = data.draw(arrays.arrays(np.float64, len(x), elements=values))
    points = kept(x, y, columns)
    assert (np.diff(points) > 0).all()  # in order, none twice
    place = columns_of(x, x[0], x[-1], columns)
    for column in set(place):
        inside = [k for k, c in enumerate(place) if c == column]
        chosen = [k for k in points if place[k] == column]
        finite = [y[k] for k in inside if math.isfinite(y[k])]
        told = [y[k] for k in chosen if math.isfinite(y[k])]
        assert 1 <= len(chosen) <= MOST
        assert inside[0] in chosen
        if finite:
            assert min(told) == min(finite) and max(told) == max(finite)
        assert any(not math.isfinite(y[k]) for k in chosen) == any(not math.isfinite(y[k]) for k in inside)
        if len(finite) == len(inside):
            assert inside[-1] in chosen


@given(st.integers(2, 400), st.floats(0.0, 0.9), st.floats(0.01, 0.5), st.integers(1, 30))
def test_a_window_keeps_a_point_on_each_side_of_it(count, low, width, columns):
    x = np.linspace(0, 1, count)
    points = kept(x, x**2, columns, low, low + width)
    inside = np.flatnonzero((x >= low) & (x <= low + width))
    beyond = [k for k in points if k not in inside]
    before, after = np.flatnonzero(x < low), np.flatnonzero(x > low + width)
    assert beyond == [*before[-1:], *after[:1]]
    if len(inside):
        assert inside[0] in points and inside[-1] in points


def test_what_is_short_is_drawn_whole():
    x = np.arange(5.0)
    assert kept(x, np.array([3.0, 1.0, math.nan, 2.0, 5.0]), 800).tolist() == [0, 1, 2, 3, 4]
    assert kept(np.empty(0), np.empty(0), 10).tolist() == []
    assert kept(np.array([math.nan]), np.ones(1), 10).tolist() == []
    assert kept(np.ones(1), np.array([math.nan]), 10).tolist() == [0]


def test_points_out_of_order_are_put_in_order():
    x = np.array([2.0, 0.0, 1.0])
    assert x[kept(x, np.ones(3), 100)].tolist() == [0.0, 1.0, 2.0]


@given(arrays.arrays(np.float64, st.integers(0, 50), elements=st.floats(width=64)), st.integers(1, 9))
def test_numbers_are_rounded_to_significant_digits(x, digits):
    for value, found in zip(x, rounded(x, digits), strict=True):
        if not math.isfinite(value):
            assert found is None
        else:
            assert found == pytest.approx(value, rel=0.5000001 * 10.0 ** (1 - digits), abs=5e-324)
            if 1e-15 < abs(value) < 1e15:
                assert (
                    len(repr(found).replace("-", "").replace(".0", "").replace(".", "").strip("0").split("e")[0])
                    <= digits
                )
