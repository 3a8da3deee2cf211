"""What the page starts: a finding's remedy is tried, a study that was killed goes on; each only when its file may run."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.web.browser.conftest import blank, go, shown, studies, until, watched
from tests.web.served import COMPARE, SMALL, command
from thalweg.store import Store

WILD = ("train", "small.py:task", "--recipe", "sgd,lr=100,schedule=constant", "--quiet")
CARD = "li[data-code]:has(button.primary)"


@pytest.fixture
def home(tmp_path) -> Path:
    """A folder with a task in a file."""
    (tmp_path / "small.py").write_text(SMALL)
    return tmp_path


@pytest.fixture
def troubled(home) -> Path:
    """A run whose rate is far too large, and what is wrong with it."""
    subprocess.run(command(*WILD, "--folder", "run"), cwd=home, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(command("diagnose", "run"), cwd=home, stdout=subprocess.DEVNULL)  # exits with 1: there is trouble
    return home / "run"


def killed(home: Path, *words: str, ends: int = 3) -> Path:
    """The folder of a comparison that was killed after so many runs."""
    with subprocess.Popen(command(*words, "--folder", "cut"), cwd=home, stdout=subprocess.DEVNULL) as process:
        trace = home / "cut" / "trace.jsonl"
        while not trace.exists() or trace.read_bytes().count(b'"kind":"end"') < ends:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        process.kill()
    assert not (home / "cut" / "verdict.json").exists()
    return home / "cut"


class Asked:
    """What the page asks before it runs something, answered as a test says; and what it asks the server to do."""

    def __init__(self, page) -> None:
        self.said: list[str] = []
        self.agree = False
        self.posts: list[str] = []
        page.on("dialog", self._answer)
        page.on("request", lambda r: self.posts.append(r.url.rpartition("/")[2]) if r.method == "POST" else None)

    def _answer(self, dialog) -> None:
        self.said.append(dialog.message)
        dialog.accept() if self.agree else dialog.dismiss()


def test_a_remedy_is_tried_where_its_file_may_run(browser, troubled):
    before = (troubled / "findings.json").read_bytes()
    with shown(troubled) as address, watched(browser) as found:
        page, asked = found.page, Asked(found.page)
        page.goto(address)
        page.wait_for_selector("main[data-ready=yes]")
        [study] = studies(page)
        go(page, f"#/{study['id']}/findings", "findings")
        card = page.locator(CARD).first
        button = card.get_by_role("button", name="Try it", exact=True)

        button.click()
        assert len(asked.said) == 1 and f"{troubled.parent / 'small.py'}:task" in asked.said[0]
        page.wait_for_timeout(500)
        assert asked.posts == [] and (troubled / "findings.json").read_bytes() == before
        assert card.locator(".trial").get_attribute("data-job") == "" and card.locator(".tried").count() == 0

        asked.agree = True
        button.click()
        page.wait_for_selector(".trial[data-job=running] button:disabled")
        until(page, "document.querySelector('.trial[data-job=done]')")
        assert asked.posts == ["try"] and len(asked.said) == 2
        code = card.get_attribute("data-code")
        [kept] = [
            f["outcome"] for f in json.loads((troubled / "findings.json").read_text())["findings"] if f["outcome"]
        ]
        tried = card.locator(".tried")
        assert [float(tried.get_attribute(f"data-{key}")) for key in ("before", "after")] == pytest.approx(
            [float(kept[key]) for key in ("before", "after")], rel=1e-5
        )
        assert tried.get_attribute("data-helps") == ("yes" if kept["helps"] else "no")
        assert kept["sentence"] in tried.inner_text() and f"n = {kept['seeds']} paired seeds" in tried.inner_text()
        assert not blank(page, f"figure[data-chart=tried-{code}] canvas")
        assert card.get_by_role("button", name="Try it again").is_enabled()

        page.reload()
        page.wait_for_selector(f"figure[data-chart=tried-{code}] canvas")  # it was kept


@pytest.mark.parametrize("budget", ["16 runs", "10s"])
def test_a_study_that_was_killed_goes_on_from_the_page(browser, home, budget):
    words = [budget if word == "16 runs" else word for word in COMPARE]
    folder = killed(home, *words)
    trace = (folder / "trace.jsonl").read_bytes()
    kept = trace[: trace.rfind(b"\n") + 1]
    with shown(folder) as address, watched(browser) as found:
        page, asked = found.page, Asked(found.page)
        page.goto(address)
        page.wait_for_selector("main[data-ready=yes]")
        [study] = studies(page)
        assert study["status"] == "interrupted"
        found.expected = ["404"]  # there is no verdict yet
        go(page, f"#/{study['id']}/curves", "curves")
        status = "[data-status][data-runs]"
        assert page.get_attribute(status, "data-status") == "interrupted"
        assert "thalweg compare" in page.inner_text(".resume pre")
        button = page.get_by_role("button", name="Resume here")

        button.click()
        assert len(asked.said) == 1 and f"{home / 'small.py'}:task" in asked.said[0]
        page.wait_for_timeout(500)
        assert asked.posts == [] and not Store(folder).held() and (folder / "trace.jsonl").read_bytes() == trace

        asked.agree = True
        button.click()
        until(page, f"document.querySelector('{status}').dataset.status === 'complete'")
        assert asked.posts == ["resume"] and page.locator(".resume").count() == 0
        assert (folder / "trace.jsonl").read_bytes().startswith(kept)  # what was trained was not trained again
        go(page, f"#/{study['id']}/verdict", "verdict")
        names = page.eval_on_selector_all("tr[data-name]", "rows => rows.map(row => row.dataset.name)")
        assert names == [one["name"] for one in json.loads((folder / "verdict.json").read_text())["finalists"]]
        assert studies(page)[0]["status"] == "complete"


def test_why_a_study_does_not_go_on_is_said(browser, home):
    folder = killed(home, *COMPARE)
    (home / "small.py").write_text(SMALL.replace("0.3 * torch.randn", "0.4 * torch.randn"))
    with shown(folder) as address, watched(browser) as found:
        page, asked = found.page, Asked(found.page)
        asked.agree = True
        page.goto(address)
        page.wait_for_selector("main[data-ready=yes]")
        [study] = studies(page)
        go(page, f"#/{study['id']}/curves", "curves")
        page.get_by_role("button", name="Resume here").click()
        page.get_by_text("its task has changed").wait_for()
        page.wait_for_selector(".resume button.primary:enabled")
        assert page.get_attribute("[data-status][data-runs]", "data-status") == "interrupted"
