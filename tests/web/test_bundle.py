"""The committed page is what its sources build, small, whole, and alone: it asks no other machine for anything."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.web.tools import MADE, npm

ROOT = Path(__file__).parents[2]
UI, STATIC = ROOT / "ui", ROOT / "thalweg" / "web" / "static"
FIRST_LOAD = 250_000  # bytes, gzipped, of everything but the surfaces in space


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sources() -> dict[str, bytes]:
    return {name: data for name, data in files_of(UI).items() if name.partition("/")[0] not in MADE}


def test_a_rebuild_is_the_committed_page(project, tmp_path):
    done = npm("run", "build", folder=project, OUT=str(tmp_path / "static"))
    assert not done.returncode, done.stdout + done.stderr
    built, committed = files_of(tmp_path / "static"), files_of(STATIC)
    assert sorted(built) == sorted(committed)
    assert [name for name in built if built[name] != committed[name]] == []


def test_the_types_hold(project):
    done = npm("run", "check", folder=project)
    assert not done.returncode, done.stdout


def test_the_page_is_not_stale():
    whole = hashlib.sha256()
    for name, data in sorted(sources().items(), key=lambda item: item[0].encode("utf-16-be")):
        whole.update(name.encode() + b"\0" + data + b"\0")
    assert (STATIC / "sources.sha256").read_text().strip() == whole.hexdigest(), "run npm run build in ui/"


def test_the_first_load_is_small():
    files = files_of(STATIC / "assets")
    heavy = {name for name, data in files.items() if b"WebGLRenderer" in data}
    assert len(heavy) <= 1
    light = {name: data for name, data in files.items() if name not in heavy}
    packed = len(gzip.compress((STATIC / "index.html").read_bytes())) + sum(
        len(gzip.compress(d)) for d in light.values()
    )
    assert 20_000 < packed <= FIRST_LOAD


def test_the_first_load_does_not_fetch_the_surfaces_in_space():
    """What the page names at once, and what that imports at once, is without three.js."""
    files = files_of(STATIC)
    page = files["index.html"].decode()
    waiting, seen = re.findall(r'(?:src|href)="\./([^"]+)"', page), set()
    assert any(name.endswith(".js") for name in waiting)
    while waiting:
        name = waiting.pop()
        if name in seen or not name.endswith(".js"):
            continue
        seen.add(name)
        code = files[name].decode()
        assert "WebGLRenderer" not in code
        waiting += [f"assets/{other}" for other in re.findall(r'(?:from|^import|;import)\s*["`]\./([^"`]+)["`]', code)]
    assert seen and any(b"WebGLRenderer" in data for name, data in files.items() if name.startswith("assets/"))


def test_the_report_is_one_file():
    page = (STATIC / "report.html").read_text()
    assert page.count("<!--thalweg-data-->") == 1
    assert page.count("<script") == page.count("</script>") == 1
    assert page.count("<style>") == 1
    assert not re.search(r"<(?:link|img|iframe)\b|<script[^>]+src=|@import|url\((?!['\"]?(?:data:|#))", page)


def test_nothing_is_fetched_from_elsewhere():
    """Addresses in the code are names of languages and of sources of formulas; none is where a request goes."""
    named = r"https?://(?!www\.w3\.org/|127\.0\.0\.1)[\w.-]+"
    for name, data in files_of(STATIC).items():
        for place in re.finditer(
            rf"(?:fetch|EventSource|import|src=|href=)\(?\s*[\"'`]{named}", data.decode(errors="replace")
        ):
            pytest.fail(f"{name}: {place.group()}")


def test_the_lock_file_names_no_registry():
    lock = json.loads((UI / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in entry and "integrity" in entry for entry in packages.values())


def test_the_versions_are_exact():
    wanted = json.loads((UI / "package.json").read_text())
    for version in [*wanted["dependencies"].values(), *wanted["devDependencies"].values()]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
