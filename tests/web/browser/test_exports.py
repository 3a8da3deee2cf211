"""SVG, PNG and CSV of every chart of every view hold what is drawn: the same numbers, at the same places, as pixels."""

import shutil
import subprocess

import numpy as np
import pytest

import thalweg as tw
from tests.web.browser.conftest import go, made_once, shown, studies, watched
from tests.web.browser.exported import DENSITY, SPACE, colours, on_screen, rendered, saved, scale, value, vertices
from tests.web.served import command
from thalweg.landscapes import landscape
from thalweg.shifts.keeping import keep as keep_shift
from thalweg.study import Study

TROUBLED = ("train", "digits", "--recipe", "momentum,lr=30", "--quiet", "--folder", "in trouble")
DRIFT = 1.5  # pixels of a vertex, at most: what is nearer than that to its neighbour may be left out of a path

# study, place → the charts that are there
PLACES = {
    ("whole", "verdict"): {"finalists", "best-so-far"},
    ("whole", "verdict?by=runs"): {"finalists", "best-so-far"},
    ("whole", "curves"): {"curves"},
    ("whole", "curves?y=select%20accuracy&x=step&smooth=0&logx=yes"): {"curves"},
    ("whole", "curves?y=loss&runs=no&logy=no"): {"curves"},
    ("whole", "rates"): {"rates"},
    ("whole", "rates?length=all&near=no&logy=yes"): {"rates"},
    ("whole", "layers"): {"layers-*"},
    ("crossed", "layers"): {"layers-experiments"},
    ("whole", "landscape"): {"landscape-pca", "landscape-pca-*", "slice-*", "connections"},
    ("whole", "landscape?plane=random"): {"landscape-random", "landscape-random-*", "slice-*", "connections"},
    ("whole", "landscape?as=surface"): {"surface-pca", "slice-*", "connections"},
    ("in trouble", "findings"): {"evidence-*", "tried-*"},
    ("whole", "shift"): {"features", "shift-old", "shift-new", "shift-difference", "shift-slice-*", "remedies"},
    ("whole", "playground"): {"playground-map", "playground-loss"},
    ("whole", "playground?s=himmelblau"): {"playground-map", "playground-loss"},
}


