"""Every view on a real study: what it draws is what was measured, at any width, light and dark, by keyboard."""

import csv
import json
import math
from pathlib import Path

import pytest

from tests.web.browser.conftest import blank, go, studies, until, watched

VIEWS = ("verdict", "curves", "rates", "layers", "landscape", "findings", "playground")


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text())


def test_a_page_of_one_study_opens_on_its_verdict_and_forgets_the_token(seen, studied):
    assert "token" not in seen.page.url
    verdict = read(studied, "verdict.json")
    go(seen.page, f"#/{seen.id}/verdict", "verdict")
    assert verdict["verdict"]["sentence"].replace("\u00a0", " ") in seen.page.inner_text("article").replace(
        "\u00a0", " "
    )
    means = seen.page.eval_on_selector_all("tr[data-name]", "rows => rows.map(r => [r.dataset.name, r.dataset.mean])")
    assert [name for name, _ in means] == [one["name"] for one in verdict["finalists"]]
    for (_, shown), one in zip(means, verdict["finalists"], strict=True):
        assert (
            math.isnan(float(one["mean"]))
            if shown == ""
            else float(shown) == pytest.approx(float(one["mean"]), rel=1e-5)
        )
    assert not blank(seen.page, "figure[data-chart=finalists] canvas")
    assert "thalweg.Recipe" in seen.page.inner_text("pre")
    bought = seen.page.locator("figure[data-chart=best-so-far]")
    assert int(bought.get_attribute("data-n")) == len(verdict["best_so_far_band"])
    assert bought.locator("figcaption").inner_text().startswith("On the selection rows.")
    assert seen.page.get_by_role("radio", name="seconds").count() == 0


def test_curves_have_every_run_and_say_who_diverged(seen, studied):
    go(seen.page, f"#/{seen.id}/curves", "curves")
    chart = seen.page.wait_for_selector("figure[data-chart][data-points]:not([data-points='0'])")
    ends = [json.loads(line) for line in (studied / "trace.jsonl").read_text().splitlines() if '"kind":"end"' in line]
    finals = [end for end in ends if end["phase"] == "final"]
    assert int(chart.get_attribute("data-n")) == len(finals) > 0
    assert not blank(seen.page, "section.curves canvas")
    before = chart.get_attribute("data-y-log")
    seen.page.keyboard.press("y")
    until(seen.page, f"document.querySelector('figure[data-y-log]').dataset.yLog !== '{before}'")
    until(seen.page, "location.hash.includes('logy')")
    phases = seen.page.eval_on_selector_all("select[data-pick=phase] option", "all => all.map(o => o.value)")
    assert len(phases) > 1
    diverged = [end for end in ends if end["outcome"]["status"] == "diverged"]
    assert diverged
    phase = next(p for p in phases if diverged[0]["phase"] in p)
    seen.page.select_option("select[data-pick=phase]", phase)
    seen.page.wait_for_selector("figure[data-marks]:not([data-marks='0'])")
    assert "diverged" in seen.page.inner_text("section.curves")


def test_rates_name_the_best(seen, studied):
    go(seen.page, f"#/{seen.id}/rates", "rates")
    rows = seen.page.eval_on_selector_all("tr[data-name]", "rows => rows.map(r => [r.dataset.name, r.dataset.best])")
    wanted = {one["name"]: one["recipe"]["lr"] for one in read(studied, "verdict.json")["finalists"]}
    found = {name: float(best) for name, best in rows if best}
    assert found["momentum"] == pytest.approx(wanted["momentum"], rel=1e-5)
    caption = seen.page.inner_text("section.rates figcaption")
    assert "On the selection rows" in caption and "the rate that was chosen" in caption
    assert not blank(seen.page, "section.rates canvas")


def test_layers_are_maps_of_what_was_measured(seen, studied):
    layers = read(studied, "layers.json")
    go(seen.page, f"#/{seen.id}/layers", "layers")
    section = seen.page.query_selector("section.layers")
    assert int(section.get_attribute("data-layers")) == len(layers["layers"])
    assert int(section.get_attribute("data-times")) == len(layers["steps"])
    seen.page.wait_for_selector("section.layers canvas")
    assert not blank(seen.page, "section.layers canvas")


def test_the_landscape_is_drawn_with_the_paths_and_as_a_surface(seen, studied):
    landscape = read(studied, "landscape.json")
    go(seen.page, f"#/{seen.id}/landscape", "landscape")
    section = seen.page.query_selector("section.landscape")
    assert int(section.get_attribute("data-planes")) == len(landscape["planes"])
    assert int(section.get_attribute("data-slices")) == len(landscape["slices"])
    assert not blank(seen.page, "section.landscape figure canvas")
    explained = float(seen.page.get_attribute("[data-explained]", "data-explained"))
    assert explained == pytest.approx(sum(landscape["planes"][0]["variance_explained"]), abs=1e-5)
    seen.page.get_by_role("radio", name="Surface").click()
    relief = seen.page.wait_for_selector("figure[data-webgl=yes]")
    assert int(relief.get_attribute("data-drawn")) > 100
    assert not blank(seen.page, "figure[data-webgl] canvas")


