"""The contour lines, bands and levels of the page, against contourpy, SciPy and closed forms."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import contourpy
import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from tests.web import tools

MAIN = """
import * as contours from "UI/src/contours"
import * as levels from "UI/src/levels"
import { readFileSync } from "node:fs"
const known = { ...contours, ...levels, sampled: (grid, points) => points.map((p) => contours.sampler(grid)(...p)) }
const asked = JSON.parse(readFileSync(0, "utf8"))
process.stdout.write(JSON.stringify(asked.map(([name, ...given]) => known[name](...given))))
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory, project):
    """Calls functions of contours.ts and levels.ts: a list of (name, arguments...) to the list of their results."""
    folder = tmp_path_factory.mktemp("contours")
    main, packed = folder / "main.mjs", folder / "contours.mjs"
    main.write_text(MAIN.replace("UI", project.as_posix()))
    tools.packed(project, main, packed)

    def called(*asked: tuple[Any, ...]) -> list[Any]:
        text = json.dumps(asked, default=lambda array: array.tolist())
        return json.loads(tools.run(packed, text))

    return called


def grid(x, y, values):
    """The grid as the page holds it: y-major, null where not finite."""
    flat = [float(v) if math.isfinite(v) else None for v in np.asarray(values, dtype=float).ravel()]
    return {"x": list(map(float, x)), "y": list(map(float, y)), "values": flat}


def test_levels_of_a_bowl_are_circles(call):
    x, y = np.linspace(-2, 2, 81), np.linspace(-2, 2, 61)
    bowl = grid(x, y, x[None, :] ** 2 + y[:, None] ** 2)
    for level, found in zip((0.25, 1.0, 2.25), call(*[("lines", bowl, h) for h in (0.25, 1.0, 2.25)]), strict=True):
        (circle,) = found
        points = np.array(circle["points"])
        assert circle["closed"] and np.all(points[0] == points[-1])
        # Linear along an edge of length h, a parabola's crossing is off by at most h²/8 · f''/|f'|.
        assert np.abs(np.hypot(*points.T) - math.sqrt(level)).max() < (4 / 60) ** 2 / 8 / math.sqrt(level) * 1.5
        area = 0.5 * np.sum(points[:-1, 0] * points[1:, 1] - points[1:, 0] * points[:-1, 1])
        assert abs(area) == pytest.approx(math.pi * level, rel=0.01)


def test_a_saddle_is_cut_by_its_middle(call):
    x = [0.0, 1.0]
    high, low = grid(x, x, [[1, 0], [0, 1]]), grid(x, x, [[0, 1], [1, 0]])
    for surface in (high, low):
        above, below = call(("lines", surface, 0.6), ("lines", surface, 0.4))
        assert len(above) == len(below) == 2
        # Above the middle's 0.5 each high corner is cut off by itself; below, each low one.
        for line in above:
            ends = np.array(line["points"])
            corner = np.round(ends.mean(0))
            assert surface["values"][int(2 * corner[1] + corner[0])] == 1
        for line in below:
            corner = np.round(np.array(line["points"]).mean(0))
            assert surface["values"][int(2 * corner[1] + corner[0])] == 0


def test_a_saddle_surface_has_two_branches(call):
    x = np.linspace(-1, 1, 21)
    saddle = grid(x, x, x[None, :] ** 2 - x[:, None] ** 2)
    up, down = call(("lines", saddle, 0.25), ("lines", saddle, -0.25))
    assert [len(up), len(down)] == [2, 2] and not any(line["closed"] for line in up + down)
    assert {np.sign(line["points"][0][0]) for line in up} == {-1, 1}
    assert {np.sign(line["points"][0][1]) for line in down} == {-1, 1}


