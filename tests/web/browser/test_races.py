"""The playground in a browser: eight optimizers race from a click, on classic surfaces and on a model's own plane."""

import json
import time

import pytest

from tests.web.browser.conftest import WAIT, go, until

CHOSEN = "main[data-view=playground] select"


@pytest.fixture
def seen(seen):
    seen.races = []
    seen.page.on("request", lambda r: seen.races.append(r) if r.url.endswith("/race") else None)
    return seen


def last(seen):
    """What was asked for last."""
    return json.loads(seen.races[-1].post_data)


def settled(seen, count: int) -> None:
    end = time.monotonic() + WAIT / 1000
    while len(seen.races) < count:
        assert time.monotonic() < end, f"{len(seen.races)} races were asked for, not {count}"
        seen.page.wait_for_timeout(50)


def test_eight_optimizers_race_from_a_click(seen):
    go(seen.page, f"#/{seen.id}/playground", "playground")
    settled(seen, 1)
    assert len(last(seen)["racers"]) == 8
    map_ = seen.page.locator("main[data-view=playground] canvas").first
    box = map_.bounding_box()
    before = len(seen.races), last(seen)["start"]
    seen.page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
    settled(seen, before[0] + 1)
    assert last(seen)["start"] != before[1]
    answer = seen.races[-1].response().json()
    assert len(answer["racers"]) == 8 and all(len(one["x"]) > 1 for one in answer["racers"])


def test_a_slider_starts_a_new_race_at_once(seen):
    go(seen.page, f"#/{seen.id}/playground", "playground")
    settled(seen, 1)
    count, rate = len(seen.races), last(seen)["racers"][0]["options"]["lr"]
    slider = seen.page.locator("input[type=range]:not([aria-label=Step])").first
    slider.focus()
    seen.page.keyboard.press("ArrowRight")
    settled(seen, count + 1)
    assert last(seen)["racers"][0]["options"]["lr"] > rate


def test_the_plane_of_the_users_own_model_is_a_surface_too(seen):
    go(seen.page, f"#/{seen.id}/playground", "playground")
    settled(seen, 1)
    options = seen.page.eval_on_selector_all(f"{CHOSEN} option", "all => all.map(o => o.value)")
    own = next(option for option in options if option.startswith(seen.id))
    assert last(seen)["surface"] == own  # what a study's playground opens with
    seen.page.locator(CHOSEN).first.select_option("beale")
    settled(seen, 2)
    seen.page.locator(CHOSEN).first.select_option(own)
    settled(seen, 3)
    assert last(seen)["surface"] == own
    answer = seen.races[-1].response().json()
    assert any(one["loss"][-1] < one["loss"][0] for one in answer["racers"])


def test_a_link_is_a_race(seen):
    go(seen.page, f"#/{seen.id}/playground", "playground")
    settled(seen, 1)
    seen.page.locator(CHOSEN).first.select_option("himmelblau")
    until(seen.page, "location.hash.includes('himmelblau')")
