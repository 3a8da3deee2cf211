"""Studies that change while they are looked at, or that hold what is large, odd or not there; and what asks for them."""

import json
import os
import shutil
from pathlib import Path

import pytest
from served import TOKEN, Reader, ask, document, end, ids, serving, start, steps, study

from thalweg.errors import BadStudy
from thalweg.web import confinement
from thalweg.web.confinement import opened, opened_trace
from thalweg.web.documents import catalogue, reading, verdict
from thalweg.web.following import Follower

SECRET = b"what nobody may see"


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(SECRET)
    return file


@pytest.mark.parametrize("back", [False, True])
def test_a_link_that_comes_after_the_check_opens_nothing(tmp_path, secret, monkeypatch, back):
    place = tmp_path / "s" / "verdict.json"
    study(tmp_path / "s")
    place.write_text("{}")
    whole = confinement._at_once

    def swapped(path, flags):
        place.unlink()
        place.symlink_to(secret)
        handle = whole(path, flags)
        if back:
            place.unlink()
            place.write_text("{}")
        return handle

    monkeypatch.setattr(confinement, "_at_once", swapped)
    with pytest.raises(BadStudy, match="another file each time" if back else "leads out"):
        opened(tmp_path / "s", "verdict.json")
    assert len(list(Path("/dev/fd").iterdir())) < 200  # none of them is left open


def test_a_folder_that_becomes_a_link_opens_nothing(tmp_path, secret, monkeypatch):
    study(tmp_path / "s")
    (tmp_path / "s" / "models" / "a.json").write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(secret, tmp_path / "elsewhere" / "a.json")
    whole = confinement._at_once

    def swapped(path, flags):
        (tmp_path / "s" / "models").rename(tmp_path / "s" / "gone")
        (tmp_path / "s" / "models").symlink_to(tmp_path / "elsewhere")
        return whole(path, flags)

    monkeypatch.setattr(confinement, "_at_once", swapped)
    with pytest.raises(BadStudy, match="leads out"):
        opened(tmp_path / "s", "models/a.json")


def test_a_document_that_is_written_anew_while_it_is_opened_is_read(tmp_path, monkeypatch):
    store = study(tmp_path / "s")
    store.write("verdict.json", {"n": 0})
    whole, times = confinement._at_once, []

    def replaced(path, flags):
        handle = whole(path, flags)
        if len(times) < 3:
            times.append(1)
            store.write("verdict.json", {"n": len(times)})
        return handle

    monkeypatch.setattr(confinement, "_at_once", replaced)
    assert reading.read(tmp_path / "s", "verdict.json") == {"n": 3}


def test_a_pipe_is_not_waited_for(tmp_path):
    study(tmp_path / "s", start("a"))
    os.mkfifo(tmp_path / "s" / "verdict.json")
    with pytest.raises(BadStudy, match="no plain file"):
        verdict.document(tmp_path / "s")
    (tmp_path / "s" / "trace.jsonl").unlink()
    os.mkfifo(tmp_path / "s" / "trace.jsonl")
    with pytest.raises(BadStudy, match="no plain file"):
        Follower(tmp_path / "s").refresh()
    (tmp_path / "s" / "findings.json").mkdir()
    with pytest.raises(BadStudy, match="cannot read"):
        reading.read(tmp_path / "s", "findings.json")


def test_a_trace_may_be_as_long_as_it_gets_and_a_document_may_not(tmp_path, monkeypatch):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 40), end("a"))
    store.write("verdict.json", {"more": "x" * 1000})
    monkeypatch.setattr(opened, "__defaults__", (1000,))
    with opened_trace(tmp_path / "s") as file:
        assert len(file.read()) > 1000
    assert list(reading.runs_of(tmp_path / "s").ends) == ["a"]
    with pytest.raises(BadStudy, match="too large"):
        reading.read(tmp_path / "s", "verdict.json")


@pytest.mark.parametrize("kind", ["note", "end"])
def test_a_line_without_an_end_in_sight_is_passed_over(tmp_path, monkeypatch, kind):
    store = study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with (tmp_path / "s" / "trace.jsonl").open("a") as file:
        file.write(json.dumps({"run": "b", "kind": kind, "x": "y" * 9000}) + "\n")
    store.append(steps("a", 3, 2), end("a"))
    with (tmp_path / "s" / "trace.jsonl").open("a") as file:
        file.write('{"run":"a","kind":"st')
    monkeypatch.setattr(reading, "LONGEST", 1000)
    found = reading._Reading(tmp_path / "s").runs()
    assert list(found.ends) == ["a"] and "b" not in found.starts


def test_the_newest_studies_are_listed_and_the_others_counted(tmp_path, monkeypatch):
    for k in range(6):
        study(tmp_path / f"s-{k}", start("a"))
        for name in ("study.json", "trace.jsonl"):
            os.utime(tmp_path / f"s-{k}" / name, (1e9 + k, 1e9 + k))
    os.utime(tmp_path / "s-0" / "trace.jsonl", (2e9, 2e9))  # it runs again
    monkeypatch.setattr(catalogue, "MOST", 3)
    with serving(tmp_path) as server:
        home = document(server, "/api/home")[1]
        assert [one["name"] for one in home["studies"]] == ["s-0", "s-5", "s-4"] and home["older"] == 3
    monkeypatch.undo()
    assert catalogue.home([tmp_path])["older"] == 0 and len(catalogue.found([tmp_path])) == 6