@pytest.mark.parametrize("seed", range(12))
def test_random_grids_cross_only_between_lower_and_higher_corners(call, seed):
    draw = np.random.default_rng(seed)
    rows, columns = draw.integers(2, 9, 2)
    x, y = np.cumsum(draw.uniform(0.1, 2, columns)), np.cumsum(draw.uniform(0.1, 2, rows))
    values = draw.normal(size=(rows, columns))
    values[draw.random(values.shape) < 0.1] = np.nan
    surface, levels = grid(x, y, values), [-0.7, 0.0, 0.4]
    for level, found in zip(levels, call(*[("lines", surface, h) for h in levels]), strict=True):
        crossed = set()
        for line in found:
            for px, py in line["points"]:
                on_x, on_y = np.isclose(x, px, atol=0, rtol=1e-12), np.isclose(y, py, atol=0, rtol=1e-12)
                assert on_x.any() or on_y.any()
                if on_x.any():
                    i, j = int(on_x.argmax()), int(np.searchsorted(y, py, "right")) - 1
                    a, b, t, key = values[j, i], values[j + 1, i], (py - y[j]) / (y[j + 1] - y[j]), ("v", i, j)
                else:
                    i, j = int(np.searchsorted(x, px, "right")) - 1, int(on_y.argmax())
                    a, b, t, key = values[j, i], values[j, i + 1], (px - x[i]) / (x[i + 1] - x[i]), ("h", i, j)
                assert min(a, b) < level <= max(a, b)
                assert a + t * (b - a) == pytest.approx(level, abs=1e-9)
                crossed.add(key)
        whole = np.isfinite(values[:-1, :-1] + values[1:, :-1] + values[:-1, 1:] + values[1:, 1:])
        high, there = values >= level, np.pad(whole, 1)
        flat = (high[:, 1:] != high[:, :-1]) & (there[:-1, 1:-1] | there[1:, 1:-1])
        upright = (high[1:] != high[:-1]) & (there[1:-1, :-1] | there[1:-1, 1:])
        assert crossed == {("h", i, j) for j, i in np.argwhere(flat)} | {("v", i, j) for j, i in np.argwhere(upright)}


@pytest.mark.parametrize("seed", range(6))
def test_the_lines_are_contourpys(call, seed):
    draw = np.random.default_rng(100 + seed)
    x, y = np.linspace(0, 1, 23), np.linspace(0, 2, 17)
    values = sum(
        draw.normal() * np.sin(draw.uniform(1, 7) * x[None, :] + draw.uniform(1, 4) * y[:, None]) for _ in range(5)
    )
    values[4:6, 7:9] = np.nan
    levels = [-1.0, -0.2, 0.3, 1.1]
    peer = contourpy.contour_generator(x, y, np.ma.masked_invalid(values), name="serial", corner_mask=False)
    for level, found in zip(levels, call(*[("lines", grid(x, y, values), h) for h in levels]), strict=True):
        theirs = peer.lines(level)
        ours = [np.array(line["points"]) for line in found]
        assert len(ours) == len(theirs)
        length = [sum(float(np.hypot(*np.diff(p, axis=0).T).sum()) for p in some) for some in (ours, theirs)]
        assert length[0] == pytest.approx(length[1], rel=1e-9)


def test_finer_grids_keep_what_was_measured_and_add_no_hill(call):
    draw = np.random.default_rng(7)
    x, y = np.cumsum(draw.uniform(0.2, 1, 7)), np.cumsum(draw.uniform(0.2, 1, 6))
    values = np.exp(draw.normal(size=(6, 7)))
    values[2, 3] = np.nan
    for log in (False, True):
        fine, again = call(("refined", grid(x, y, values), 5, log), ("refined", grid(x, y, values), 1, log))
        assert again == grid(x, y, values)
        shown = np.array(fine["values"], dtype=float).reshape(len(fine["y"]), len(fine["x"]))
        np.testing.assert_allclose(shown[::5, ::5], values, rtol=1e-12)
        for j in range(5):
            for i in range(6):
                inside, corners = shown[5 * j : 5 * j + 6, 5 * i : 5 * i + 6], values[j : j + 2, i : i + 2]
                if np.isnan(corners).any():
                    assert np.isnan(inside[1:-1, 1:-1]).all()
                else:
                    assert corners.min() * (1 - 1e-12) <= inside.min() <= inside.max() <= corners.max() * (1 + 1e-12)


