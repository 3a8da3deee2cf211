"""The fault bench: its cases, its halves, its figures, and the published rules that stand beside ours."""

import math
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import thalweg as tw
from benchmarks.faults import baselines, bench, summary
from benchmarks.faults.cases import CASES, HALVES, HELD_OUT, THIRD
from benchmarks.faults.check import judged, measured
from benchmarks.faults.held_out.opened import opened
from benchmarks.faults.kept import Kept
from benchmarks.faults.loops import Loop, play
from benchmarks.faults.setting import Fault
from benchmarks.faults.tasks import BASES, CHANCE, curvature
from benchmarks.faults.trace import Epoch, Trace
from thalweg.diagnosis.findings import CODES, FAMILIES, Finding, Outcome, Remedy

FAULTY = [case for case in CASES if isinstance(case.what, Fault)]
CONTROLS = [case for case in CASES if not isinstance(case.what, Fault)]
HEALTHY = Trace(
    lr=1e-3, inputs=(0.0, 1.0), targets=(0.0, 9.0), output=(-3.0, 3.0), end="linear", classes=True, linear=False,
    dropout=0.0, valid_loss=(0.6, 0.3), valid_accuracy=(0.8, 0.9),
    epochs=[
        Epoch(loss=2.0 / k, accuracy=1 - 0.9 / k, gradients=[0.5, 0.4], still=[1e-2, 1e-2], weights=[0.01, 0.01],
              steps=[1e-3, 1e-3], outputs=[0.1 / k, 0.2 / k], dead=[0.4], largest=1.0)
        for k in range(1, 13)
    ],
)  # fmt: skip


def case(name):
    return next(case for case in CASES if case.name == name)


def test_the_cases():
    assert len(FAULTY) >= 60 and len({c.base for c in FAULTY}) >= 4
    assert len(CONTROLS) >= 0.35 * len(CASES)
    assert len({c.name for c in CASES}) == len(CASES)
    assert {c.base for c in CASES} <= BASES.keys() == CHANCE.keys()
    for each in FAULTY:
        assert each.codes and each.codes <= set(CODES) and each.family in FAMILIES
        assert each.codes & set(FAMILIES[each.family]), each.name


def test_the_halves_are_frozen_and_both_in_every_family():
    assert [case(f"as it is / {base}").half for base in ("digits", "cnn", "linear", "wide")] == ["second", "first"] * 2
    for family in {c.family for c in CASES}:
        assert {c.half for c in CASES if c.family == family} == set(HALVES)
    first = sum(c.half == "first" for c in CASES)
    assert 0.4 < first / len(CASES) < 0.6


def test_the_third_set_is_apart():
    faults = [c for c in THIRD if isinstance(c.what, Fault)]
    assert len(faults) >= 60 and len(THIRD) - len(faults) >= 0.35 * len(THIRD)
    assert {c.half for c in THIRD} == {HELD_OUT} and HELD_OUT not in {c.half for c in CASES}
    assert not {c.base for c in THIRD} & {c.base for c in CASES} and len({c.name for c in THIRD}) == len(THIRD)
    for each in faults:
        assert each.codes and each.codes <= set(CODES) and each.codes & set(FAMILIES[each.family]), each.name


def test_an_opening_leaves_a_trace(tmp_path, monkeypatch):
    file = tmp_path / "opened.jsonl"
    assert "for the first time" in opened(3, file)
    assert "opened 1 times before, always under this diagnosis" in opened(3, file)
    monkeypatch.setattr("benchmarks.faults.held_out.opened.fingerprint", lambda: "other")
    assert "NO LONGER HELD OUT" in opened(3, file) and len(file.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "name", ["lr × 300 / spirals", "labels shuffled / twins", "Adam at .2 / chains", "as it is / memory"]
)
def test_the_third_set_is_made(name):
    made = next(c for c in THIRD if c.name == name).setting(0)
    model, batch = made.task.build(0), next(made.task.prepare().train.batches(16))
    assert math.isfinite(made.task.loss(model(batch.inputs), batch.targets).item())