def test_numbers_that_are_none_do_not_end_a_stream(tmp_path):
    odd = '{"run":"b","kind":"end","outcome":{"status":"finished","step":4},"samples":Infinity,"seconds":NaN}\n'
    study(tmp_path / "s", start("a"), steps("a", 1, 4))
    with (tmp_path / "s" / "trace.jsonl").open("a") as file:
        file.write(odd)
    with serving(tmp_path) as server:
        reader = Reader(server, f"/api/study/{ids(server)['s']}/events")
        told = {kind: data for _, (kind, data, _) in zip(range(2), reader, strict=False)}
        assert told["status"]["progress"]["samples"] == 32 and told["status"]["progress"]["runs"] == 2
        reader.close()


def test_the_name_of_a_run_is_the_same_in_all_records(tmp_path):
    study(tmp_path / "s")
    with (tmp_path / "s" / "trace.jsonl").open("w", encoding="utf-8") as file:
        for record in (start("é"), steps("é", 1, 3)):
            file.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
    follower = Follower(tmp_path / "s")
    follower.refresh()
    assert list(follower.runs) == ["é"] and len(follower.runs["é"]) == 3


def test_a_document_that_goes_away_is_told(tmp_path):
    store = study(tmp_path / "s", start("a"))
    store.write("findings.json", {})
    with serving(tmp_path) as server:
        reader = Reader(server, f"/api/study/{ids(server)['s']}/events")
        events = iter(reader)
        assert next(events)[0] == "batch"
        (tmp_path / "s" / "findings.json").unlink()
        assert next(data for kind, data, _ in events if kind == "documents") == {"changed": ["findings"]}
        reader.close()


def test_a_study_that_is_removed_while_it_is_read_is_no_longer_there_and_may_come_back(tmp_path):
    study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with serving(tmp_path) as server:
        place = f"/api/study/{ids(server)['s']}"
        reader = Reader(server, f"{place}/events")
        events = iter(reader)
        assert next(events)[1]["runs"][0]["run"] == "a"
        shutil.rmtree(tmp_path / "s")
        for view in ("", "/curves", "/verdict", "/events"):
            assert ask(server, place + view)[0] == 404
        study(tmp_path / "s", start("b"), steps("b", 1, 2))
        assert [kind for kind, _, _ in events if kind == "batch"] == []  # the stream ends: it was of another trace
        reader.close()
        again = Reader(server, f"{place}/events")
        assert next(iter(again))[1]["runs"][0]["run"] == "b"
        again.close()


@pytest.mark.parametrize("columns", ["%C2%B2", "%D9%A3", "+5", "5.0", "0x5", "1e3", "%20", "00000"])
def test_what_only_looks_like_a_number_is_none(tmp_path, columns):
    study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with serving(tmp_path) as server:
        assert ask(server, f"/api/study/{ids(server)['s']}/curves?columns={columns}")[0] == 400


def test_two_servers_side_by_side_know_their_own_tokens(tmp_path):
    study(tmp_path / "s", start("a"))
    with serving(tmp_path) as first, serving(tmp_path) as second:
        second.guard.token = "another-token"
        own, other = f"thalweg-{first.port}={TOKEN}", f"thalweg-{second.port}=another-token"
        for server, mine, theirs in ((first, own, other), (second, other, own)):
            for cookie, status in ((f"{own}; {other}", 200), (f"{other}; {own}", 200), (mine, 200), (theirs, 401)):
                assert ask(server, "/api/home", headers={"Cookie": cookie}, known=False)[0] == status
            borrowed = f"thalweg-{server.port}={theirs.partition('=')[2]}"
            assert ask(server, "/api/home", headers={"Cookie": borrowed}, known=False)[0] == 401


def test_the_method_of_a_request_is_the_one_that_it_has(tmp_path):
    study(tmp_path / "s", start("a"), source="digits")
    with serving(tmp_path) as server:
        place = f"/api/study/{ids(server)['s']}/resume"
        for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            assert ask(server, place, headers={name: "POST"})[0] in (404, 405)
        for query in ("?_method=POST", "?method=post"):
            assert ask(server, place + query)[0] in (404, 405)
        assert not server.page.jobs.known


def test_a_cursor_is_of_one_trace_and_of_one_server(tmp_path):
    study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with serving(tmp_path) as server:
        place = f"/api/study/{ids(server)['s']}"
        read = document(server, f"{place}/curves")[1]
        at = f"{read['epoch']}.{read['cursor']}"
        Reader(server, f"{place}/events?cursor={at}").close()
        shutil.rmtree(tmp_path / "s")
        study(tmp_path / "s", start("b"), steps("b", 1, 2), end("b"))  # a line begins at the same byte
        status, said = document(server, f"{place}/events?cursor={at}")
        assert status == 400 and "another file" in said["error"]["message"]
        now = document(server, f"{place}/curves")[1]
        assert now["epoch"] != read["epoch"]
        Reader(server, f"{place}/events?cursor={now['epoch']}.{now['cursor']}").close()
    with serving(tmp_path) as server:
        assert ask(server, f"{place}/events?cursor={now['epoch']}.{now['cursor']}")[0] == 400