@pytest.fixture(scope="module")
def home(studied, tmp_path_factory):
    """Studies of the digits with every document that the page shows."""

    def make(home):
        home.mkdir()
        shutil.copytree(studied, home / "whole")
        study = Study.load(home / "whole")
        sizes = {"resolution": 9, "rows": 120, "runs": 2, "refine": False}
        landscape(study, planes=["pca", "random"], slices=["line", "top"], both=True, connect=True, quiet=True, **sizes)
        judge = tw.Task.load("digits").prepare().judge
        moved = (0.35 * judge.inputs + 0.3, judge.targets)
        keep_shift(tw.shift(study, incoming=moved, quiet=True), home / "whole")
        axes = {"init": ["torch", "he_normal"], "norm": ["keep", "layer"]}
        field = [tw.Recipe("adam", lr=1e-2)]
        tw.compare("digits", field=field, axes=axes, budget="20 runs", folder=home / "crossed", quiet=True)
        for words in (TROUBLED, ("diagnose", "in trouble", "--verify")):
            subprocess.run(command(*words), cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return made_once(tmp_path_factory, "exports", make)


@pytest.fixture(scope="module")
def places(home):
    with shown(home) as found:
        yield found


@pytest.fixture
def seen(browser, places):
    with watched(browser, device_scale_factor=DENSITY, reduced_motion="reduce") as found:
        found.page.goto(places)
        found.page.wait_for_selector("main[data-ready=yes]")
        found.ids = {study["name"]: study["id"] for study in studies(found.page)}
        yield found


@pytest.fixture
def sheet(browser):
    """A page of its own, to look at an SVG."""
    context = browser.new_context(device_scale_factor=DENSITY, viewport={"width": 1400, "height": 1400})
    yield context.new_page()
    context.close()


def lines(chart):
    """Every point of every line stands in the SVG where the CSV says; nothing is left out and nothing comes twice."""
    _, across, up = chart.columns[:3]
    marks = int(chart.data["marks"])
    rows = chart.rows[: len(chart.rows) - marks]
    assert all(": " in row[0] for row in chart.rows[len(rows) :])
    known = [row for row in rows if row[2]]
    assert len(known) == chart.number("points") > 0
    assert len({row[0] for row in rows}) <= chart.number("series")
    assert {across, up} <= set(chart.words) and f"n = {chart.data['n']}" in chart.words
    logs = [chart.data[f"{axis}Log"] == "yes" for axis in "xy"]
    drawn = chart.lines()
    expected: dict[str, list[list[float]]] = {label: [] for label in drawn}
    for smoothed in ("", ", smoothed"):
        for label in drawn:
            own = [[value(row[1]), value(row[2])] for row in rows if row[0] == label + smoothed]
            expected[label] += [
                [x, y] for x, y in own if np.isfinite(y) and not (logs[0] and x <= 0) and not (logs[1] and y <= 0)
            ]
    told = [label for label in drawn if expected[label]]
    assert told and {row[0].removesuffix(", smoothed") for row in known if not row[0].endswith(", runs")} == set(told)
    numbers = np.concatenate([expected[label] for label in told])
    vertex = np.concatenate([drawn[label] for label in told])
    assert [len(expected[label]) for label in told] == [len(drawn[label]) for label in told]
    for axis in range(2):
        on = np.log(numbers[:, axis]) if logs[axis] else numbers[:, axis]
        np.testing.assert_allclose(vertex[:, axis], scale(on, vertex[:, axis]), rtol=1e-4, atol=0.03)
    low, high = chart.number("min"), chart.number("max")
    if chart.name != "rates":  # what lies outside of its panel is said below it
        fine = [value(row[2]) for row in known]
        assert low <= max(fine) and min(fine) <= high


def heat(chart):
    """A cell is a number of the CSV, and its colour grows lighter with it."""
    numbers = np.array([[value(cell) for cell in row[1:]] for row in chart.rows])
    assert numbers.shape == (chart.number("rows"), chart.number("columns"))
    known = numbers[np.isfinite(numbers)]
    assert known.size == chart.number("points")
    assert (known.min(), known.max()) == (chart.number("min"), chart.number("max"))
    cells = chart.shapes("rect")[1 : 1 + numbers.size]
    assert len(chart.shapes("rect")) == 1 + numbers.size + 64  # the ground and the bar of colours
    for row in chart.rows:
        assert any(word.lstrip("…") and row[0].endswith(word.lstrip("…")) for word in chart.words)
    fills = [one.get("fill") for one in cells]
    light = np.array([np.dot([0.299, 0.587, 0.114], rgb(fill)) for fill in fills])
    order = np.argsort(numbers.ravel(), kind="stable")[: known.size]
    assert (np.diff(light[order]) > -1.5).all() and (known.min() == known.max() or np.ptp(light[order]) > 20)


def rgb(colour: str) -> list[float]:
    if colour.startswith("#"):
        return [int(colour[1 + 2 * k : 3 + 2 * k], 16) for k in range(3)]
    return [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")]


def plane(chart):
    """The surface's values and the runs' points; the lines of the runs lead through them."""
    surface = np.array([value(row[3]) for row in chart.rows if row[0] == "surface"])
    known = surface[np.isfinite(surface)]
    assert known.size == chart.number("n") and surface.size - known.size == chart.number("missing")
    assert (known.min(), known.max()) == (chart.number("min"), chart.number("max"))
    points = [row for row in chart.rows if row[0] != "surface"]
    assert len(points) == chart.number("points")
    fills = {one.get("fill") for one in chart.paths(filled=True) if one.get("opacity") == "1"}
    assert 2 <= len(fills) <= chart.number("levels") + 1 + chart.number("paths")
    drawn = chart.lines()
    assert len(drawn) <= chart.number("paths") and (not drawn or set(drawn) <= {row[0] for row in points})
    for k in range(2):
        if not drawn:
            break
        on = [[value(row[1 + k]) for row in points if row[0] == label and row[1] and row[2]] for label in drawn]
        vertex = np.concatenate([places[:, k] for places in drawn.values()])
        np.testing.assert_allclose(vertex, scale(np.concatenate(on), vertex), rtol=1e-4, atol=0.03)
    axes = " ".join(chart.words)
    assert all(name.split()[0] in axes for name in chart.columns[1:3])


def relief(chart):
    """The same numbers as the plane's, and a surface of many parts with the runs on it."""
    surface = [row for row in chart.rows if row[0] == "surface" and row[3]]
    assert len(surface) == chart.number("n") and chart.data["webgl"] == "yes"
    parts = chart.paths(filled=True)
    assert len(parts) > 100 and len({one.get("fill") for one in parts}) > 20
    names = {row[0] for row in chart.rows} - {"surface"}
    assert set(chart.lines()) <= names and len(chart.lines()) == chart.number("paths") > 0
    assert set(chart.columns[1:3]) <= set(chart.words)


def finalists(chart):
    """A row for each, whose dot stands at its mean."""
    assert len(chart.rows) == chart.number("n")
    assert {row[0] for row in chart.rows} <= set(chart.words)
    means = np.array([value(row[2]) for row in chart.rows])
    dots = np.array([float(one.get("cx")) for one in chart.shapes("circle")])
    assert dots.size == np.isfinite(means).sum() > 1
    np.testing.assert_allclose(dots, scale(means[np.isfinite(means)], dots), atol=0.03)


def evidence(chart):
    """Every number, in words too."""
    assert len(chart.rows) == chart.number("n") == chart.number("drawn")
    for row in chart.rows:
        assert any(word.startswith(row[0][:20]) for word in chart.words)
    against = [row for row in chart.rows if row[2]]
    assert sum(word.startswith("against ") for word in chart.words) == len(against)


def dotted(chart):
    """A dot for each, where its number is; the interval where it is told."""
    assert len(chart.rows) == chart.number("drawn")
    numbers = np.array([[value(cell) for cell in row[1:]] for row in chart.rows])
    assert np.isfinite(numbers[:, 0]).all()
    told = numbers[np.isfinite(numbers)]
    on = np.log(numbers) if told.min() > 0 and told.max() > 20 * told.min() else numbers  # as the page decides
    dots = np.array([float(one.get("cx")) for one in chart.shapes("circle")])
    np.testing.assert_allclose(dots, scale(on[:, 0], dots), atol=0.03)
    whiskers = [places for places in map(vertices, chart.paths()) if len(places) == 2 and np.ptp(places[:, 1]) == 0]
    intervals = on[np.isfinite(on[:, 1:]).all(1), 1:]
    a_unit = np.ptp(dots) / np.ptp(on[:, 0])
    np.testing.assert_allclose([np.ptp(one[:, 0]) for one in whiskers], a_unit * np.ptp(intervals, axis=1), atol=0.1)


def features(chart):
    """A bar for each, as long as its effect."""
    assert len(chart.rows) == chart.number("drawn")
    assert sum(row[3] == "yes" for row in chart.rows) == min(chart.number("alarms"), len(chart.rows))
    long = np.array([float(one.get("width")) for one in chart.shapes("rect")[1:]])
    effects = np.abs([value(row[1]) for row in chart.rows])
    np.testing.assert_allclose(long, np.maximum(effects / effects.max() * long.max(), 1), atol=0.03)
    assert {row[0] for row in chart.rows} <= set(chart.words)


def race(chart):
    """Every point of every racer; the paths begin where the start is."""
    assert len(chart.rows) == chart.number("points")
    names = list(dict.fromkeys(row[0] for row in chart.rows))
    assert len(names) == chart.number("n") == 8
    start = [float(x) for x in chart.data["start"].split(",")]
    drawn = {label: places for label, places in chart.lines().items() if label in names}
    assert set(drawn) == set(names)
    begins = np.array([places[0] for places in drawn.values()])
    assert np.ptp(begins, axis=0).max() == 0
    for name in names:
        first = next(row for row in chart.rows if row[0] == name)
        assert [value(cell) for cell in first[2:4]] == pytest.approx(start, rel=1e-6)
        assert any(word.startswith(f"{name}: ") for word in chart.words)
    ends = {row[0]: [value(cell) for cell in row[2:4]] for row in chart.rows}
    inside = [name for name in names if np.isfinite(ends[name]).all() and np.abs(drawn[name][-1]).max() < 3000]
    numbers = np.array([start] + [ends[name] for name in inside])
    places = np.array([begins[0]] + [drawn[name][-1] for name in inside])
    for axis in range(2):
        np.testing.assert_allclose(places[:, axis], scale(numbers[:, axis], places[:, axis]), atol=DRIFT)


def check_of(chart):
    """What is compared for a chart of this kind."""
    by_name = {"finalists": finalists, "features": features, "remedies": dotted, "playground-map": race}
    if chart.name in by_name:
        return by_name[chart.name]
    for start, check in {"evidence-": evidence, "tried-": dotted, "surface-": relief}.items():
        if chart.name.startswith(start):
            return check
    return lines if "series" in chart.data else heat if "scale" in chart.data else plane


@pytest.mark.parametrize(("study", "place"), PLACES, ids=[" ".join(place) for place in PLACES])
def test_every_chart_is_saved_as_it_is_drawn(seen, sheet, study, place):
    page = seen.page
    go(page, f"#/{seen.ids[study]}/{place}", place.partition("?")[0])
    page.wait_for_selector("main figure[data-chart] canvas")
    if "surface" in place and "landscape" in place:
        page.wait_for_selector("figure[data-webgl=yes]:not([data-drawn='0'])")
    if "playground" in place:
        page.wait_for_selector("figure[data-chart=playground-map]:not([data-points='0'])")
        page.wait_for_selector(".playground[data-busy=no]")
        surface = place.partition("s=")[2] or f"{seen.ids[study]}:pca"
        assert page.get_attribute("figure[data-chart=playground-map]", "data-surface") == surface
    page.wait_for_timeout(300)
    figures = page.locator("main figure[data-chart]").all()
    names = [figure.get_attribute("data-chart") for figure in figures]
    wanted = PLACES[study, place]
    assert len(set(names)) == len(names) and {known(name, wanted) for name in names} == wanted
    assert (
        page.locator("main canvas").count()
        == page.locator("main figure[data-chart]:has(details.export) canvas").count()
    )
    for figure in figures:
        chart = saved(page, figure)
        wide, high = chart.size
        assert chart.png.shape[:2] == (round(high * DENSITY), round(wide * DENSITY)), chart.name
        assert colours(chart.png) > 3 and chart.svg.find(f"{SPACE}title").text, chart.name
        assert all(len(row) == len(chart.columns) for row in chart.rows) and chart.rows, chart.name
        if figure.locator(".panel > canvas[role=img]").count() and "webgl" not in chart.data:
            np.testing.assert_array_equal(chart.png, on_screen(figure), chart.name)
        apart = np.abs(rendered(sheet, chart.text) - chart.png).mean()
        assert apart < 2, f"{chart.name}: SVG and PNG differ by {apart:.2f} of 255"
        check_of(chart)(chart)


def known(name: str, wanted: set[str]) -> str:
    """The entry of what is wanted that a name is of: itself, or the longest that ends in a star."""
    starred = [one for one in wanted if one.endswith("*") and name.startswith(one[:-1])]
    return name if name in wanted else max(starred, key=len, default=name)


def test_a_zoomed_chart_is_saved_as_it_is_seen(seen):
    page = seen.page
    go(page, f"#/{seen.ids['whole']}/curves?x=step&from=50&to=100&smooth=0", "curves")
    page.wait_for_selector("figure[data-chart=curves][data-zoomed=yes][data-loading=no]:not([data-points='0'])")
    chart = saved(page, page.locator("figure[data-chart=curves]"))
    steps = [value(row[1]) for row in chart.rows[: len(chart.rows) - int(chart.data["marks"])]]
    assert (min(steps), max(steps)) == (50, 100) == (chart.number("from"), chart.number("to"))
    assert chart.shapes("clipPath")  # what leaves the panel is cut off
