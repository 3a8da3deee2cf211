"""Layers, landscape, findings and shift in a real browser: a one-file page of known numbers, read back from what is drawn."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

import thalweg
from thalweg.report import filled, packed

TEMPLATE = Path(thalweg.__file__).parent / "web" / "static" / "report.html"
OWN = ("file:", "data:", "blob:")
SIDE = np.linspace(-2, 2, 9)
BOWL = 0.1 + SIDE[None, :] ** 2 + 2 * SIDE[:, None] ** 2


def flat(values):
    return [float(v) if math.isfinite(v) else None for v in np.asarray(values, dtype=float).ravel()]


def point(at, step, loss, off=0.0):
    return {"at": at, "step": step, "loss": loss, "off": off, "recorded": loss, "name": f"sgd, step {step}"}


def plane(values, **changes):
    path = [point([-1.5, 1.0], 0, 4.35), point([0.5, -0.5], 10, 0.85), point([0.0, 0.0], 20, 0.1, off=0.25)]
    return {
        "kind": "pca", "title": "Two directions", "axes": ["first", "second"], "x": SIDE.tolist(), "y": SIDE.tolist(),
        "values": flat(values), "others": {"select": flat(values + 1)}, "data": "100 rows", "explained": [0.75, 0.125],
        "evaluated": 81, "error": 0.0, "paths": [{"run": "sgd", "points": path}], "words": ["A bowl."], "complete": True,
    } | changes  # fmt: skip


def landscape():
    nowhere = plane(np.full((9, 9), np.nan), kind="random", title="Nothing", others={}, paths=[], evaluated=0)
    holes = np.where(SIDE[None, :] + SIDE[:, None] > 2, np.nan, BOWL)
    away = [
        point([-1.5, 1.0], 0, 4.35),
        point([1.0, 0.0], 5, 1.1),
        point([40.0, 0.0], 6, None),
        point([None, None], 7, None),
    ]
    gone = plane(holes, kind="eigen", others={}, paths=[{"run": "sgd", "points": away}], evaluated=66, complete=False)
    line = {"kind": "line", "title": "A line", "axis": "way", "x": SIDE.tolist(), "values": flat(SIDE**2), "others": {}}
    return {
        "task": "bowl", "where": "the lowest point", "loss": 0.1, "data": "100 rows", "planes": [plane(BOWL), nowhere, gone],
        "slices": [line | {"marks": [], "words": []}], "connections": [], "sentences": ["<b>Bold?</b>"], "notes": [],
        "complete": True,
    }  # fmt: skip


def layers():
    ratio = {"key": "update", "label": "update ratio", "scale": "log", "good": [1e-4, 1e-2]}
    values = [[1e-3, 2e-3, None], [0.5, 1e-6, 3e-3]]
    return {
        "recipe": "sgd", "seed": 0, "rows": 64, "steps": [0, 10, 1000], "notes": [], "experiments": None,
        "layers": [{"name": name, "kind": "linear", "activation": None} for name in ("first", "second")],
        "quantities": [ratio | {"values": values}],
    }  # fmt: skip


def findings():
    def finding(code, severity, **more):
        return {
            "code": code, "severity": severity, "where": "", "sentence": f"{code}.", "confidence": 0.97, "can_try": False,
            "evidence": [{"name": "rate", "value": 3.0, "threshold": 1.0, "error": 0.5}], "outcome": None, "page": "",
            "remedy": None,
        } | more  # fmt: skip

    change = {"kind": "recipe", "text": "less", "diff": [{"field": "lr", "before": "3.0", "after": "0.1"}]}
    tried = {"before": 2.0, "after": 0.5, "interval": [-1.7, -1.3], "seeds": 3, "helps": True, "sentence": "helps"}
    return {
        "title": "bowl", "recipe": "sgd", "measured": ["rates"], "not_measured": [{"what": "norms", "why": "none"}],
        "findings": [finding("a-note", "note"), finding("an-error", "error", remedy=change, outcome=tried)],
        "cost": {"gradient_evaluations": 10, "seconds": 1.0}, "notes": ["The task has changed."],
    }  # fmt: skip


def shift():
    remedies = [("nothing", 0.5, [0.0, 0.0]), ("fine-tune", 0.2, [-0.4, -0.2]), ("norms", None, [None, None])]
    return {
        "kind": "covariate", "title": "Shift", "sentence": "Moved.", "confidence": 0.9, "rows": {"reference": 50, "incoming": 40},
        "features": [
            {"name": "still", "effect": 0.01, "p": 0.9, "alarm": False},
            {"name": "moved", "effect": 2.0, "p": 0.0, "alarm": True},
        ],
        "planes": {"old": plane(BOWL, others={}), "new": plane(BOWL + SIDE[None, :], others={})},
        "slices": [{"axis": "way", "x": SIDE.tolist(), "old": flat(SIDE**2), "new": flat(SIDE**2 + 1)}], "surface": ["It moved."],
        "remedies": [
            {"name": n, "loss": v, "interval": i, "cost": "1 s", "old_loss": v, "recommended": n == "fine-tune"}
            for n, v, i in remedies
        ],
        "notes": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    has = {"verdict": False, "layers": True, "landscape": True, "findings": True, "shift": True}
    head = {
        "id": "bowl", "name": "bowl", "task": "bowl", "status": "complete", "runs": 1, "metric": None, "sentence": None,
        "modified": 0,
        "has": has, "steps": 20, "budget": None, "effort": "quick", "environment": {}, "executor": None, "entrants": ["sgd"],
        "progress": {"runs": 1, "running": 0, "diverged": 0, "samples": 1, "seconds": 1}, "resume": "",
    }  # fmt: skip
    study = {"head": head, "layers": layers(), "landscape": landscape(), "findings": findings(), "shift": shift()}
    home = {"version": "0", "live": False, "studies": [head]}
    data = packed({"home": home, "studies": {"bowl": study}, "playground": None})
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(filled(TEMPLATE.read_text(encoding="utf-8"), data, "bowl"), encoding="utf-8")
    return file


@pytest.fixture
def show(browser, page_file):
    """Opens a view of the one-file page; an error in the console or a request fails the test."""
    trouble: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True, accept_downloads=True)

    def shown(view, wait="[data-chart]"):
        page = context.new_page()
        page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(OWN) else trouble.append(asked.url))
        page.goto(f"{page_file.as_uri()}#/bowl/{view}")
        page.wait_for_selector(wait)
        return page

    yield shown
    context.close()
    assert trouble == []


def chart(page, name):
    return page.locator(f'[data-chart="{name}"]')


def number(page, name, key):
    return float(chart(page, name).get_attribute(f"data-{key}"))


def colours(page, name):
    """How many colours the canvas has."""
    read = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    return chart(page, name).locator("canvas").evaluate(read)


def test_the_contours_show_the_numbers_and_the_runs(show):
    page = show("landscape")
    assert (number(page, "landscape-pca", "min"), number(page, "landscape-pca", "max")) == (0.1, BOWL.max())
    assert (number(page, "landscape-pca", "n"), number(page, "landscape-pca", "points")) == (81, 3)
    assert number(page, "landscape-pca-select", "min") == 1.1
    # Both have the levels of the two together.
    assert number(page, "landscape-pca", "levels") == number(page, "landscape-pca-select", "levels") > 5
    assert colours(page, "landscape-pca") > 20
    picture = chart(page, "landscape-pca").locator(".touched")
    picture.focus()
    said = chart(page, "landscape-pca").locator(".said")
    page.keyboard.press("ArrowRight")
    assert said.get_attribute("data-said").startswith("sgd, step 0 · loss 4.35")
    page.keyboard.press("End")
    assert "step 20" in said.get_attribute("data-said") and "0.25 off the plane" in said.get_attribute("data-said")
    assert page.locator("[data-explained]").get_attribute("data-explained") == "0.875"
    assert page.locator("b", has_text="Bold?").count() == 0 and page.get_by_text("<b>Bold?</b>").count() == 1


def test_what_is_missing_diverged_or_nowhere_is_shown_as_such(show):
    page = show("landscape?plane=eigen")
    assert number(page, "landscape-eigen", "missing") == np.sum(SIDE[None, :] + SIDE[:, None] > 2)
    assert page.get_by_text("✕ diverged there").count() == 1 and page.get_by_text("66 of 81 points").count() >= 1
    page = show("landscape?plane=random")
    assert (number(page, "landscape-random", "n"), number(page, "landscape-random", "levels")) == (0, 0)


def test_the_saved_table_holds_what_is_drawn(show, tmp_path):
    page = show("landscape")
    chart(page, "landscape-pca").locator(".export summary").click()
    with page.expect_download() as saved:
        chart(page, "landscape-pca").locator('[data-format="csv"]').click()
    saved.value.save_as(tmp_path / "plane.csv")
    rows = list(csv.reader((tmp_path / "plane.csv").read_text(encoding="utf-8").splitlines()))
    surface = np.array([[float(cell) for cell in row[1:4]] for row in rows if row[0] == "surface"])
    np.testing.assert_array_equal(surface[:, 2], BOWL.ravel())
    np.testing.assert_array_equal(surface[:, 0], np.tile(SIDE, 9))
    assert sum(row[0] == "sgd" for row in rows) == 3


def test_the_surface_in_space_turns_by_keys_and_back(show):
    page = show("landscape?as=surface", wait='[data-webgl="yes"]')
    page.wait_for_function("document.querySelector('[data-webgl]').dataset.drawn > 0")
    canvas = page.locator("canvas.relief")
    pixels = "c => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(c.toDataURL()))))"
    start = canvas.evaluate(pixels)
    canvas.focus()
    page.keyboard.press("ArrowLeft")
    turned = canvas.evaluate(pixels)
    page.keyboard.press("0")
    assert turned != start and canvas.evaluate(pixels) == start and len(start) > 20_000
    page.get_by_role("radio", name="Eigenvectors").click()
    page.wait_for_selector('[data-chart="surface-eigen"]')
    assert page.locator("canvas.relief").count() == 1


def test_a_heat_map_is_read_by_keys_and_marks_what_is_not_good(show):
    page = show("layers")
    assert (number(page, "layers-update", "points"), number(page, "layers-update", "outside")) == (5, 2)
    assert (number(page, "layers-update", "min"), number(page, "layers-update", "max")) == (1e-6, 0.5)
    chart(page, "layers-update").locator(".touched").focus()
    said = chart(page, "layers-update").locator(".said")
    for key, words in (
        ("ArrowDown", "0.001"),
        ("ArrowDown", "0.5, above the good range"),
        ("ArrowRight", "1e-6, below the good range"),
    ):
        page.keyboard.press(key)
        assert words in said.get_attribute("data-said")
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    assert "no number" in said.get_attribute("data-said")


def test_findings_come_by_severity_with_the_change_and_what_it_did(show):
    page = show("findings")
    assert [one.get_attribute("data-code") for one in page.locator("[data-code]").all()] == ["an-error", "a-note"]
    error = page.locator('[data-code="an-error"]')
    assert error.locator(".gone").inner_text().endswith("lr = 3.0") and error.locator(".come").inner_text().endswith(
        "lr = 0.1"
    )
    tried = error.locator("[data-helps]")
    assert [tried.get_attribute(f"data-{key}") for key in ("helps", "before", "after")] == ["yes", "2", "0.5"]
    assert error.locator("[data-confidence]").inner_text() == "confidence 0.97"  # set by hand: no probability in words
    assert colours(page, "evidence-an-error") > 3 and page.get_by_role("button", name="Try it").count() == 0


def test_a_shift_names_the_feature_and_the_remedy_and_draws_the_difference(show):
    page = show("shift")
    assert (number(page, "features", "drawn"), number(page, "features", "alarms")) == (2, 1)
    assert (number(page, "shift-difference", "min"), number(page, "shift-difference", "max")) == (-2, 2)
    assert number(page, "shift-old", "levels") == number(page, "shift-new", "levels")
    assert page.locator("[data-recommended]").get_attribute("data-recommended") == "fine-tune"
    assert page.locator("tr.chosen th").inner_text().endswith("fine-tune")
    assert number(page, "remedies", "drawn") == 2 and page.get_by_text("Without a loss: norms").count() == 1


@pytest.mark.parametrize("view", ["layers", "landscape", "findings", "shift"])
def test_every_view_fits_a_narrow_screen_in_the_dark(show, view):
    page = show(view)
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    named = page.locator("[role=img]").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert named and all("n = " in label for label in named)
