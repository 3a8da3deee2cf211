"""A real browser and studies to look at; a test fails with any console error and any request beyond this machine."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import thalweg as tw
from thalweg.web.closing import look

ROOT = Path(__file__).parents[3]
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage"]
WAIT = 60_000  # milliseconds: a limit for what hangs, not a bar


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if "CI" in os.environ:
            pytest.fail("no Chromium: apt-get install chromium, or CHROMIUM=/path/to/it")
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=FLAGS)
        yield opened
        opened.close()


class Watched:
    """A page whose console, errors and requests are kept."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.beyond: list[str] = []
        self.expected: list[str] = []  # parts of console errors that the test itself provokes
        page.set_default_timeout(WAIT)
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self._look(r.url))

    def _look(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "file") and parts.hostname != "127.0.0.1":
            self.beyond.append(url)

    def check(self) -> None:
        left = [e for e in self.errors if not any(part in e for part in self.expected)]
        assert not left, left
        assert not self.beyond, self.beyond


@contextmanager
def watched(browser: Browser, width: int = 1280, height: int = 900, scheme: str = "light", **more):
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **more)
    found = Watched(context.new_page())
    try:
        yield found
        found.check()
    finally:
        context.close()


@contextmanager
def shown(*folders) -> Iterator[str]:
    """The address of a server of ``thalweg show`` in a process of its own."""
    words = [sys.executable, "-m", "thalweg", "show", *map(str, folders), "--no-browser"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            said = process.stdout.readline()
            match = re.search(r"http://127\.0\.0\.1:\d+/\S*", said)
            assert match, said + process.stderr.read()
            yield match[0]
        finally:
            process.terminate()
            process.wait(30)


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills, once for all workers of a test run."""
    home = tmp_path_factory.getbasetemp()
    folder = (home.parent if "PYTEST_XDIST_WORKER" in os.environ else home) / name
    done = folder.with_suffix(".done")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def studied(tmp_path_factory):
    """A real study of the digits with everything that the page shows; one optimizer diverges."""

    def make(folder: Path) -> None:
        field = ["momentum", tw.Recipe("sgd", lr=1e38)]
        tw.compare("digits", field=field, budget="26 runs", seeds=3, folder=folder, quiet=True)
        look(folder, quiet=True)

    return made_once(tmp_path_factory, "studied", make)


@pytest.fixture(scope="session")
def address(studied):
    with shown(studied) as found:
        yield found


@pytest.fixture
def seen(browser, address):
    """The page of the one study, with its id, on a desk."""
    with watched(browser) as found:
        found.page.goto(address)
        found.page.wait_for_selector("main[data-ready=yes]")
        [study] = studies(found.page)
        found.id = study["id"]
        yield found


def go(page: Page, hash: str, view: str) -> None:
    """Show a place of the page and wait for its view."""
    page.evaluate("place => { location.hash = place }", hash)
    page.wait_for_selector(
        f"main[data-view={view}][data-ready=yes] section, main[data-view={view}][data-ready=yes] article"
    )


def until(page: Page, what: str) -> None:
    """Wait for a JavaScript expression to be true; asked from here, since the page's policy forbids to evaluate there."""
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(f"() => Boolean({what})"):
        assert time.monotonic() < end, what
        page.wait_for_timeout(50)


def studies(page: Page) -> list[dict]:
    return page.evaluate("() => fetch('/api/home').then(answer => answer.json()).then(home => home.studies)")


def blank(page: Page, selector: str) -> bool:
    """Whether a canvas has one colour only."""
    return page.eval_on_selector(
        selector,
        """canvas => {
             const copy = document.createElement('canvas'); copy.width = canvas.width; copy.height = canvas.height
             const context = copy.getContext('2d'); context.drawImage(canvas, 0, 0)
             const pixels = new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer)
             return pixels.every(pixel => pixel === pixels[0])
           }""",
    )
