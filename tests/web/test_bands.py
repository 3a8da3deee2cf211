"""The band over seeds: against quantiles written plainly, with runs that diverged, that are short, and that are long."""

import math

import numpy as np
import pytest
from studies import columns_of, interrupted

from thalweg.metrics import TABLE
from thalweg.store import Store
from thalweg.web.documents import curves
from thalweg.web.documents.bands import Course, Window, band
from thalweg.web.following import Follower


def banded(folder, **asked):
    follower = Follower(folder)
    follower.refresh()
    return curves.document(follower, **asked)["groups"][0]


def rounded(x):
    return float(f"{x:.6g}") if math.isfinite(x) else None


def diverge(folder, run):
    """Turn the end of a run into a divergence."""
    records = list(Store(folder).records())
    (folder / "trace.jsonl").unlink()
    for record in records:
        if record["kind"] == "end" and record["run"] == run:
            record["outcome"] |= {"status": "diverged", "where": "loss"}
        Store(folder).append(record)


@pytest.mark.parametrize("rises", [False, True])
@pytest.mark.parametrize(("runs", "levels"), [(2, (0, 1)), (5, (0, 1)), (10, (0.1, 0.9)), (13, (0.1, 0.9))])
def test_quantiles_are_numpys_where_all_is_finite(runs, levels, rises):
    rng = np.random.default_rng(runs)
    table = rng.normal(size=(runs, 40))
    found = band([Course(np.arange(40.0), row, False) for row in table], Window(100), rises)
    for name, level in zip(("low", "mid", "high"), (levels[0], 0.5, levels[1]), strict=True):
        np.testing.assert_allclose(found[name], np.quantile(table, level, axis=0), rtol=6e-6)
    assert found["n"] == runs and found["levels"] == list(levels)


@pytest.mark.parametrize(("rises", "lost_at", "kept_at"), [(False, "high", "low"), (True, "low", "high")])
def test_a_run_that_diverged_counts_as_the_worst(rises, lost_at, kept_at):
    at = np.arange(6.0)
    finished = [Course(at, at + k, False) for k in range(2)]
    lost = [Course(at[:3], at[:3], True), Course(at[:0], at[:0], True)]
    found = band([*finished, *lost], Window(100), rises)
    assert found["x"] == at.tolist() and found["n"] == 4
    assert found[lost_at] == [None] * 6  # one diverged before it began
    best = max if rises else min
    assert found[kept_at] == [best(x, x + 1) for x in at]
    # Of four, two are lost from the third place on: the median lies between the second and what is worse than any number.
    assert [v is None for v in found["mid"]] == [False] * 3 + [True] * 3


def test_the_quantiles_of_many_with_a_few_lost_stay_those_of_all():
    at = np.arange(4.0)
    table = np.arange(20.0)[:, None] + np.zeros(4)
    courses = [Course(at, row, False) for row in table[:17]] + [Course(at[:1], row[:1], True) for row in table[17:]]
    found = band(courses, Window(100), rises=False)
    plain = np.quantile(table, (0.1, 0.5), axis=0)  # the three that are lost were the worst anyway
    np.testing.assert_allclose([found["low"], found["mid"]], plain, rtol=6e-6)
    assert [v is None for v in found["high"]] == [False, True, True, True]


def test_a_value_that_is_no_number_is_the_worst_there_and_only_there():
    at, values = np.arange(5.0), np.array([4.0, 3.0, math.nan, 1.0, 0.0])
    found = band([Course(at, values, False), Course(at, np.zeros(5), False)], Window(100), rises=False)
    assert found["mid"] == [2.0, 1.5, None, 0.5, 0.0]


def test_a_band_ends_where_a_run_is_not_known_yet():
    at = np.arange(10.0)
    found = band([Course(at, at, False), Course(at[:4], at[:4] + 2, False)], Window(100), rises=False)
    assert found["x"] == [0, 1, 2, 3] and found["mid"] == [1, 2, 3, 4]


def test_the_median_of_a_study_in_which_one_of_three_diverges_is_not_the_survivors(tmp_path):
    folder = interrupted(tmp_path / "some", runs=3, rows=lambda k: [1.0 + k] * (10 if k == 0 else 50 if k < 3 else 0))
    diverge(folder, "final-aa-50-0")
    found = banded(folder)
    assert found["band"]["n"] == 3 and found["band"]["x"] == list(range(1, 51))
    assert found["band"]["mid"] == [2.0] * 10 + [3.0] * 40  # of 1, 2, 3, then of 2, 3 and the lost one
    assert found["band"]["high"] == [3.0] * 10 + [None] * 40
    assert banded(folder, y="lr")["band"]["mid"] == [0.1] * 50  # a plan, which does not diverge


def test_a_band_keeps_every_extreme_of_many_steps(tmp_path):
    rng = np.random.default_rng(1)
    folder = interrupted(tmp_path / "long", runs=2, points=5000, rows=lambda k: rng.normal(size=5000).tolist())
    found = banded(folder, columns=100)["band"]
    table = np.array([own["loss"] for own in columns_of(folder).values()])
    for name, row in (("low", table.min(0)), ("mid", np.median(table, 0)), ("high", table.max(0))):
        assert min(found[name]) == rounded(row.min()) and max(found[name]) == rounded(row.max())
        drawn = row[np.array(found["x"], dtype=int) - 1]
        np.testing.assert_allclose(found[name], drawn, rtol=6e-6)
    assert len(found["x"]) <= 3 * 4 * 100


def test_a_logarithmic_axis_has_its_columns_in_the_logarithm(tmp_path):
    rng = np.random.default_rng(2)
    folder = interrupted(tmp_path / "long", runs=1, points=5000, rows=lambda k: rng.normal(size=5000).tolist())
    plain, log = (banded(folder, columns=200, log=log) for log in (False, True))
    early = [[at for at in found["runs"][0]["x"] if at <= 20] for found in (plain, log)]
    assert len(early[0]) <= 8 and early[1] == list(range(1, 21))
    assert {1.0, 2.0, 3.0} <= set(log["band"]["x"])
    zoomed = banded(folder, columns=200, log=True, low=-1.0, high=4000.0)["runs"][0]
    assert zoomed["x"][:20] == list(range(1, 21))


def test_the_metrics_that_rise_are_those_of_the_table():
    assert {name for name, (_, direction) in TABLE.items() if direction == "max"} == set(curves.RISING)


@pytest.mark.parametrize("x", ["step", "samples", "seconds"])
def test_a_curve_says_where_its_run_ended_whatever_is_seen_of_it(tmp_path, x):
    folder = interrupted(tmp_path / "some", runs=2)
    diverge(folder, "final-aa-50-0")
    unit = {"step": 1, "samples": 16, "seconds": 0.001}[x]
    for window in ({}, {"low": 5 * unit, "high": 9 * unit}):
        first, _, last = banded(folder, x=x, **window)["runs"]
        assert first["end"] == pytest.approx(50 * unit) and last["end"] is None
        assert first["gap"] == pytest.approx(unit)
