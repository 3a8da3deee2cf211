"""A study that was interrupted: that it was, who may say how it goes on, and with which words."""

import json
import os
import shlex
import signal
import subprocess
import sys

import pytest
from contract import wrong
from studies import interrupted

from thalweg.errors import BadStudy
from thalweg.store import Store
from thalweg.study.again import again, command
from thalweg.web.documents import catalogue, findings, rates


def test_an_interrupted_study_says_so_and_one_that_is_written_too(tmp_path):
    folder = interrupted(tmp_path / "some")
    assert catalogue.head(folder)["status"] == "interrupted" and catalogue.head(folder)["progress"]["running"] == 0
    release = Store(folder).hold()
    assert catalogue.head(folder)["status"] == "running" and catalogue.head(folder)["progress"]["running"] == 1
    with pytest.raises(BadStudy, match="another process"):
        Store(folder).hold()
    release()
    assert catalogue.head(folder)["status"] == "interrupted"
    assert not wrong(catalogue.head(folder), "Head") and not wrong(rates.document(folder), "Rates")


def test_a_killed_writer_no_longer_writes(tmp_path):
    folder = interrupted(tmp_path / "killed")
    code = (
        "import os, sys, time; from thalweg.store import Store; release = Store(sys.argv[1]).hold()\n"
        "child = os.fork()\n"
        "if not child: print(os.getpid(), flush=True)\n"
        "time.sleep(600)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    child = int(writer.stdout.readline())
    assert child > 1
    try:
        assert catalogue.status_of(folder) == "running"
        writer.kill()
        writer.wait()
        assert catalogue.status_of(folder) == "interrupted"  # although its forked child lives on
    finally:
        os.kill(child, signal.SIGKILL)
        writer.stdout.close()


def test_only_a_command_of_thalweg_is_offered_to_go_on(tmp_path):
    folder = interrupted(tmp_path / "r")
    head = json.loads((folder / "study.json").read_text())
    words = {
        "/usr/bin/thalweg compare a.py:t --plot x.png --show --seeds 3 --folder=old": ["compare", "a.py:t", "--seeds", "3"],
        "/x/thalweg/__main__.py compare digits --json": ["compare", "digits"],
        "rm -rf compare": None, "python compare": None, "/bin/thalweg train digits": None, "'": None,
    }  # fmt: skip
    for given, kept in words.items():
        head["environment"]["command"] = given
        (folder / "study.json").write_text(json.dumps(head))
        expected = [] if kept is None else ["thalweg", *kept, "--folder", str(folder)]
        assert shlex.split(catalogue.head(folder)["resume"]) == expected
        with pytest.raises(
            BadStudy, match="where its task is"
        ) as error:  # a job says the same, and no command of another
            again(folder)
        assert error.value.hint.partition(": ")[2] == shlex.join(expected)


def test_a_study_that_is_one_of_several_goes_on_with_the_others(tmp_path):
    folder = interrupted(tmp_path / "both" / "digits")
    (tmp_path / "both" / "studies.json").write_text("{}")
    small = interrupted(tmp_path / "proxy" / "smaller")

    def named(folder, words):
        return shlex.split(command(folder, {"asked": {}, "environment": {"command": f"/bin/thalweg compare {words}"}}))[
            -2:
        ]

    assert named(folder, "digits a.py:t --budget 5m") == ["--folder", str(tmp_path / "both")]
    for given in ("--proxy steps=0.1", "--proxy=steps=0.1"):
        assert named(small, f"digits {given}") == ["--folder", str(tmp_path / "proxy")]
    assert named(small, "digits") == ["--folder", str(small)]


def test_what_does_not_say_where_its_task_is_cannot_go_on_from_here(tmp_path, study):
    folder = interrupted(tmp_path / "s")
    own = catalogue.head(folder)
    assert own["goes_on"] is False and own["code"] is None
    assert catalogue.head(study.folder)["goes_on"] is True
    entry = {"code": "lr-too-high", "severity": "error", "where": None, "sentence": "", "confidence": 1, "outcome": None,
             "evidence": {}, "can_try": True, "remedy": None}  # fmt: skip
    kept = {"title": "", "recipe": "", "findings": [entry], "measured": [], "not_measured": [],
            "cost": {"gradient_evaluations": 0, "seconds": 0}}  # fmt: skip
    (folder / "findings.json").write_text(json.dumps(kept))
    assert not findings.document(folder)["findings"][0]["can_try"]
    head = json.loads((folder / "study.json").read_text()) | {"source": "digits"}
    (folder / "study.json").write_text(json.dumps(head))
    assert findings.document(folder)["findings"][0]["can_try"]
    assert catalogue.head(folder)["goes_on"] and catalogue.head(folder)["code"] is None
