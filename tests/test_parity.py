import json
import sys
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch

from thalweg import optim, parity, rules
from thalweg.cli import main
from thalweg.parity import cases, measure, oracle, report
from thalweg.parity.cases import Case
from thalweg.parity.cover import pairwise

sys.path.insert(0, str(Path(__file__).parent / "oracles"))
from numpy_rules import ORACLES

FACTORS = {"link": cases.LINKS, "dtype": cases.DTYPES, "gradients": cases.GRADIENTS, "size": cases.SIZES}
FACTORS |= {"layout": cases.LAYOUTS}
COVER = cases.cover()
F32 = torch.float32


def met(found, one, other):
    return {(getattr(case, one), getattr(case, other)) for case in found if not case.why_not}


# The cover


def test_a_cover_has_all_pairs_in_few_rows_and_is_always_the_same():
    fields = {"a": range(7), "b": range(5), "c": range(4), "d": range(3), "e": range(3)}
    blocks = [[{name: value} for value in values] for name, values in fields.items()]
    rows = pairwise(*blocks)
    for one, other in combinations(fields, 2):
        assert {(row[one], row[other]) for row in rows} == set(product(fields[one], fields[other]))
    assert rows == pairwise(*blocks) and 35 <= len(rows) <= 42
    assert all(list(row) == list(fields) for row in rows)


def test_alternatives_of_several_fields_are_kept_together():
    rows = pairwise([{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}], [{"c": 1}, {"c": 2}])
    assert {(row["a"], row["b"]) for row in rows} == {(1, 1), (1, 2), (2, 2)}
    assert {(row["b"], row["c"]) for row in rows} == set(product((1, 2), (1, 2)))


def test_in_the_default_cover_any_two_values_meet():
    found = COVER
    for one, other in combinations(FACTORS, 2):
        assert met(found, one, other) == set(product(FACTORS[one], FACTORS[other]))
    for other in set(FACTORS) - {"link"}:
        assert met(found, "rule", other) == set(product(rules.TABLE, FACTORS[other]))
    missing = {(case.rule, case.link) for case in found if case.why_not}
    assert met(found, "rule", "link") | missing == set(product(rules.TABLE, cases.LINKS))
    fixed = [name for name, rule in rules.TABLE.items() if rule.weight_decay == "own" or name == "rprop"]
    assert missing == set(product(fixed, ("coupled", "decoupled", "fully", "cautious-decay")))
    assert len(found) < 400 and found == cases.cover()


def test_everything_is_everything_and_a_million_numbers_come_once_for_each_number_of_states():
    found = cases.everything(["sgd", "rprop"])
    runnable = 2 * len(cases.LINKS) - 4
    assert len(set(found)) == len(found) == runnable * 4 * 7 * 2 * 7 + 4
    assert [case.rule for case in cases.large()] == ["sgd", "momentum", "adam", "ademamix", "adan"]
    assert all(case.size == 1_000_003 for case in cases.large())


# The measure


def test_units_in_the_last_place():
    x = np.array([1.0, 1.5, 2.0, 0.75, 0.0, np.inf])
    for dtype in cases.DTYPES.values():
        got = measure.ulp(x, dtype)
        one = torch.tensor([1.0, 2.0], dtype=dtype)
        above = torch.nextafter(one, torch.full_like(one, 9.0)) if dtype not in (torch.float16,) else None
        if above is not None:
            assert got[0] == (above - one)[0].item() and got[2] == (above - one)[1].item()
        assert got[1] == got[0] == 2 * got[3] == torch.finfo(dtype).eps
        assert got[4] == torch.finfo(dtype).tiny * torch.finfo(dtype).eps and np.isfinite(got[5])


def walk(*values):
    return [[np.array(value)] for value in values]


def test_a_distance_is_in_units_of_the_largest_of_before_after_and_step():
    unit = 2.0**-23
    assert measure.distance(walk([0.0], [1 + 3 * unit]), walk([0.0], [1.0]), F32) == (3.0, 0)
    assert measure.distance(walk([4.0], [1 + 4 * unit]), walk([4.0], [1.0]), F32) == (1.0, 0)
    assert measure.distance(walk([-1.0], [1 + 2 * unit]), walk([-1.0], [1.0]), F32) == (1.0, 0)
    far = walk([4.0], [1.0], [0.0]), walk([4.0], [1.0], [4 * unit])
    assert measure.distance(*far, F32) == (1.0, 0), "a path that nears 0 keeps its units"