def test_injections_change_what_they_say():
    base = BASES["digits"](0)
    scaled = case("inputs 0 to 255 / digits").setting(0)
    assert torch.equal(scaled.task.train[0], base.task.train[0] * 255)
    assert case("lr × 100 / digits").setting(0).recipe.lr == pytest.approx(100 * base.recipe.lr)
    ordered = case("sorted, not shuffled / digits").setting(0)
    assert ordered.task.shuffle is False and bool((ordered.task.train[1].diff() >= 0).all())
    zeros = case("all weights zero / digits").setting(0).task.build(0)
    assert all(not p.any() for p in zeros.parameters())
    steep = case("lr 2.05/λmax / linear").setting(0)
    assert steep.recipe.lr * curvature(steep.task.train[0]) == pytest.approx(2.05)
    one = case("NaN in one row / digits").setting(3).task.prepare().train.inputs
    assert one.isnan().any(1).nonzero().tolist() == [[3]]


def test_a_loop_goes_wrong_where_it_says():
    base = BASES["linear"](0)
    right = play(base.task, base.recipe, Loop(), 0, 5).losses
    assert right[-1] < right[0]
    cleared = play(base.task, base.recipe, Loop(zero="after backward"), 0, 5).losses
    assert cleared == [pytest.approx(cleared[0])] * 5
    seen = []

    class Watch:
        def __init__(self, model, optimizer):
            self.findings = []
            seen.append((model, optimizer))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    history = play(base.task, base.recipe, Loop(), 0, 2, watch=Watch)
    assert history.watch.findings == [] and seen[0][0] is history.model


def test_intervals_and_figures():
    low, high = summary.wilson(8, 10)
    z = 1.959963984540054
    middle, half = (0.8 + z * z / 20) / (1 + z * z / 10), z / (1 + z * z / 10) * math.sqrt(0.8 * 0.2 / 10 + z * z / 400)
    assert (low, high) == (pytest.approx(middle - half), pytest.approx(middle + half))

    def record(family, findings, codes=()):
        said = [{"code": c, "severity": s, "where": "", "confidence": 0.9} for c, s in findings]
        return {"case": "x", "seed": 0, "family": family, "codes": list(codes), "findings": said, "seconds": 1.0}

    records = [
        record("loop", [("loss-ascends", "error")], ["loss-ascends"]) | {"remedy": dict(healthy=0.1, faulty=0.9, remedied=0.15)},
        record("loop", [("dead-units", "warning"), ("loss-ascends", "error")], ["loss-ascends"]),
        record("loop", [("not-critical", "note")], ["loss-ascends"]),
        record("healthy", [("edge-of-stability", "note")]),
        record("healthy", [("dead-units", "warning")]),
    ]  # fmt: skip
    found = {row.what.partition(" [")[0]: row for row in summary.rows(records)}
    assert found["faults detected"].ours == pytest.approx(2 / 3) and not found["faults detected"].holds
    assert found["false alarms on controls"].ours == 0.5
    assert found["top-1 of faults"].ours == pytest.approx(1 / 3) and found["top-3 of faults"].ours == pytest.approx(
        2 / 3
    )
    assert found["first remedies that restore 90 % of the gap"].ours == 1.0  # 75 of 80
    assert found["Brier score of the first alarm's confidence"].ours == pytest.approx((0.01 + 0.81 + 0.81) / 3)
    counts = summary.confusion(records, lambda code: "that")
    assert counts["healthy"] == {"silent": 1, "that": 1}


def test_a_fault_that_does_not_hurt_is_told():
    same = [{"healthy": 0.1, "faulty": 0.1 + 0.001 * k, "remedied": 0.1} for k in range(3)]
    assert not judged(same, 1.0)["hurts"]
    worse = [{"healthy": 0.1, "faulty": 0.8 + 0.01 * k, "remedied": 0.12} for k in range(3)]
    assert judged(worse, 1.0)["holds"]
    assert not judged([r | {"remedied": 0.4} for r in worse], 1.0)["holds"]


