"""What the page makes of the documents' numbers before it draws them: its own functions, called by Node."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.web import tools

PARTS = ("smoothing", "lines", "plot", "growing", "mostly", "evidence", "intervals")
OTHERS = ("source", "state")
BROWSER = """
globalThis.matchMedia = () => ({ matches: false, addEventListener: () => undefined })
globalThis.document = { documentElement: { dataset: {} }, getElementById: () => null }
"""
MAIN = """
import "./browser.mjs"
IMPORTS
import { readFileSync } from "node:fs"
const known = { NAMES }
const asked = JSON.parse(readFileSync(0, "utf8"))
process.stdout.write(JSON.stringify(asked.map(([name, ...given]) => known[name](...given))))
"""
OWN = """
    holds: (packed, query) => new source.FileSource(packed).holds("a", query),
    place: (hash) => (globalThis.location = { hash }, { ...state.place(), params: 0 })
"""
THEME = {"bad": "#c00", "accent": "#00f"}


@pytest.fixture(scope="module")
def call(tmp_path_factory, project):
    """Calls a function of the page: its name and arguments to its result."""
    folder = tmp_path_factory.mktemp("parts")
    main, packed = folder / "main.mjs", folder / "parts.mjs"
    (folder / "browser.mjs").write_text(BROWSER)
    imports = "\n".join(f'import * as {part} from "{project.as_posix()}/src/{part}"' for part in PARTS + OTHERS)
    names = ", ".join([*(f"...{part}" for part in PARTS), OWN])
    main.write_text(MAIN.replace("IMPORTS", imports).replace("NAMES", names))
    tools.packed(project, main, packed)

    def called(name, *given):
        text = json.dumps([[name, *given]])
        [found] = json.loads(tools.run(packed, text))
        return found

    return called


def curve(**more):
    about = {"run": "a", "seed": 0, "phase": "final", "lr": 0.1, "status": "diverged", "where": "loss"}
    return about | {"end": 50.0, "gap": 1.0, "x": [1.0, 2.0, 3.0], "y": [5.0, 4.0, None]} | more


def exponential(y, share):
    """The mean of both exponential means of evenly spaced values."""
    k = np.arange(len(y))
    forth, back = (share ** np.where(side >= 0, side, np.inf) for side in (k[:, None] - k, k - k[:, None]))
    return sum((w * y).sum(1) / w.sum(1) for w in (forth, back)) / 2


def test_evenly_spaced_points_are_smoothed_by_the_exponential_mean(call):
    y = np.random.default_rng(0).normal(size=60)
    found = call("smooth", (16.0 * np.arange(60)).tolist(), y.tolist(), 0.9, 16.0)
    np.testing.assert_allclose(found, exponential(y, 0.9), rtol=1e-9)
    again = call("smooth", (16.0 * np.arange(60)).tolist(), y.tolist(), 0.9, None)
    np.testing.assert_allclose(again, found, rtol=1e-12)


def test_points_that_were_left_out_do_not_change_how_far_smoothing_reaches(call):
    x = np.arange(2000.0)
    y = np.where(x < 1000, 0.0, 1.0)  # a step, which smoothing widens by its reach
    whole = np.array(call("smooth", x.tolist(), y.tolist(), 0.98, 1.0))
    few = np.unique(np.concatenate([np.arange(0, 2000, 10), np.arange(900, 1000, 7), [1999]]))
    thinned = np.array(call("smooth", x[few].tolist(), y[few].tolist(), 0.98, 1.0))
    np.testing.assert_allclose(thinned, whole[few], atol=0.06)
    by_index = exponential(y[few], 0.98)
    assert np.abs(by_index - whole[few]).max() > 0.2  # what weights by number alone would give


def test_smoothing_leaves_gaps_and_is_nothing_without_a_share(call):
    found = call("smooth", [0.0, 1.0, 2.0, 3.0], [1.0, None, 3.0, 5.0], 0.5, 1.0)
    assert found[1] is None and all(value is not None for value in (found[0], *found[2:]))
    assert call("smooth", [0.0, 1.0, 7.0], [1.0, 2.0, 3.0], 0, 1.0) == [1.0, 2.0, 3.0]


def test_a_cross_stands_where_the_run_diverged_or_nowhere(call):
    [mark] = call("crossed", "sgd", curve(), THEME, None)
    assert (mark["x"], mark["y"]) == (50.0, 4.0)
    assert call("crossed", "sgd", curve(), THEME, [1, 3]) == []  # the window's last point is no divergence
    assert call("crossed", "sgd", curve(end=None), THEME, None) == []
    inside = curve(end=2.0, x=[1.0, 2.0, 3.0], y=[5.0, 4.0, 9.0])
    assert call("crossed", "sgd", inside, THEME, [1, 3])[0]["y"] == 4.0


def test_a_run_that_diverges_while_it_is_watched_ends_where_it_came_to(call):
    drawn = {"x": "samples", "y": "loss", "phase": "finals", "cursor": 0, "groups": []}
    drawn["groups"] = [
        {"name": "sgd", "n": 3, "left_out": 2, "diverged": 0, "band": None, "runs": [curve(status="running", end=None)]}
    ]
    about = {"run": "a", "entrant": "sgd", "phase": "final", "seed": 0, "lr": 0.1, "steps": 9, "where": "loss"}
    columns = {"step": [4], "samples": [64], "seconds": [0.1], "loss": [None], "lr": [0.1], "grad_norm": [None]}
    batch = {"cursor": 9, "runs": [about | {"status": "diverged"}], "columns": {"a": columns}, "evaluations": {}}
    later = call("grown", drawn, batch)
    [group] = later["groups"]
    [run] = group["runs"]
    assert run["end"] == 64 and run["status"] == "diverged" and later["n"] == group["n"] == 3 and group["diverged"] == 1
    more = batch | {"runs": [about | {"run": name, "status": "running"} for name in ("b", "c")]}
    [group] = call("grown", later, more)["groups"]
    assert group["n"] == 5 and group["left_out"] == 2 and len(group["runs"]) == 3


def looked(values, good=(None, 0.5)):
    quantity = {"key": "dead", "label": "dead units", "scale": "share", "good": list(good), "values": [values]}
    steps = [0, 1, 10, 100, 1000]
    return {"quantities": [quantity], "layers": [{"name": "first"}], "steps": steps, "rows": 1, "notes": []}


def test_most_of_the_time_is_most_of_the_steps_not_of_the_looks(call):
    early = call("mostly", looked([0.9, 0.9, 0.9, 0.1, 0.1]))  # three looks of five, within the first 55 steps of 1000
    assert "No layer is outside" in early
    late = call("mostly", looked([0.1, 0.1, 0.1, 0.9, 0.9]))
    assert "dead units (first)" in late
    assert "dead units (first)" in call("mostly", looked([None, None, None, None, 0.9]))


def evidence(value, threshold):
    return {"code": "some", "evidence": [{"name": "a", "value": value, "threshold": threshold, "error": None}]}


def test_a_logarithmic_scale_has_points_and_says_so(call):
    far = call("evidenceDrawing", evidence(1e-3, 10.0), 600, THEME)["shapes"]
    near = call("evidenceDrawing", evidence(4.0, 10.0), 600, THEME)["shapes"]
    kinds = [[shape["kind"] for shape in drawn if shape.get("fill") == THEME["accent"]] for drawn in (far, near)]
    assert kinds == [["circle"], ["rect"]]
    assert [any(shape.get("text") == "logarithmic" for shape in drawn) for drawn in (far, near)] == [True, False]


def test_a_report_offers_only_the_curves_that_it_holds(call):
    packed = {"studies": {"a": {"curves": {"step|loss|finals": {}, "samples|loss|finals": {}}}}}
    held = [call("holds", packed, {"x": x, "y": "loss", "phase": "finals"}) for x in ("step", "samples", "seconds")]
    assert held == [True, True, False]


def test_an_address_that_nobody_wrote_leads_home(call):
    assert call("place", "#/%E0%A4%A/x") == {"study": None, "view": "home", "params": 0}
    assert call("place", "#/a%20b/rates") == {"study": "a b", "view": "rates", "params": 0}


def test_numbers_of_one_quantity_share_a_scale(call):
    one = {"threshold": None, "error": None}
    kept = [
        one | {"name": "loss", "value": 12.0},
        one | {"name": "loss at 0.3", "value": 3.0},
        one | {"name": "rate", "value": 9.0},
    ]
    finding = {"code": "some", "evidence": kept}
    bars = [s for s in call("evidenceDrawing", finding, 600, THEME)["shapes"] if s.get("fill") == THEME["accent"]]
    assert [bar["w"] for bar in bars] == pytest.approx([4 * bars[1]["w"], bars[1]["w"]]) and len(bars) == 2
    assert call("drawnAs", finding) == "bars on one scale: the same quantity"
    assert call("drawnAs", evidence(1.0, 10.0)).startswith("bars, each on its own scale")
    assert call("drawnAs", finding | {"evidence": kept[2:]}) == ""


def test_a_layer_of_a_sequence_is_no_count(call):
    layers = {
        "steps": [0, 1],
        "layers": [{"name": name, "kind": "linear", "activation": None} for name in ("9", "head")],
        "quantities": [
            {"key": "q", "label": "dead", "scale": "share", "good": [None, 0.5], "values": [[1, 1], [1, 1]]}
        ],
    }
    assert "dead (layer 9, head)" in call("mostly", layers)


def test_one_batch_that_fits_does_not_stretch_a_logarithmic_axis(call):
    lines = [{"name": "a", "colour": "", "x": [0, 1], "y": [2.0, 0.5], "low": [1.0, 1e-9], "high": [3.0, 1.0]}]
    runs = [{"name": "a, seed 0", "colour": "", "x": [0, 1], "y": [2.0, 1e-12], "quiet": True}]
    floor = call("least", lines)
    assert floor == pytest.approx(0.05)
    assert call("isCut", lines, floor) and call("isCut", runs, floor) and not call("isCut", lines, 1e-9)
    chart = {"series": [*runs, *lines], "x": {"label": "steps"}, "y": {"label": "loss", "log": True}}
    low, high = call("bounds", chart)["y"]
    assert low < 1e-12 and high > 3
    low, high = call("bounds", chart | {"y": chart["y"] | {"least": floor}})["y"]
    assert 0.03 < low < 0.05 and high > 3
    assert call("least", [{"y": [None, 0.0, -1.0]}]) is None
    assert call("isCut", runs, floor, [0.5, 2]) and not call("isCut", runs, floor, [0, 0.5])


@pytest.mark.parametrize("width", [70, 90, 140, 300])
@pytest.mark.parametrize(
    ("low", "high"), [(1.918, 2.478), (0.9, 0.951), (-3.2, 17.0), (1e-4, 3e-4), (5.0, 5.0), (0.0, 1.0)]
)
def test_an_axis_however_narrow_names_a_place(call, width, low, high):
    scores = {"a": low, "b": high}
    finalists = [{"name": name, "scores": [at], "mean": at, "interval": [at, at]} for name, at in scores.items()]
    drawing = call("axisDrawing", {"finalists": finalists, "metric": "nll", "unit": None}, width, THEME)
    named = [shape for shape in drawing["shapes"] if shape["kind"] == "text"]
    assert named and all(10 <= shape["x"] <= width - 10 for shape in named)
