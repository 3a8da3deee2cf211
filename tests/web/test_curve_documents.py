"""Curves and rates: their numbers are those of the trace, thinned without losing an extreme, and read as it grows."""

import math

import numpy as np
import pytest
from contract import wrong
from studies import columns_of, ends_of, follower, interrupted, rounded, whole

from thalweg.errors import BadOption
from thalweg.web.documents import catalogue, curves, rates, reading


def test_the_points_of_rates_are_those_of_the_trace(study):
    document = rates.document(study.folder)
    ends = {e["run"]: e for e in ends_of(study.folder) if e["recipe"].get("lr")}
    assert document["n"] == len(ends) == sum(len(g["points"]) for g in document["groups"])
    for group in document["groups"]:
        own = [e for e in ends.values() if e["entrant"] == group["name"]]
        expected = sorted((rounded(e["recipe"]["lr"]), e["steps"], e["seed"], e["outcome"]["status"]) for e in own)
        assert sorted((p["lr"], p["steps"], p["seed"], p["status"]) for p in group["points"]) == expected
        assert all((p["value"] is None) == (p["status"] != "finished") for p in group["points"])
    standings = {f["name"]: f for f in whole(study)["finalists"]}
    sgd = next(g for g in document["groups"] if g["name"] == "sgd")
    assert sgd["edge"] == (rounded(standings["sgd"]["lr_edge"]) if standings["sgd"]["lr_edge"] else None)
    assert sgd["width_decades"] == rounded(float(standings["sgd"]["lr_robustness_decades"]))
    assert math.log10(sgd["within"][1] / sgd["within"][0]) == pytest.approx(sgd["width_decades"], abs=1e-4)
    assert sgd["best"]["lr"] == rounded(standings["sgd"]["recipe"]["lr"])


@pytest.mark.parametrize("y", ["loss", "lr", "grad_norm"])
def test_curves_hold_the_steps_of_the_trace(study, y):
    document = curves.document(follower(study.folder), y=y, phases="all", columns=4000)
    assert not wrong(document, "Curves") and document["phase"] == "all"
    known = columns_of(study.folder)
    drawn = {curve["run"]: curve for group in document["groups"] for curve in group["runs"]}
    assert set(drawn) >= set(known) and document["n"] == len(drawn)
    for run, own in known.items():
        assert drawn[run]["x"] == own["step"].tolist()
        shown = np.array([math.nan if v is None else v for v in drawn[run]["y"]])
        np.testing.assert_allclose(shown, np.where(np.isfinite(own[y]), own[y], math.nan), rtol=6e-6)
    assert any(curve["status"] == "diverged" and curve["where"] for curve in drawn.values())


@pytest.mark.parametrize("singles", [1, 2, 5, 1000])
def test_some_lines_of_each_group_are_drawn_and_the_rest_is_counted(study, singles):
    read = follower(study.folder)
    every = curves.document(read, phases="all")
    some = curves.document(read, phases="all", singles=singles)
    assert not wrong(some, "Curves") and some["n"] == every["n"]
    for group, part in zip(every["groups"], some["groups"], strict=True):
        assert group["n"] == part["n"] == len(group["runs"]) and group["left_out"] == 0
        assert part["band"] == group["band"]
        assert part["left_out"] == max(part["n"] - singles, 0)
        there = {run["run"]: run for run in part["runs"]}
        n, last = part["n"], min(singles, part["n"]) - 1
        lined = {round(k * (n - 1) / last) for k in range(last + 1)} if last else {0}
        for k, run in enumerate(group["runs"]):
            if k in lined:
                assert there[run["run"]] == run
            elif run["run"] in there:  # the place of its cross
                assert run["status"] == "diverged"
                kept = there[run["run"]]
                assert len(kept["x"]) == len(kept["y"]) <= 1 and kept["end"] == run["end"]
                assert kept["y"] == [y for y in run["y"] if y is not None][-1:]
        lost = [k for k, run in enumerate(group["runs"]) if run["status"] == "diverged"]
        assert part["diverged"] == group["diverged"] == len(lost)
        assert len(part["runs"]) - len(lined) == min(curves.CROSSES * singles, len(set(lost) - lined))


def test_a_curve_that_is_whole_is_not_called_thinned(study):
    read = follower(study.folder)
    assert not curves.document(read, phases="all", columns=4000, singles=2)["thinned"]
    assert curves.document(read, phases="all", columns=5, singles=2)["thinned"]


