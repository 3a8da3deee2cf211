"""The report: one file that shows the same without a server and without a network."""

import json

import pytest

from tests.web.browser import made
from tests.web.browser.conftest import blank, until, watched
from thalweg.report import report

VIEWS = ("verdict", "curves", "rates", "layers", "landscape", "findings", "playground")
MOST = 5_000_000


@pytest.fixture(scope="module")
def written(studied, tmp_path_factory):
    return report(studied, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def seen(browser, written):
    with watched(browser, offline=True) as found:
        found.requests = []
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(written.as_uri())
        found.page.wait_for_selector("main[data-ready=yes]")
        yield found
        assert [url for url in found.requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_every_view_opens_from_the_file_alone(seen, studied):
    verdict = json.loads((studied / "verdict.json").read_text())
    study = seen.page.evaluate(
        "() => Object.keys(JSON.parse(document.getElementById('thalweg-data').textContent).studies)[0]"
    )
    for view in VIEWS:
        seen.page.evaluate("place => { location.hash = place }", f"#/{study}/{view}")
        seen.page.wait_for_selector(f"main[data-view={view}][data-ready=yes]")
        seen.page.wait_for_selector("main :is(section, article)")
        if view not in ("findings",):
            seen.page.wait_for_selector("main canvas")
            assert not blank(seen.page, "main canvas"), view
    seen.page.evaluate("place => { location.hash = place }", f"#/{study}/verdict")
    until(seen.page, "document.querySelectorAll('tr[data-name]').length > 0")
    names = seen.page.eval_on_selector_all("tr[data-name]", "rows => rows.map(r => r.dataset.name)")
    assert names == [one["name"] for one in verdict["finalists"]]


def test_nothing_offers_what_a_file_cannot_do(seen):
    study = seen.page.evaluate(
        "() => Object.keys(JSON.parse(document.getElementById('thalweg-data').textContent).studies)[0]"
    )
    seen.page.evaluate("place => { location.hash = place }", f"#/{study}/findings")
    seen.page.wait_for_selector("main[data-view=findings][data-ready=yes] section")
    assert seen.page.get_by_role("button", name="Try it").count() == 0


def test_two_hundred_runs_are_five_megabytes_at_most(browser, tmp_path):
    mark = "</script><script>document.title='owned'</script>"
    folder = made.head(tmp_path / "large", asked=made.HEAD["asked"] | {"task": mark})
    for seed in range(200):
        made.append(folder, made.lines(f"run-{seed}", f"optimizer {seed % 8}", seed, made.falling(2000, seed)))
    path = report(folder, tmp_path / "large.html")
    assert path.stat().st_size <= MOST
    with watched(browser, offline=True) as found:
        found.page.goto(path.as_uri())
        found.page.wait_for_selector("main[data-ready=yes]")
        found.page.evaluate(
            "place => { location.hash = place }", found.page.url.partition("#")[2].rsplit("/", 1)[0] + "/curves"
        )
        found.page.wait_for_selector("main")
        assert found.page.title() != "owned"


def test_the_caption_counts_the_lines_and_the_crosses_that_are_there(browser, tmp_path, monkeypatch):
    folder, runs = made.head(tmp_path / "many"), 600
    for seed in range(runs):
        made.append(folder, made.lines(f"run-{seed}", "adamw", seed, made.falling(50, seed), "diverged"))
    whole = report(folder, tmp_path / "whole.html").stat().st_size
    monkeypatch.setattr("thalweg.report.LIMIT", whole // 2)
    path = report(folder, tmp_path / "many.html")
    with watched(browser, offline=True) as found:
        found.page.goto(path.as_uri())
        found.page.wait_for_selector("main[data-ready=yes]")
        data = json.loads(found.page.text_content("#thalweg-data"))
        [own] = data["studies"].values()
        [group] = own["curves"]["step|loss|finals"]["groups"]
        lines, crosses = runs - group["left_out"], len(group["runs"])
        assert 0 < lines < crosses < runs
        found.page.evaluate("id => { location.hash = `#/${id}/curves` }", next(iter(data["studies"])))
        said = f"{crosses} of the {runs} that diverged have a cross"
        found.page.get_by_text(said).wait_for()
        assert f"{lines} of them with a line" in found.page.text_content("figcaption")
