"""The wheel holds the page: it is built from the checkout, put elsewhere, and serves without Node."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from served import ask, document, start, study, token_of

import thalweg
from thalweg.web.app import STATIC

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "README.md", "LICENSE")


def pip(*words):
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    subprocess.run([sys.executable, "-m", "pip", *words[:1], *quiet, *words[1:]], check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built by what is installed: a registry is not asked."""
    home = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "thalweg", home / "sources" / "thalweg")
    for name in FILES:
        shutil.copy(ROOT / name, home / "sources")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(home), str(home / "sources"))
    [found] = home.glob("*.whl")
    return found


def test_the_wheel_holds_all_that_the_page_is_made_of_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
        kept = {str(file.relative_to(ROOT)) for file in STATIC.rglob("*") if file.is_file()}
        assert kept <= names and len(kept) > 10
        assert all(packed.read(name) == (ROOT / name).read_bytes() for name in kept)
    assert {name.partition("/")[0] for name in names} == {"thalweg"}
    assert {str(file.relative_to(ROOT)) for file in (ROOT / "thalweg").rglob("*.py")} <= names
    assert not any("node_modules" in name or name.endswith((".ts", ".tsx", ".map")) for name in names)


def test_what_was_installed_from_the_wheel_serves_the_page_without_node(wheel, tmp_path):
    target, empty = tmp_path / "installed", tmp_path / "empty"
    empty.mkdir()
    pip("install", "--target", str(target), str(wheel))
    study(tmp_path / "s", start("a"))
    where = os.environ | {"PYTHONPATH": str(target), "PATH": str(empty)}
    assert all(shutil.which(name, path=where["PATH"]) is None for name in ("node", "npm", "npx"))
    told = subprocess.run(
        [sys.executable, "-c", "import thalweg; print(thalweg.__file__)"], env=where, cwd=tmp_path, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert Path(told.stdout.strip()) == target / "thalweg" / "__init__.py" != Path(thalweg.__file__)
    process = subprocess.Popen(
        [target / "bin" / "thalweg", "show", "s", "--no-browser", "--json"],
        stdout=subprocess.PIPE, text=True, env=where, cwd=tmp_path,
    )  # fmt: skip
    try:
        port, token = token_of(json.loads(process.stdout.readline())["address"])
        server = type("Known", (), {"port": port})
        headers = {"Cookie": f"thalweg-{port}={token}"}
        assert ask(server, "/", headers=headers, known=False)[2] == (STATIC / "index.html").read_bytes()
        for file in (STATIC / "assets").iterdir():
            status, _, body = ask(server, f"/assets/{file.name}", headers=headers, known=False)
            assert status == 200 and body == file.read_bytes()
        assert document(server, "/api/home", headers=headers, known=False)[1]["studies"][0]["name"] == "s"
        assert document(server, "/api/playground", headers=headers, known=False)[1]["presets"]
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.stdout.close()
