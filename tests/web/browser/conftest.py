"""A real browser and studies to look at; a test fails with any console error and any request beyond this machine."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

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
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline()
            match = re.search(r"http://127\.0\.0\.1:\d+/\S*", said)
            assert match, said + process.stderr.read()
            yield match[0]
        finally:
            process.terminate()
            process.wait(30)
