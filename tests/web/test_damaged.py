"""Studies that hold what they should not: each is an error of its own and of no other."""

import os
from pathlib import Path

import pytest
from served import ask, document, end, ids, serving, start, steps, study

from thalweg.report import report
from thalweg.web.documents import catalogue

DEEP = "[" * 3000 + "]" * 3000
HOSTILE = {
    "study.json": (
        "{", "[]", DEEP, '{"format": 99}', '{"format": 1, "asked": 3}', '{"format": 1, "asked": {}}',
        '{"format": 1, "asked": {"task": 1, "axes": [[]]}}', '{"format": 1, "environment": 5}',
        '{"format": 1, "metric": ' + "[" * 900 + "]" * 900 + "}",
    ),
    "verdict.json": (DEEP, '{"verdict": 5}', '{"cost": {"seconds": 1' + "0" * 400 + "}}", '{"finalists": 1}'),
    "trace.jsonl": (
        '{"kind": "start"}\n', '{"kind": "end", "run": "a"}\n', DEEP + "\n", '{"kind": "start", "run": [], "at": 0}\n',
        '{"kind": "start", "run": "a", "at": 1' + "0" * 400 + ', "steps": 1}\n',
        '{"kind": "end", "run": "a", "outcome": {"status": []}, "samples": Infinity}\n',
    ),
    "run.json": ("{}", DEEP, '{"outcome": 1}', '{"outcome": {"status": 1}}'),
    "layers.json": ("{}", DEEP),
    "landscape.json": ("{}", DEEP, '{"planes": 1}'),
    "findings.json": ("{}", DEEP, '{"title": 1, "cost": 1}'),
    "shift.json": ("{}", DEEP),
}  # fmt: skip
VIEWED = ("", "/curves", "/verdict", "/rates", "/layers", "/landscape", "/findings", "/shift")


@pytest.mark.parametrize("name", HOSTILE)
def test_one_study_that_cannot_be_read_hides_no_other(tmp_path, name):
    study(tmp_path / "good", start("a"), steps("a", 1, 4), end("a"))
    for k, text in enumerate(HOSTILE[name]):
        study(tmp_path / f"bad{k}", start("a"), steps("a", 1, 4))
        (tmp_path / f"bad{k}" / name).write_text(text)
    known = catalogue.found([tmp_path])
    assert len(known) == 1 + len(HOSTILE[name])
    with serving(tmp_path) as server:
        assert "good" in ids(server)
        assert document(server, "/api/playground")[0] == 200
        for id in known:
            for view in VIEWED:
                assert ask(server, f"/api/study/{id}{view}")[0] in (200, 404), (name, known[id].name, view)
    assert '":{"head":{"id":"good-' in report(tmp_path, tmp_path / "report.html").read_text()


def test_a_study_that_is_damaged_says_so(tmp_path):
    study(tmp_path / "s", start("a")).write("findings.json", {"title": "t"})
    with serving(tmp_path) as server:
        said = document(server, f"/api/study/{ids(server)['s']}/findings")[1]["error"]
        assert said["message"] == "s is damaged: KeyError 'cost'" and said["code"] == "bad-study"


def test_a_folder_with_a_name_that_is_no_text_hides_no_other(tmp_path):
    study(tmp_path / "good", start("a"))
    study(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), start("a"))
    assert {folder.name for folder in catalogue.found([tmp_path]).values()} == {"good", "\udcff"}
    with serving(tmp_path) as server:
        assert set(ids(server)) == {"good", "\udcff"}
    assert report(tmp_path, tmp_path / "report.html").is_file()
