"""The page beside a comparison: what a program gets that started it, and where and how the browser opens."""

import json
import subprocess
import sys
import threading
from pathlib import Path

from served import COMPARE, SMALL, end, finished, start, study

from thalweg.web.app import Page
from thalweg.web.beside import Beside
from thalweg.web.serving import _shown, now


def test_a_program_gets_its_document_at_once_and_need_not_press_ctrl_c(tmp_path, monkeypatch, capsys):
    Path("small.py").write_text(SMALL)
    code = "import sys, time\nfrom thalweg.web import closing\nclosing.look = lambda *a, **k: time.sleep(3600)\n"
    code += "from thalweg.cli import main\nsys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, *COMPARE, "--folder", "s", "--show", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    guard = threading.Timer(120, process.kill)
    guard.start()
    document = ""
    while not document.endswith("\n}\n") and (line := process.stdout.readline()):
        document += line
    guard.cancel()
    assert json.loads(document)["study"] == "s" and process.poll() is None  # while it still looks
    process.kill()
    process.wait()
    process.stdout.close()
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Beside(tmp_path / "s", browser=False) as page:
        page.stay(tmp_path / "s", wait=False)
    assert capsys.readouterr().err == f"look    thalweg show {tmp_path / 's'}\n"


def test_the_browser_opens_on_a_study_that_is_complete_already(tmp_path):
    for name, complete in (("done", True), ("cut", False), ("two/a", True), ("two/b", True)):
        study(tmp_path / name, start("x"), end("x"), complete=complete)
    (tmp_path / "two" / "studies.json").write_text("{}")
    late = now() + 3600  # nothing is written to after this

    def opened(folder, since=late):
        page = Page([folder])
        studies = finished(page.refresh())
        shown = _shown(page, studies, since)
        return shown and studies[shown].relative_to(tmp_path).as_posix()

    assert opened(tmp_path / "done") == "done" and opened(tmp_path / "two") == "two/a"
    assert opened(tmp_path / "cut") is None and opened(tmp_path / "none") is None
    assert opened(tmp_path) is None  # where a new study comes to lie beside these
    study(tmp_path / "two" / "c", start("x"))
    assert opened(tmp_path / "two") is None and opened(tmp_path / "cut", now() - 3600) == "cut"
