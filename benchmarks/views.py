"""The page in a real browser: every view of every study of a folder, on a phone and on a desk, light and dark.

A fault is an error in the console, a request to another machine, an empty canvas, a page that scrolls sideways, something
that reaches out of the window, a chart without a name or without its n, and one that the Tab key does not reach. Without a
folder, studies of digits, fashion-cnn and shakespeare are made first, as ``thalweg compare`` and the closing look of
``--show`` make them (``THALWEG_DATA`` says where the data are).
``python benchmarks/views.py [FOLDER] [--json] [--quick] [--pictures FOLDER]``: ``--quick`` makes the digits alone; exits
with 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness import Row, report
from playwright.sync_api import Browser, Page, TimeoutError, sync_playwright

from thalweg.web.closing import FILES, look

BUDGETS = {"digits": "40s", "fashion-cnn": "5m", "shakespeare": "6m"}
SHARE = 0.8  # of the comparison's seconds for the closing look: more than --show takes, so that every view is there
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
SCHEMES = ("light", "dark")
VIEWS = ("verdict", "curves", "rates", "layers", "landscape", "findings", "playground")
OWN = {"verdict": "verdict", "layers": "layers", "landscape": "landscape", "findings": "findings"}
WAYS = {
    "curves": ("", "?phase={other}"),
    "landscape": ("", "?plane=random", "?as=surface"),
    "rates": ("", "?length=all"),
}
SETTLED = 900  # milliseconds for canvases and what moves
TABS = 500  # presses of the Tab key, at most

# The canvases of one colour; charts without a name, or without their n; what reaches out of the window.
BLANK = """all => all.filter(canvas => {
  if (!canvas.width || !canvas.height || canvas.closest('[hidden]')) return !canvas.closest('[hidden]')
  const copy = document.createElement('canvas'); copy.width = canvas.width; copy.height = canvas.height
  const context = copy.getContext('2d'); context.drawImage(canvas, 0, 0)
  const pixels = new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer)
  return pixels.every(pixel => pixel === pixels[0])
}).map(canvas => canvas.closest('figure')?.dataset.chart ?? 'canvas')"""
NAMELESS = """all => all.filter(figure => {
  const named = [...figure.querySelectorAll('[role=img], [role=application], [role=group], [role=region]')]
  const told = named.map(one => one.getAttribute('aria-label') ?? '').join(' ')
  return !told || !/n = \\d/.test(told + figure.querySelector('figcaption')?.textContent)
}).map(figure => figure.dataset.chart)"""
OUTSIDE = """width => [...document.querySelectorAll('body *')].filter(one => {
  const box = one.getBoundingClientRect()
  if (!box.width || !box.height || (box.right <= width + 1 && box.left >= -1)) return false
  if (getComputedStyle(one).position === 'absolute' && box.right < 0) return false
  for (let up = one.parentElement; up && up !== document.body; up = up.parentElement)
    if (/auto|scroll|hidden|clip/.test(getComputedStyle(up).overflowX)) return false
  return one.children.length === 0
}).map(one => `${one.tagName.toLowerCase()} ${one.textContent.slice(0, 30)}`)"""


@dataclass
class Seen:
    """A view of a study: what was drawn there, and what is wrong."""

    study: str
    view: str
    charts: int = 0
    faults: list[str] = field(default_factory=list)


def studies(home: Path, quick: bool) -> None:
    """The studies, as a user makes them."""
    for task, budget in list(BUDGETS.items())[: 1 if quick else None]:
        words = ["compare", task, "--budget", budget, "--folder", str(home / task), "--quiet"]
        subprocess.run([sys.executable, "-m", "thalweg", *words], check=True, stdout=subprocess.DEVNULL)
        look(home / task, quiet=True, share=SHARE)
        missing = [part for part, file in FILES.items() if not (home / task / file).exists()]
        if missing:
            raise SystemExit(f"{task}: no time for its {' and '.join(missing)}")


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of ``thalweg show``."""
    command = [sys.executable, "-m", "thalweg", "show", str(folder), "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()


class Walk:
    """A walk through all views in a window of one size and one scheme."""

    def __init__(self, browser: Browser, size: str, scheme: str, found: dict[Any, Seen], pictures: Path | None) -> None:
        self.width, self.height = SIZES[size]
        self.where, self.found, self.pictures = f"{size}, {scheme}", found, pictures
        self.trouble: list[str] = []
        window: Any = {"viewport": {"width": self.width, "height": self.height}, "color_scheme": scheme}
        self.context = browser.new_context(**window, reduced_motion="reduce")
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda m: self.trouble.append(f"console: {m.text}") if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.trouble.append(f"error: {e}"))
        self.page.on("request", lambda r: self._asked(r.url))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.trouble.append(f"request to {url}")

    def all(self, address: str) -> None:
        """Every view of every study."""
        self.page.goto(address)
        self.page.wait_for_selector("main[data-ready=yes]")
        said = self.page.evaluate("() => fetch('/api/home').then(answer => answer.json())")["studies"]
        if len(said) > 1:
            self.page.evaluate("location.hash = '#/'")
            self.look("all studies", "home", "", charts=False)
        for study in said:
            views = [view for view in VIEWS if view not in OWN or study["has"][view]]
            for view in [*views, *(["shift"] if study["has"]["shift"] else [])]:
                for way in WAYS.get(view, ("",)):
                    place = self.place(study["id"], view, way)
                    if place is not None:
                        self.page.evaluate("place => { location.hash = place }", place)
                        asked = place.partition("?")[2]
                        self.look(study["name"], view, asked, charts=view != "findings")
        self.context.close()

    def place(self, study: str, view: str, way: str) -> str | None:
        """The address of a view; None where there is no other phase to show."""
        if "{other}" in way:
            drawn = self.page.evaluate("at => fetch(at).then(a => a.json())", f"/api/study/{study}/curves?columns=1")
            others = [phase for phase in drawn["phases"] if phase != drawn["phase"]]
            return f"#/{study}/{view}{way.format(other=others[0])}" if others else None
        return f"#/{study}/{view}{way}"

    def look(self, study: str, view: str, asked: str, charts: bool) -> None:
        """What is wrong with what is shown now."""
        page, ready = self.page, f"main[data-view={view}][data-ready=yes]"
        seen = self.found.setdefault((study, view), Seen(study, view))
        wanted = [f"{ready} :is(section, article, ul, .playground, .trouble)"]
        wanted += [f"{ready} :is(figure[data-chart] canvas, [data-finalists='0'])"] if charts else []
        wanted += ["figure[data-webgl=yes]:not([data-drawn='0'])"] if "surface" in asked else []
        for selector in wanted:
            try:
                page.wait_for_selector(selector)
            except TimeoutError:
                self.trouble.append(f"did not come: {selector}")
        page.wait_for_timeout(SETTLED)
        figures = page.locator("main figure[data-chart]")
        seen.charts = max(seen.charts, figures.count())
        if page.locator("main .trouble").count():
            self.trouble.append(f"nothing to show: {page.inner_text('main .trouble')}")
        across = page.evaluate("document.documentElement.scrollWidth")
        if across > self.width:
            self.trouble.append(f"scrolls sideways: {across} of {self.width} pixels")
        self.trouble += [f"outside: {one}" for one in page.evaluate(OUTSIDE, self.width)]
        self.trouble += [f"blank: {name}" for name in page.eval_on_selector_all("main canvas", BLANK)]
        self.trouble += [f"without a name or its n: {n}" for n in figures.evaluate_all(NAMELESS)]
        if self.where == "desk, light":
            self.trouble += [f"not reached by Tab: {name}" for name in self.unreached()]
        if self.pictures is not None:
            words = [study, view, asked, *self.where.split(", ")]
            name = "-".join("".join(c if c.isalnum() else "_" for c in word) for word in words if word)
            page.screenshot(path=self.pictures / f"{name}.png", full_page=True)
        seen.faults += [f"{view} {asked} of {study}, {self.where}: {fault}" for fault in self.trouble]
        self.trouble.clear()

    def unreached(self) -> list[str]:
        """The charts in which the Tab key puts no focus."""
        page, left = (
            self.page,
            set(self.page.eval_on_selector_all("main figure[data-chart]", "a => a.map(f => f.dataset.chart)")),
        )
        page.evaluate("document.activeElement.blur()")
        for _ in range(TABS):
            if not left:
                break
            page.keyboard.press("Tab")
            left.discard(page.evaluate("document.activeElement.closest('figure[data-chart]')?.dataset.chart"))
        page.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
        return sorted(left)


def walk(folder: Path, pictures: Path | None) -> list[Seen]:
    """All views in all windows."""
    found: dict[Any, Seen] = {}
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with served(folder) as address, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        for size in SIZES:
            for scheme in SCHEMES:
                Walk(browser, size, scheme, found, pictures).all(address)
        browser.close()
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="studies that are there already")
    parser.add_argument("--pictures", type=Path, help="where a picture of every view is put")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--quick", action="store_true", help="the digits alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if options.folder is None:
            studies(Path(temporary), options.quick)
        seen = walk(options.folder or Path(temporary), options.pictures)
    windows = len(SIZES) * len(SCHEMES)
    rows = [
        Row(
            what=f"faults of {one.view} of {one.study}, {one.charts} charts in {windows} windows",
            ours=len(one.faults),
            n=windows * max(one.charts, 1),
            bar=0,
            holds=not one.faults,
        )
        for one in seen
    ]
    report(options, rows)
    for fault in (fault for one in seen for fault in one.faults):
        print(fault, file=sys.stderr)
    return int(any(one.faults for one in seen))


if __name__ == "__main__":
    sys.exit(main())
