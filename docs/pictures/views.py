"""Makes the pictures of the page: ``python docs/pictures/views.py`` (a study of the digits, and a browser that looks at it)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import thalweg as tw
from thalweg.landscapes import landscape
from thalweg.web.closing import look

HERE = Path(__file__).resolve().parent
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader"]
FIELD = ["adamw", "momentum", "rmsprop", "adagrad", "lion"]
TROUBLED = tw.Recipe("momentum", lr=30.0)
SETTLED = 3000  # milliseconds for fonts, canvases and the playground's paths


def studies(home: Path) -> None:
    """Two studies: a comparison with all that the page shows of it, and a run in trouble."""
    study = tw.compare("digits", field=FIELD, seeds=10, folder=home / "digits", quiet=True)
    landscape(
        study, planes=["pca", "random"], slices=["line", "random", "gradient"], resolution=61, refine=False, quiet=True
    )
    look(study.folder, quiet=True)
    run = [
        "train",
        "digits",
        "--recipe",
        f"{TROUBLED.optimizer},lr={TROUBLED.lr}",
        "--folder",
        str(home / "in trouble"),
        "--quiet",
    ]
    for words in (run, ["diagnose", str(home / "in trouble"), "--verify"]):
        subprocess.run([sys.executable, "-m", "thalweg", *words], check=False, stdout=subprocess.DEVNULL)


# name → study, place, width, height, scheme, radio buttons to press
SHOTS = {
    "page-verdict": ("digits", "verdict", 1280, 1000, "light", ()),
    "page-curves": ("digits", "curves", 1280, 800, "light", ()),
    "page-rates": ("digits", "rates", 1280, 900, "light", ()),
    "page-layers": ("digits", "layers", 1280, 900, "light", ()),
    "page-landscape": ("digits", "landscape", 1280, 900, "light", ()),
    "page-surface": ("digits", "landscape", 1280, 900, "dark", ("Surface",)),
    "page-findings": ("in trouble", "findings", 1280, 900, "light", ()),
    "page-playground": ("digits", "playground", 1280, 1000, "light", ()),
    "page-playground-dark": ("digits", "playground?s=himmelblau", 1280, 1000, "dark", ()),
    "page-phone": ("digits", "landscape", 390, 844, "light", ()),
}


def photograph(page: Page, name: str, ids: dict[str, str]) -> None:
    """One view, as it stands on the screen."""
    study, place, _, _, _, pressed = SHOTS[name]
    page.evaluate("place => { location.hash = place }", f"#/{ids[study]}/{place}")
    page.wait_for_selector(f"main[data-view={place.partition('?')[0]}][data-ready=yes] :is(section, article)")
    for button in pressed:
        page.get_by_role("radio", name=button).click()
    page.wait_for_timeout(SETTLED)
    page.screenshot(path=HERE / f"{name}.png")


def main() -> None:
    """Make the studies, serve them, look at each view."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as home:
        studies(Path(home))
        words = [sys.executable, "-m", "thalweg", "show", home, "--no-browser"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as play:
            assert server.stdout is not None
            said = re.search(r"http://\S+", server.stdout.readline())
            assert said is not None
            browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
            for name, (_, _, width, height, scheme, _) in SHOTS.items():
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page = context.new_page()
                page.goto(said[0])
                page.wait_for_selector("main[data-ready=yes]")
                entries = page.evaluate("() => fetch('/api/home').then(answer => answer.json())")["studies"]
                photograph(page, name, {entry["name"]: entry["id"] for entry in entries})
                context.close()
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