def test_what_is_finite_in_neither_is_equal_and_in_one_infinitely_far():
    assert measure.distance(walk([0.0], [np.inf]), walk([0.0], [np.nan]), F32) == (0.0, 0)
    assert measure.distance(walk([0.0], [np.nan]), walk([0.0], [1.0]), F32)[0] == np.inf
    assert measure.distance(walk([0.0], [1.0]), walk([0.0], [np.nan]), F32)[0] == np.inf


def test_flips_of_sign_are_counted_apart():
    want, got = walk([1.0, 1.0], [1.02, 1.02], [1.04, 1.04]), walk([1.0, 1.0], [0.98, 1.02], [0.96, 1.04])
    assert measure.distance(got, want, F32, 0.1 * cases.LR) == (0.0, 1)
    assert measure.distance(got, want, F32)[0] > 1e5


def test_a_flip_that_scales_all_others_ends_the_comparison():
    want, got = walk([1.0, 1.0], [1.5, 1.0], [1.5, 1.02]), walk([1.0, 1.0], [1.0, 1.0], [1.0, 1.0201])
    assert measure.distance(got, want, F32, 0.1 * cases.LR)[0] > 100
    assert measure.distance(got, want, F32, 0.1 * cases.LR, spreads=True) == (0.0, 1)


@pytest.mark.parametrize("name", rules.TABLE)
def test_the_oracle_of_parity_is_that_of_the_tests(name):
    case = Case(name, "none", "float64", 17, "contiguous", "normal")
    grads = [g.numpy() for g in case.grads()]
    want, _ = ORACLES[name](case.start().numpy(), grads, lr=cases.LR)
    np.testing.assert_allclose(oracle.path(case)[-1][0].astype(np.float64), want, rtol=1e-12, atol=1e-14)


# The table


def test_every_row_of_the_cover_is_within_its_bound():
    rows = [row for found in report._measured(COVER, 2, measure.interpretable()) for row in found]
    engines = {"reference", "numba", "cohort-row"} | ({"triton-interpreter"} if measure.interpretable() else set())
    assert engines <= {row["engine"] for row in rows}
    assert {(row["rule"], row["link"], row["dtype"]) for row in rows} == {(c.rule, c.link, c.dtype) for c in COVER}
    assert len(rows) >= len(engines) * sum(case.why_not is None for case in COVER)
    assert [row for row in rows if row["holds"] is not True and "why" not in row] == []
    alone = [row for row in rows if "why" in row and row["engine"]]
    assert {row["why"] for row in alone} == {"a cohort has no loss scale", "a cohort skips no step"}
    assert all(row["link"] == "scaled" or row["gradients"] == "skipped" for row in alone)
    assert all(row["engine"] == "cohort-row" and row["ulp"] is row["bound"] is row["holds"] is None for row in alone)


def test_a_report_fits_80_columns_and_names_what_is_missing():
    chosen = {case.rule: case for case in COVER if not case.why_not}
    rows = [row for case in chosen.values() for row in measure.measure(case)]
    engines = [{"engine": one.name, "why_not": one.why_not()} for one in measure.ENGINES]
    engines[-1]["why_not"] = "no GPU"
    held = [{"size": 16, "torch": 0, "ours": 16}]
    bad = {**rows[0], "holds": False, "ulp": 24.0, "bound": 4.0}
    none = {**rows[0], "engine": None, "holds": None, "why": "rprop has no weight decay"}
    told = parity.text({"rows": [*rows, bad, none], "engines": engines, "moved": held, "holds": False})
    assert max(map(len, told.splitlines())) <= 80
    assert all(f"\n{name} " in told for name in rules.TABLE)
    for words in ("Out of bounds: 1 of", "24 ulp, bound 4", "Not here: triton: no GPU", "0 of them: torch's fused one"):
        assert words in told
    assert "Not run: rprop has no weight decay (rows: 1)" in told