def test_the_smooth_rows_are_scipys(call):
    x = np.array([0.0, 1.0, 1.5, 3.0, 4.0, 4.2])
    row = np.array([1.0, 3.0, 3.5, 2.0, 2.5, 6.0])
    (fine,) = call(("refined", grid(x, [0.0, 1.0], [row, row]), 8, False))
    ours = np.array(fine["values"][: len(fine["x"])])
    inner = slice(8, -8)  # SciPy takes other slopes at the two ends
    np.testing.assert_allclose(ours[inner], PchipInterpolator(x, row)(np.array(fine["x"]))[inner], rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_regions_hold_what_is_at_least_as_high(call, seed):
    draw = np.random.default_rng(40 + seed)
    x, y = np.linspace(-1, 1, 9), np.linspace(0, 1, 6)
    values = draw.normal(size=(6, 9))
    values[draw.random(values.shape) < 0.08] = np.nan
    surface, levels = grid(x, y, values), [-1e300, -0.5, 0.0, 0.8]
    points = draw.uniform([-1.1, -0.1], [1.1, 1.1], (400, 2))
    *regions, heights = call(*[("regions", surface, h) for h in levels], ("sampled", surface, points))
    whole = np.isfinite(values[:-1, :-1] + values[1:, :-1] + values[:-1, 1:] + values[1:, 1:])
    areas = [-sum(area(np.array(loop)) for loop in loops) for loops in regions]
    assert areas[0] == pytest.approx(whole.sum() * 0.25 * 0.2)
    assert all(more > less > 0 for more, less in itertools.pairwise(areas))
    for loops, level in zip(regions, levels, strict=True):
        assert all(loop[0] == loop[-1] for loop in loops)
        for (px, py), height in zip(points, heights, strict=True):
            inside = sum(winding(np.array(loop) - [px, py]) for loop in loops)
            if height is None:
                assert inside == 0
                continue
            # Lines are straight inside a cell, where bilinear heights are curved: only clear heights are held to it.
            i, j = np.searchsorted(x, px) - 1, np.searchsorted(y, py) - 1
            corners = values[j : j + 2, i : i + 2]
            if corners.min() >= level or corners.max() < level:
                assert inside == (-1 if height >= level else 0)
            assert inside in (0, -1)


def area(loop):
    """Counter-clockwise."""
    return 0.5 * np.sum(loop[:-1, 0] * loop[1:, 1] - loop[1:, 0] * loop[:-1, 1])


def winding(loop):
    """How often it goes round the origin, counter-clockwise."""
    angles = np.arctan2(loop[:, 1], loop[:, 0])
    turns = (np.diff(angles) + math.pi) % (2 * math.pi) - math.pi
    return round(turns.sum() / (2 * math.pi))


def test_reading_a_point_is_bilinear_and_null_outside(call):
    surface = grid([0, 1, 3], [0, 2], [[0, 1, 5], [2, 3, math.nan]])
    (read,) = call(("sampled", surface, [[0.5, 1], [0.5, 2], [0, 0], [2, 0.5], [-0.1, 0], [3.1, 1]]))
    assert read == [1.5, 2.5, 0, None, None, None]


@pytest.mark.parametrize("count", [6, 10, 14])
def test_levels_are_round_rising_inside_and_few(call, count):
    draw = np.random.default_rng(count)
    surfaces = [
        np.exp(draw.normal(size=80)),
        10 ** draw.uniform(-6, 3, 200),
        draw.uniform(-3, 11, 50),
        draw.uniform(0.97, 1.03, 50),
        np.append(draw.uniform(0.2, 4, 100), [1e9, 1e30]),
        np.append(-146 + draw.exponential(1, 60), [1e3, 4e3, 2e4]),
    ]
    spacings = []
    for values, found in zip(surfaces, call(*[("levels", v, count) for v in surfaces]), strict=True):
        cut = np.array(found["values"])
        spacings.append(found["spacing"])
        assert 2 <= len(cut) <= count + 2 and (np.diff(cut) > 0).all()
        assert values.min() <= cut[0] and cut[-1] <= values.max()
        assert cut[-1] - min(0, values.min()) <= 10.0001 * np.quantile(values - min(0, values.min()), 0.95)
        assert (found["low"], found["high"], found["n"]) == (values.min(), values.max(), len(values))
        if found["spacing"] != "rise":
            assert all(float(f"{v:.4g}") == v for v in cut)
    assert spacings == ["log", "log", "linear", "linear", "log", "rise"]


def test_levels_of_nothing_and_of_a_plain(call):
    nothing, plain = call(("levels", [None, None], 10), ("levels", [2.0, 2.0, None], 10))
    assert nothing["values"] == [] and nothing["n"] == 0
    assert plain["values"] == [] and (plain["low"], plain["high"], plain["n"]) == (2, 2, 2)


def test_surfaces_side_by_side_share_their_levels(call):
    one, other = [1.0, 2.0, 3.0], [2.0, 900.0]
    together, joined = call(("shared", [one, other], 8), ("levels", one + other, 8))
    assert together == joined and together["high"] == 900


def test_levels_are_told_apart_by_few_digits(call):
    values = [2.61328, 2.61828, 2.62828, 2.65828, 2.70828, 3.10828, 4.60828]
    levels = {"values": values, "spacing": "rise", "low": 2.6, "high": 5, "top": 5, "n": 9}
    texts = call(*[("named", value, levels) for value in values])
    assert texts == ["2.613", "2.618", "2.628", "2.66", "2.71", "3.1", "4.6"]
    for text, value in zip(texts, values, strict=True):
        assert abs(float(text) - value) <= 0.1 * min(abs(other - value) for other in values if other != value)
    assert call(("named", 0.005, levels | {"values": [0.005, 0.01]})) == ["0.005"]
