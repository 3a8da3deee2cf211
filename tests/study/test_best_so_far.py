import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.errors import BadOption
from thalweg.study.best_so_far import BAND, band, best_of_some, report
from thalweg.study.jobs import Result

VALUES = st.lists(st.sampled_from([math.nan, 0.1, 0.2, 0.3, 0.5, 0.8, 0.9]), min_size=1, max_size=7)


def quantile(sorted_values, q):
    """By the definition: the smallest value that a share of at least q does not exceed."""
    return next(v for k, v in enumerate(sorted_values, 1) if Fraction(k, len(sorted_values)) >= q)


@given(VALUES)
def test_the_closed_form_is_that_of_all_draws_counted_one_by_one(values):
    known = [-math.inf if math.isnan(v) else v for v in values]
    for n, found in enumerate(best_of_some(values, BAND), 1):
        best = sorted(max(draw) for draw in itertools.combinations(known, n))
        assert found == [quantile(best, q) for q in BAND]


@given(VALUES)
def test_it_rises_with_the_runs_and_ends_at_the_best(values):
    table = best_of_some(values, BAND)
    assert len(table) == len(values)
    for row, after in itertools.pairwise(table):
        assert row == sorted(row) and all(a <= b for a, b in zip(row, after, strict=True))
    assert set(table[-1]) == {max((v for v in values if v == v), default=-math.inf)}


@given(VALUES, st.randoms())
def test_the_order_of_the_runs_does_not_matter(values, random):
    other = list(values)
    random.shuffle(other)
    assert best_of_some(values, BAND) == best_of_some(other, BAND)


def test_the_median_of_one_to_three_of_five_by_hand():
    """Of 1 2 3 4 5: the largest of two is <= 4 in 6 of 10 draws, that of three is 5 in 6 of 10."""
    assert [row[0] for row in best_of_some([1, 2, 3, 4, 5], [0.5])] == [3, 4, 5, 5, 5]
    assert best_of_some([], [0.5]) == []


@pytest.mark.parametrize("quantiles", [[], [0.0], [1.1], [0.5, -1]])
def test_what_is_no_quantile(quantiles):
    with pytest.raises(BadOption, match=r"shares in \(0, 1\]"):
        best_of_some([1.0], quantiles)


def test_the_band_of_a_metric_that_falls_has_its_ends_in_order_and_costs_the_mean_run():
    rising, falling = (band([-3.0, math.nan, -1.0, -2.0], [10, 10, 20, 20], sign) for sign in (1, -1))
    assert [e["samples"] for e in falling] == [15, 30, 45, 60]
    assert falling[0] == {"runs": 1, "samples": 15.0, "median": 3.0, "low": 1.0, "high": None}
    assert [e["median"] for e in falling] == [-e["median"] for e in rising]
    assert all(e["low"] <= e["median"] <= e["high"] for e in falling[1:])


def run(phase, value, status="finished"):
    return Result(status, value, value, {"phase": phase, "entrant": "e", "samples": 10})


def test_probes_cost_but_do_not_count_and_diverged_runs_count():
    runs = [run("baseline", 0.5), run("probe", 0.9), run("rate", math.nan, "diverged"), run("rate", 0.4)]
    runs += [run("rate", 0.7), run("rate", math.nan, "stopped"), run("final", 0.99)]
    document = report(runs, 1)
    assert [(e["runs"], e["samples"], e["value"], e["full_runs"]) for e in document["best_so_far"]] == [
        (1, 10, 0.5, 1),
        (5, 50, 0.7, 4),
    ]
    assert [e["runs"] for e in document["best_so_far_band"]] == [1, 2, 3, 4]
    assert document["best_so_far_band"][0]["low"] is None and document["best_so_far_band"][-1]["low"] == 0.7