def test_curves_of_evaluations_and_their_band(study):
    document = curves.document(follower(study.folder), x="samples", y="select accuracy")
    assert document["phase"] == "finals" and document["direction"] == "max" and document["metric"] == "accuracy"
    group = next(g for g in document["groups"] if g["name"] == study.verdict.best)
    finals = [e for e in ends_of(study.folder) if e["phase"] == "final" and e["entrant"] == study.verdict.best]
    rows = {}
    for end in finals:
        for e in end["evaluations"]:
            if e["split"] == "select":
                rows.setdefault(e["samples"], []).append(e["accuracy"])
    assert group["band"]["n"] == len(finals) == 3
    assert group["band"]["x"] == sorted(rows)
    middle = [rounded(np.median(rows[s])) for s in sorted(rows)]
    low = [rounded(min(rows[s])) for s in sorted(rows)]  # of three, the band is from the least to the greatest
    assert group["band"]["mid"] == middle and group["band"]["low"] == low and group["band"]["levels"] == [0, 1]


def test_a_window_keeps_one_point_on_each_side(study):
    document = curves.document(follower(study.folder), low=10, high=20)
    curve = document["groups"][0]["runs"][0]
    assert curve["x"] == list(range(9, 22))
    band = document["groups"][0]["band"]
    assert band["x"][0] == 10 and band["x"][-1] == 20


def test_thinned_curves_keep_their_extremes(tmp_path):
    rng = np.random.default_rng(0)
    folder = interrupted(tmp_path / "long", runs=2, points=5000, rows=lambda k: rng.normal(size=5000).tolist())
    document = curves.document(follower(folder), columns=100)
    assert document["thinned"]
    for run, own in columns_of(folder).items():
        curve = next(c for g in document["groups"] for c in g["runs"] if c["run"] == run)
        assert len(curve["x"]) <= 400
        assert min(curve["y"]) == rounded(own["loss"].min()) and max(curve["y"]) == rounded(own["loss"].max())


@pytest.mark.parametrize("losses", [[], [1.0], [math.nan] * 5, [1.0, math.inf, math.nan]])
def test_curves_of_little_or_nothing(tmp_path, losses):
    folder = interrupted(tmp_path / "few", points=5, rows=lambda k: losses)
    document = curves.document(follower(folder))
    assert not wrong(document, "Curves")
    for curve in document["groups"][0]["runs"]:
        assert len(curve["x"]) == len(curve["y"]) <= len(losses)
        assert all(v is None or math.isfinite(v) for v in curve["y"])
    assert not wrong(rates.document(folder), "Rates") and not wrong(catalogue.head(folder), "Head")


def test_a_study_without_a_trace_has_empty_curves(tmp_path):
    folder = interrupted(tmp_path / "none")
    (folder / "trace.jsonl").unlink()
    document = curves.document(follower(folder))
    assert not wrong(document, "Curves") and document["groups"] == [] and document["n"] == 0
    assert not wrong(catalogue.head(folder), "Head")


@pytest.mark.parametrize(
    "asked",
    [{"x": "time"}, {"y": "select nothing"}, {"phases": "../finals"}, {"columns": 0}, {"columns": 10**9},
     {"low": 3.0, "high": 3.0}, {"low": math.nan}],
)  # fmt: skip
def test_what_curves_refuse(study, asked):
    with pytest.raises(BadOption):
        curves.document(follower(study.folder), **asked)


def test_a_trace_is_read_on_and_not_again(tmp_path, monkeypatch):
    folder = interrupted(tmp_path / "s", runs=2)
    read = []
    inner = reading._record
    monkeypatch.setattr(reading, "_record", lambda line: read.append(line) or inner(line))
    first = reading.runs_of(folder)
    assert len(first.ends) == 2 and len(first.starts) == 3
    read.clear()
    assert reading.runs_of(folder) == first
    assert sum(b'"kind":"start"' in line or b'"kind":"end"' in line for line in read) == 0
    trace = folder / "trace.jsonl"
    last = [line for line in trace.read_bytes().splitlines() if b'"kind":"end"' in line][-1]
    with trace.open("ab") as file:
        file.write(last.replace(b"-1", b"-2")[:40])
    assert reading.runs_of(folder) == first  # half a line
    with trace.open("ab") as file:
        file.write(last.replace(b"-1", b"-2")[40:] + b"\n")
    assert len(reading.runs_of(folder).ends) == 3 and len(first.ends) == 2
    assert sum(b'"kind":"end"' in line for line in read) == 1
    whole = trace.read_bytes()
    trace.write_bytes(whole.replace(b"final-", b"probe-"))  # another trace in the same file
    assert all(run.startswith("probe-") for run in reading.runs_of(folder).starts)