def test_the_published_rules():
    def with_last(**changes):
        return replace(HEALTHY, epochs=[*HEALTHY.epochs[:-1], replace(HEALTHY.epochs[-1], **changes)])

    assert not any(rule(HEALTHY) for rule in baselines.BASELINES.values())
    assert baselines.umlaut(replace(HEALTHY, inputs=(0.0, 255.0))) == {"input-scale"}
    assert "lr-too-high" in baselines.umlaut(replace(HEALTHY, lr=0.1))
    assert "non-finite" in baselines.autotrainer(with_last(loss=math.nan))
    stuck = [replace(epoch, accuracy=0.1, zeros=0.8) for epoch in HEALTHY.epochs]
    assert baselines.autotrainer(replace(HEALTHY, epochs=stuck, valid_accuracy=(0.1, 0.1))) == {"dead-units"}
    assert baselines.deepdiagnosis(with_last(dead=[0.75])) == {"dead-units"}
    assert "vanishing-gradient" in baselines.deepdiagnosis(with_last(still=[1e-9, 1e-2]))
    assert baselines.deepdiagnosis(replace(HEALTHY, end="sigmoid")) == {"output-range"}


def test_results_are_kept_and_a_torn_line_is_not(tmp_path):
    file = tmp_path / "kept" / "bench.jsonl"
    Kept(file).add({"case": "a", "seed": 1, "value": math.inf})
    with file.open("a", encoding="utf-8") as out:
        out.write('{"case": "b", "se')
    again = Kept(file)
    assert ("a", 1) in again and ("b", 0) not in again and again["a", 1]["value"] == "inf"


def test_the_check_measures_a_case():
    what = case("lr 2.05/λmax / linear")
    found = judged([measured(what, seed) for seed in range(2)], CHANCE["linear"])
    assert found["holds"] and found["faulty"] == CHANCE["linear"] > 10 * found["healthy"]


def test_a_record_of_a_diagnosis_and_of_a_watched_loop(monkeypatch):
    def low(task, recipe, *, model=None, budget=200):
        remedy = Remedy("a higher rate", change={"lr": recipe.lr * 1e4})
        found = [Finding("lr-too-low", "error", "", "It hardly moves.", confidence=0.9, remedy=remedy)]
        tried = SimpleNamespace(findings=found, cost={"gradient_evaluations": 7}, changed=lambda k: (task, recipe))

        def verify(budget=None):
            tried.findings = [found[0].but(outcome=Outcome(0.9, 0.1, (-0.9, -0.7), 3, (40, 40)))]

        tried.verify = verify
        return tried

    @contextmanager
    def watch(model, optimizer):
        yield SimpleNamespace(findings=[Finding("gradients-cleared", "error", "", "No gradient at the step.")])

    monkeypatch.setattr(tw, "diagnose", low, raising=False)
    monkeypatch.setattr(tw, "watch", watch, raising=False)
    monkeypatch.setattr(bench, "asked", lambda case, seed: {name: {"lr-too-low"} for name in baselines.BASELINES})
    records = [bench.measured(case(name), 0) for name in ("lr × 1e-4 / linear", "zero_grad after backward / digits")]
    assert all(summary.detected(r) and summary.named(r, 1) and "error" not in r for r in records)
    assert summary.restored(records[0]) == pytest.approx(1.0, abs=1e-3)
    assert records[0]["outcome"]["helps"] and records[0]["evaluations"] == 7
    assert records[1].get("remedy") is None
    monkeypatch.setattr(tw, "diagnose", lambda *_, **__: 1 / 0)
    assert "ZeroDivisionError" in bench.measured(case("as it is / linear"), 5)["error"]