def test_findings_are_those_that_were_found(seen, studied):
    findings = read(studied, "findings.json")["findings"]
    go(seen.page, f"#/{seen.id}/findings", "findings")
    shown = seen.page.eval_on_selector_all("li[data-code]", "all => all.map(one => one.dataset.code)")
    assert sorted(shown) == sorted(one["code"] for one in findings)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_view_fits_its_width_and_every_chart_has_a_name(browser, address, width, scheme):
    with watched(browser, width=width, scheme=scheme) as found:
        page = found.page
        page.goto(address)
        page.wait_for_selector("main[data-ready=yes]")
        [study] = studies(page)
        for view in VIEWS:
            go(page, f"#/{study['id']}/{view}", view)
            page.wait_for_selector("main canvas") if view != "findings" else None
            assert page.evaluate("document.documentElement.scrollWidth") <= width, view
            names = page.eval_on_selector_all(
                "main canvas, main svg[role=img]",
                "all => all.map(c => (c.closest('[role=img],[role=application],[role=slider]') || c)"
                ".getAttribute('aria-label') || (c.getAttribute('aria-hidden') ? 'hidden' : ''))",
            )
            assert all(names), (view, names)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(int(x) for x in ground.strip("rgba()").split(",")[:3]) > 380
        assert light == (scheme == "light")


def test_the_keyboard_goes_everywhere(seen):
    go(seen.page, f"#/{seen.id}/verdict", "verdict")
    for key, view in zip("2345618", (*VIEWS[1:6], "verdict", "playground"), strict=True):
        seen.page.keyboard.press(key)
        seen.page.wait_for_selector(f"main[data-view={view}]")
    seen.page.keyboard.press("?")
    seen.page.get_by_role("dialog").wait_for()
    seen.page.keyboard.press("Escape")
    seen.page.get_by_role("dialog").wait_for(state="hidden")
    go(seen.page, f"#/{seen.id}/verdict", "verdict")
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate("document.activeElement.matches('summary[aria-label^=Save]')"):
            break
    else:
        pytest.fail("Tab does not reach the menu that saves a chart")


def test_single_keys_can_be_turned_off(seen):
    go(seen.page, f"#/{seen.id}/verdict", "verdict")
    seen.page.keyboard.press("?")
    seen.page.get_by_role("checkbox", name="Single keys").uncheck()
    seen.page.keyboard.press("Escape")
    seen.page.get_by_role("dialog").wait_for(state="hidden")
    seen.page.keyboard.press("3")
    seen.page.wait_for_timeout(300)
    assert seen.page.get_attribute("main", "data-view") == "verdict"
    seen.page.reload()
    seen.page.wait_for_selector("main[data-ready=yes]")
    seen.page.keyboard.press("3")
    seen.page.wait_for_timeout(300)
    assert seen.page.get_attribute("main", "data-view") == "verdict"


def test_a_chart_is_read_and_moved_by_keys(seen):
    go(seen.page, f"#/{seen.id}/curves", "curves")
    plot = seen.page.locator("section.curves [role=application]")
    assert "Arrow keys" in plot.get_attribute("aria-label")
    told = seen.page.locator("section.curves output[aria-live]")
    assert told.inner_text() == ""  # there before anything is told, so that it is heard
    plot.focus()
    seen.page.keyboard.press("ArrowRight")
    until(seen.page, "document.querySelector('output[data-read=yes]')")
    assert "samples: " in told.inner_text() and "momentum" in told.inner_text()
    assert "smoothed 0.9" in seen.page.inner_text(".readout")
    for _ in range(2):
        seen.page.keyboard.press("+")
        seen.page.wait_for_selector("section.curves figure[data-loading=no][data-zoomed=yes]")
    until(seen.page, "location.hash.includes('from=')")
    before = float(seen.page.get_attribute("section.curves figure", "data-from"))
    seen.page.keyboard.press("Shift+ArrowLeft")
    until(seen.page, f"+document.querySelector('section.curves figure').dataset.from < {before}")


@pytest.mark.parametrize("view", ["verdict", "curves", "rates", "layers", "landscape"])
def test_a_chart_is_saved_as_it_is_drawn(seen, view):
    go(seen.page, f"#/{seen.id}/{view}", view)
    seen.page.wait_for_selector("main figure canvas")
    menu = seen.page.locator("details.export").first
    saved = {}
    for kind in ("svg", "png", "csv"):
        menu.locator("summary").click()
        with seen.page.expect_download() as begun:
            menu.locator(f"button[data-format={kind}]").click()
        saved[kind] = Path(begun.value.path()).read_bytes()
    assert saved["png"].startswith(b"\x89PNG") and len(saved["png"]) > 2000
    assert saved["svg"].startswith(b"<svg") and b"<script" not in saved["svg"]
    rows = list(csv.reader(saved["csv"].decode().splitlines()))
    assert len(rows) > 2 and all(len(row) == len(rows[0]) for row in rows)
    assert seen.page.evaluate(
        "text => new DOMParser().parseFromString(text, 'image/svg+xml').querySelector('parsererror') === null",
        saved["svg"].decode(),
    )
