"""Studies in every state: empty, of one point, of no finite number, interrupted, growing, very large, and hostile."""

from contextlib import contextmanager

import numpy as np
import pytest

from tests.web.browser import made
from tests.web.browser.conftest import blank, go, shown, studies, until, watched
from thalweg.store import Store

CHART = "figure[data-chart=curves][data-points]"
LARGE_RUNS, LARGE_POINTS = 200, 10_000


@contextmanager
def held(folder):
    """While a process writes there."""
    release = Store(folder).hold()
    try:
        yield
    finally:
        release()


def points(page) -> int:
    return int(page.get_attribute(CHART, "data-points"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A folder of studies: nothing yet, one step, NaN alone, a run that was cut off, markup in every text."""
    home = tmp_path_factory.mktemp("odd")
    made.head(home / "empty")
    made.append(made.head(home / "one"), made.lines("a", "adamw", 0, np.array([2.0])))
    made.append(made.head(home / "nan"), made.lines("a", "adamw", 0, np.full(50, np.nan), "diverged"))
    made.append(made.head(home / "cut"), made.lines("a", "adamw", 0, made.falling(150, 0), None))
    with (home / "cut" / "trace.jsonl").open("a") as file:
        file.write('{"run": "a", "kind": "steps", "step": [151, 15')
    mark = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    asked = made.HEAD["asked"] | {"task": mark}
    made.append(made.head(home / "planted", asked=asked), made.lines(mark, mark, 0, made.falling(50, 0)))
    return home


@pytest.fixture(scope="module")
def odd_address(odd):
    with shown(odd) as found:
        yield found


@pytest.fixture
def seen(browser, odd_address):
    with watched(browser) as found:
        found.page.goto(odd_address)
        found.page.wait_for_selector("main[data-ready=yes]")
        found.ids = {study["name"]: study["id"] for study in studies(found.page)}
        yield found


@pytest.mark.parametrize("name", ["empty", "one", "nan", "cut", "planted"])
def test_every_view_of_every_study_says_something(seen, name):
    seen.expected = ["404"]  # a document that was not made; the view names the command that makes it
    for view in ("verdict", "curves", "rates", "layers", "landscape", "findings"):
        seen.page.evaluate("place => { location.hash = place }", f"#/{seen.ids[name]}/{view}")
        seen.page.wait_for_selector(f"main[data-view={view}][data-ready=yes]")
        seen.page.wait_for_selector("main :is(section, article, .trouble)")
        until(seen.page, "document.querySelector('main').innerText.trim().length > 20")
    assert seen.page.title() != "owned" and seen.page.locator("main img").count() == 0


@pytest.mark.parametrize(("name", "wanted"), [("one", 1), ("nan", 0), ("cut", 150)])
def test_curves_have_the_points_there_are(seen, name, wanted):
    go(seen.page, f"#/{seen.ids[name]}/curves?single=1", "curves")
    seen.page.wait_for_selector(CHART)
    assert points(seen.page) >= wanted if wanted else points(seen.page) == 0


def test_an_interrupted_study_offers_to_go_on(seen):
    go(seen.page, f"#/{seen.ids['cut']}/curves", "curves")
    assert seen.page.get_attribute("[data-status][data-runs]", "data-status") == "interrupted"
    assert seen.page.get_by_role("button", name="Resume").is_visible()


def test_text_is_text(seen):
    go(seen.page, f"#/{seen.ids['planted']}/curves", "curves")
    assert "<script>" in seen.page.inner_text("body")
    assert seen.page.evaluate("document.querySelectorAll('main script').length") == 0


def test_curves_grow_while_a_study_is_written(browser, tmp_path):
    folder = made.head(tmp_path / "live")
    losses = made.falling(400, 1)
    records = list(made.lines("a", "adamw", 0, losses, None))
    made.append(folder, records[:2])
    with held(folder), shown(folder) as address, watched(browser) as found:
        page = found.page
        page.goto(address)
        page.wait_for_selector("main[data-ready=yes]")
        [study] = studies(page)
        assert study["status"] == "running"
        go(page, f"#/{study['id']}/curves", "curves")
        page.wait_for_selector(CHART)
        before, picture = points(page), page.locator("section.curves canvas").first.screenshot()
        for record in records[2:]:
            made.append(folder, [record])
        until(page, f"+document.querySelector('{CHART}').dataset.points > {before + 250}")
        assert not blank(page, "section.curves canvas")
        assert page.locator("section.curves canvas").first.screenshot() != picture


def test_two_million_points_are_thinned_and_stay_usable(browser, tmp_path):
    folder = made.head(tmp_path / "large")
    for seed in range(LARGE_RUNS):
        entrant = f"optimizer {seed % 8}"
        made.append(folder, made.lines(f"run-{seed}", entrant, seed, made.falling(LARGE_POINTS, seed)))
    with shown(folder) as address, watched(browser) as found:
        page = found.page
        page.goto(address)
        page.wait_for_selector("main[data-ready=yes]")
        [study] = studies(page)
        go(page, f"#/{study['id']}/curves", "curves")
        page.wait_for_selector(f"{CHART}:not([data-points='0'])")
        assert int(page.get_attribute(CHART, "data-n")) == LARGE_RUNS
        assert LARGE_RUNS < points(page) < LARGE_RUNS * LARGE_POINTS
        assert page.get_attribute("section.curves", "data-thinned") == "yes"
        before = page.get_attribute(CHART, "data-y-log")
        page.keyboard.press("y")
        until(page, f"document.querySelector('{CHART}').dataset.yLog !== '{before}'")