@pytest.fixture
def two(monkeypatch):
    """Two cases in the place of all."""
    chosen = [Case("adam", "none", "float32", 8, "contiguous", "normal"), COVER[0]]
    monkeypatch.setattr(report, "cover", lambda: chosen)
    monkeypatch.setattr(report, "large", lambda: [])
    monkeypatch.setattr(report, "cores", lambda: 1)
    monkeypatch.setattr(report, "interpretable", lambda: False)  # here, where a fault can be planted


def test_the_command_exits_with_0_where_all_is_well(capsys, two):
    assert main(["doctor", "--parity", "--quiet"]) == 0
    assert "Out of bounds: 0 of" in capsys.readouterr().out
    assert main(["doctor", "--parity", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    keys = {"rule", "link", "engine", "dtype", "size", "ulp", "bound", "holds"}
    assert all(row.keys() >= keys and (row["holds"] is True or "why" in row) for row in found["rows"])


@pytest.mark.skipif(not measure.interpretable(), reason="extra: gpu, which Triton has for Linux only; or a GPU")
def test_triton_is_interpreted_unasked_but_not_for_all_combinations(monkeypatch):
    chosen = [Case("adamw", "none", "float64", 17, "strided", "normal")]
    monkeypatch.setattr(report, "cover", lambda: chosen)
    monkeypatch.setattr(report, "everything", lambda: chosen)
    monkeypatch.setattr(report, "large", lambda: chosen)
    monkeypatch.setattr(report, "cores", lambda: 1)
    found = parity.document(quiet=True)
    layouts = [(row["engine"], row["layout"]) for row in found["rows"]]
    one = [
        ("reference", "strided"),
        ("numba", "strided"),
        ("cohort-row", "contiguous"),
        ("triton-interpreter", "strided"),
    ]
    assert found["holds"] and layouts == 2 * one
    assert {e["engine"]: e["why_not"] for e in found["engines"]}["triton-interpreter"] is None
    for options in ({"full": True}, {"workers": 1}):
        found = parity.document(quiet=True, **options)
        assert [row["engine"] for row in found["rows"]] == 2 * ["reference", "numba", "cohort-row"]
        assert "TRITON_INTERPRET=1" in {e["engine"]: e["why_not"] for e in found["engines"]}["triton-interpreter"]


def test_a_planted_fault_of_20_ulp_is_reported(capsys, two, monkeypatch):
    path = measure.path

    def faulty(case, engine):
        found = path(case, engine)
        if engine.name == "numba" and case.rule == "adam":
            found[-1][0][3] += 20 * measure.ulp(np.maximum(1.0, abs(found[-1][0])), F32)[3]
        return found

    monkeypatch.setattr(measure, "path", faulty)
    assert main(["doctor", "--parity", "--json", "--quiet"]) == 1
    out = [row for row in json.loads(capsys.readouterr().out)["rows"] if row["holds"] is False]
    assert [(row["rule"], row["engine"]) for row in out] == [("adam", "numba")] and out[0]["ulp"] >= 16
    assert main(["doctor", "--parity", "--quiet"]) == 1
    assert "adam + none, numba, float32 × 8, contiguous, normal:" in capsys.readouterr().out


def test_a_fault_of_the_reference_that_is_not_finite_is_reported(capsys, two, monkeypatch):
    path = measure.path
    monkeypatch.setattr(measure, "path", lambda *args: [[x * np.nan for x in left] for left in path(*args)])
    assert main(["doctor", "--parity", "--quiet"]) == 1


def test_full_belongs_to_parity(capsys):
    assert main(["doctor", "--full"]) == 2 and "--parity --full" in capsys.readouterr().err


def test_processes_give_the_same_rows_as_one():
    chosen = [Case("sgd", "none", "float32", 8, "contiguous", kind) for kind in ("normal", "zeros")]
    both = [[row for found in report._measured(chosen, workers) for row in found] for workers in (1, 2)]
    assert both[0] == both[1] and len(both[0]) >= 4


def test_a_million_numbers():
    found = measure.measure(cases.large()[0])
    assert all(row["holds"] and row["size"] == 1_000_003 for row in found)


@pytest.mark.parametrize("size", report.MOVED)
def test_a_bfloat16_step_moves_every_number(size):
    (counts,) = report.moved([size])
    assert counts["ours"] == size
    for engine in ("numba", "reference"):
        p = torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16))
        p.grad = torch.ones_like(p)
        optim.SGD([p], lr=0.5, engine=engine).step()
        assert (p == 0.5).all()
