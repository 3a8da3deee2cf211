"""The server on real studies: its documents, its jobs, the commands that start it, and how it ends."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from served import (
    COMPARE,
    SMALL,
    Reader,
    ask,
    command,
    document,
    end,
    finished,
    ids,
    serving,
    start,
    steps,
    study,
    token_of,
)

import thalweg as tw
from thalweg.cli import main
from thalweg.errors import BadOption, BadStudy
from thalweg.store import Store
from thalweg.web.app import STATIC, encoded
from thalweg.web.jobs import Jobs
from thalweg.web.serving import can_open, listen, serve


@pytest.fixture
def small(tmp_path):
    """A study of a task in a file, complete."""
    Path("small.py").write_text(SMALL)
    assert main([*COMPARE, "--folder", "s"]) == 0
    return tmp_path / "s"


def test_the_documents_of_a_study(small):
    with serving(small.parent) as server:
        status, home = document(server, "/api/home")
        [entry] = home["studies"]
        assert status == 200 and home["live"] and entry["name"] == "s" and entry["has"]["verdict"]
        place = f"/api/study/{entry['id']}"
        assert document(server, place)[1]["progress"]["runs"] == entry["runs"] == 16
        assert document(server, f"{place}/verdict")[1]["finalists"]
        assert document(server, f"{place}/rates")[1]["groups"]
        records = [r for r in Store(small).records() if r["kind"] == "steps" and r["run"].startswith("final")]
        longest = sum(len(r["step"]) for r in records if r["run"] == records[0]["run"])
        status, curves = document(server, f"{place}/curves?columns=4000")
        assert status == 200 and max(len(c["x"]) for g in curves["groups"] for c in g["runs"]) == longest
        assert curves["cursor"] == (small / "trace.jsonl").stat().st_size and not curves["thinned"]
        few = document(server, f"{place}/curves?columns=2&from=1&to=20")[1]
        assert few["thinned"] and all(len(c["x"]) <= 10 for g in few["groups"] for c in g["runs"])
        for view in ("layers", "landscape", "findings", "shift"):
            status, said = document(server, f"{place}/{view}")
            assert status == 404 and said["error"]["hint"].startswith("thalweg ")
        for path in ("/api/study/nothing", f"{place}/else", "/api/else", "/api/jobs/else", "/else", "/assets/else.js"):
            assert document(server, path)[0] == 404


def test_the_page_itself_and_its_files(tmp_path):
    with serving(tmp_path) as server:
        status, headers, body = ask(server, "/")
        assert status == 200 and headers["content-type"].startswith("text/html")
        assert body == (STATIC / "index.html").read_bytes()
        file = next((STATIC / "assets").glob("*.js"))
        assert ask(server, f"/assets/{file.name}")[2] == file.read_bytes()
    with serving(tmp_path, static=tmp_path / "none") as server:
        assert document(server, "/")[1]["error"]["code"] == "bad-study"


def test_a_race_is_run_and_a_wrong_one_is_refused(tmp_path):
    with serving(tmp_path) as server:
        presets = document(server, "/api/playground")[1]["presets"]
        asked = {
            k: v for k, v in presets[0].items() if k in ("surface", "start", "steps", "noise", "clip", "seed", "racers")
        }
        status, found = document(server, "/api/playground/race", "POST", json.dumps(asked))
        assert status == 200 and len(found["racers"]) == len(asked["racers"])
        for wrong in ({}, asked | {"surface": "../x"}, asked | {"racers": []}, asked | {"steps": 10**9}):
            status, said = document(server, "/api/playground/race", "POST", json.dumps(wrong))
            assert status == 400 and said["error"]["hint"]


def test_a_study_that_appears_is_found_by_its_link(tmp_path):
    with serving(tmp_path) as server:
        assert ids(server) == {}
        study(tmp_path / "late", start("a"))
        id = ids(server)["late"]
    study(tmp_path / "other", start("a"))
    with serving(tmp_path) as server:  # the link of a page that was open before
        assert document(server, f"/api/study/{id}")[1]["name"] == "late"


def test_the_commands_of_what_is_missing_can_be_pasted(tmp_path):
    study(tmp_path / "a b; c", start("a"))
    with serving(tmp_path) as server:
        place = f"/api/study/{ids(server)['a b; c']}"
        for view in ("layers", "landscape", "findings", "shift"):
            words = shlex.split(document(server, f"{place}/{view}")[1]["error"]["hint"])
            assert words[0] == "thalweg" and words[2] == str(tmp_path / "a b; c")


def test_numbers_that_are_none_are_null():
    assert encoded({"a": [float("nan"), {"b": float("-inf")}, 1]}) == b'{"a":[null,{"b":null},1]}'


def follow(server, job):
    """What a job says until it ends."""
    reader = Reader(server, f"/api/jobs/{job['id']}/events")
    said = [data for kind, data, _ in reader if kind == "job"]
    reader.close()
    return said


def test_an_interrupted_study_is_resumed_to_the_same_verdict(small, tmp_path):
    process = subprocess.Popen(command(*COMPARE, "--folder", "cut"), stdout=subprocess.DEVNULL)
    trace = tmp_path / "cut" / "trace.jsonl"
    while not trace.exists() or trace.read_bytes().count(b'"kind":"end"') < 3:
        time.sleep(0.005)
    process.kill()
    process.wait()
    with serving(tmp_path / "cut") as server:
        id = ids(server)["cut"]
        assert document(server, f"/api/study/{id}")[1]["status"] == "interrupted"
        code = document(server, f"/api/study/{id}")[1]["code"]
        assert code == f"{tmp_path / 'small.py'}:task"
        for wrong in (
            "{}",
            '{"code": null}',
            '{"code": "small.py:task"}',
        ):  # it runs a file: only one that was agreed to
            status, said = document(server, f"/api/study/{id}/resume", "POST", wrong)
            assert status == 400 and code in said["error"]["message"]
        agreed = json.dumps({"code": code})
        status, job = document(server, f"/api/study/{id}/resume", "POST", agreed)
        assert status == 200 and job["kind"] == "resume" and job["status"] == "running"
        assert document(server, f"/api/study/{id}/resume", "POST", agreed)[1]["id"] == job["id"]  # asked for twice
        said = document(server, f"/api/study/{id}/try", "POST", '{"finding": 0}')
        assert said[0] in (400, 404)
        last = follow(server, job)[-1]
        assert last["status"] == "done" and last["said"]
        assert document(server, f"/api/jobs/{job['id']}")[1] == last
        assert document(server, f"/api/study/{id}")[1]["status"] == "complete"
        assert document(server, f"/api/study/{id}/resume", "POST", "{}")[0] == 400
    known, again = (Store(folder).read("verdict.json") for folder in (small, tmp_path / "cut"))
    assert [f["scores"] for f in again["finalists"]] == [f["scores"] for f in known["finalists"]]


def test_a_remedy_is_tried_and_its_outcome_shown(tmp_path):
    Path("small.py").write_text(SMALL)
    run = ["train", "small.py:task", "--recipe", "sgd,lr=100,schedule=constant", "--folder", "run", "--quiet"]
    assert main(run) == 0 and main(["diagnose", "run"]) == 1
    with serving(tmp_path / "run") as server:
        place = f"/api/study/{ids(server)['run']}"
        findings = document(server, f"{place}/findings")[1]["findings"]
        k = next(k for k, f in enumerate(findings) if f["can_try"])
        for wrong in ("-1", "99", "true", '"0"', "null", "0.5", "[0]"):
            assert document(server, f"{place}/try", "POST", f'{{"finding": {wrong}}}')[0] == 400
        assert document(server, f"{place}/try", "POST", json.dumps({"finding": k}))[0] == 400
        code = document(server, place)[1]["code"]
        job = document(server, f"{place}/try", "POST", json.dumps({"finding": k, "code": code}))[1]
        last = follow(server, job)[-1]
        assert last["status"] == "done" and last["outcome"]["seeds"] >= 3
        assert last["outcome"]["helps"] == (last["outcome"]["interval"][1] < 0)
        assert document(server, f"{place}/findings")[1]["findings"][k]["outcome"] == last["outcome"]


def test_a_job_that_fails_says_why(tmp_path):
    study(tmp_path / "s", start("a"), source="nowhere.py:task")
    with serving(tmp_path / "s") as server:
        agreed = '{"code": "nowhere.py:task"}'
        job = document(server, f"/api/study/{ids(server)['s']}/resume", "POST", agreed)[1]
        last = follow(server, job)[-1]
        assert last["status"] == "failed" and last["said"].startswith("error: ") and last["outcome"] is None


def test_a_job_that_cannot_be_started_has_failed_and_is_in_nobodys_way(monkeypatch):
    jobs = Jobs()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    failed = finished(jobs.start("resume", "s", ["platform"]))
    assert failed.status == "failed" and "/nowhere/python" in failed.said
    monkeypatch.undo()

    async def next_one():
        job = await jobs.start("try", "s", ["platform"])
        await job.task
        return job

    assert finished(next_one()).status == "done"


def test_the_end_of_the_server_ends_its_jobs(small, tmp_path):
    slow = SMALL.replace("epochs=2", "epochs=2000")
    Path("slow.py").write_text(slow)
    words = ["slow.py:task" if word == "small.py:task" else word for word in COMPARE]
    process = subprocess.Popen(command(*words, "--folder", "slow"), stdout=subprocess.DEVNULL)
    while not (tmp_path / "slow" / "trace.jsonl").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    with serving(tmp_path / "slow") as server:
        id = ids(server)["slow"]
        code = document(server, f"/api/study/{id}")[1]["code"]
        document(server, f"/api/study/{id}/resume", "POST", json.dumps({"code": code}))
        while not Store(tmp_path / "slow").held():
            time.sleep(0.01)
        [job] = server.page.jobs.known.values()
    assert job.process.returncode is not None and not Store(tmp_path / "slow").held()


def shown(*words, **options):
    """The command, and what it prints first."""
    process = subprocess.Popen(command("show", "--no-browser", *words), stdout=subprocess.PIPE, text=True, **options)
    return process, process.stdout.readline()


def test_show_prints_its_address_on_one_line_and_ends_with_ctrl_c(tmp_path):
    study(tmp_path / "thalweg-studies" / "s", start("a"), steps("a", 1, 2), end("a"))
    for words in ((), ("thalweg-studies",), ("thalweg-studies/s",)):
        process, line = shown(*words)
        port, token = token_of(line.strip())
        server = type("Known", (), {"port": port})
        headers = {"Cookie": f"thalweg-{port}={token}"}
        assert document(server, "/api/home", headers=headers, known=False)[1]["studies"][0]["name"] == "s"
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0 and process.stdout.read() == ""
        process.stdout.close()


def test_show_without_a_study_has_the_playground_and_finds_single_runs(tmp_path):
    process, line = shown()
    port, token = token_of(line.strip())
    server, headers = type("Known", (), {"port": port}), {"Cookie": f"thalweg-{port}={token}"}
    assert document(server, "/api/home", headers=headers, known=False)[1]["studies"] == []
    assert document(server, "/api/playground", headers=headers, known=False)[1]["presets"]
    study(tmp_path / "thalweg-runs" / "r", start("a"), steps("a", 1, 2), end("a"))
    assert document(server, "/api/home", headers=headers, known=False)[1]["studies"][0]["name"] == "r"
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    process.stdout.close()


def test_show_as_json_takes_a_port_and_ends_though_somebody_reads(tmp_path):
    study(tmp_path / "s", start("a"), steps("a", 1, 2))
    with listen() as free:
        port = free.getsockname()[1]
    process, line = shown("s", "--json", "--port", str(port))
    told = json.loads(line)
    assert told["port"] == port == token_of(told["address"])[0]
    connection = Reader.__new__(Reader)
    server = type("Known", (), {"port": port})
    headers = {"Cookie": f"thalweg-{port}={token_of(told['address'])[1]}"}
    id = document(server, "/api/home", headers=headers, known=False)[1]["studies"][0]["id"]
    import http.client

    connection.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connection.request("GET", f"/api/study/{id}/events", headers=headers)
    connection.answer = connection.connection.getresponse()
    assert next(iter(connection))[0] == "batch"
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    connection.close()
    process.stdout.close()


def test_show_of_nothing_is_wrong_use(tmp_path):
    with pytest.raises(BadStudy, match="nowhere"):
        serve(["nowhere"])
    with listen() as taken, pytest.raises(BadOption, match="cannot listen"):
        serve([tmp_path], port=taken.getsockname()[1])
    with pytest.raises(BadOption, match="65535"):
        serve([tmp_path], port=70_000)


def test_a_browser_without_a_window_is_not_opened(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "CI"):
        monkeypatch.delenv(name, raising=False)
    assert can_open() == (sys.platform != "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    assert can_open()
    monkeypatch.setenv("CI", "1")
    assert not can_open()


def test_a_comparison_with_its_page_says_where_and_ends_without_a_terminal(tmp_path):
    Path("small.py").write_text(SMALL)
    done = subprocess.run(
        command(*COMPARE, "--folder", "s", "--show", "--json"), capture_output=True, text=True, check=True
    )
    said = done.stderr.splitlines()
    assert said[0].startswith("page    http://127.0.0.1:") and said[-1] == "look    thalweg show s"
    assert json.loads(done.stdout)["study"] == "s"
    assert {p.name for p in Path("s").glob("*.json")} >= {"layers.json", "landscape.json", "findings.json"}
    with serving(tmp_path / "s") as server:
        assert all(
            document(server, "/api/home")[1]["studies"][0]["has"][v] for v in ("layers", "landscape", "findings")
        )


def test_at_a_terminal_the_page_stays_until_ctrl_c_and_the_browser_opens_on_the_study(tmp_path):
    Path("small.py").write_text(SMALL)
    opener = tmp_path / "open.sh"
    facts = f"nice > {tmp_path}/nice\nexec 3>&1\nreadlink /proc/$$/fd/3 > {tmp_path}/output\n"
    opener.write_text(
        f'#!/bin/sh\n{facts}echo "$1" > {tmp_path}/opened.part\nmv {tmp_path}/opened.part {tmp_path}/opened\n'
    )
    opener.chmod(0o755)
    master, slave = pty.openpty()
    where = {k: v for k, v in os.environ.items() if k != "CI"} | {"BROWSER": f"{opener} %s", "TERM": "xterm"}
    process = subprocess.Popen(
        command(*COMPARE, "--show"), stdout=slave, stderr=slave, env=where,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    os.close(slave)
    text = b""
    while b"until Ctrl-C" not in text:
        text += os.read(master, 4096)
    assert process.poll() is None
    while not (tmp_path / "opened").exists():
        time.sleep(0.01)
    assert int((tmp_path / "nice").read_text()) == os.nice(0)  # as the user's own; the server comes after training
    assert (tmp_path / "output").read_text().strip() in ("/dev/null", "")  # no /proc: nothing is known
    address = (tmp_path / "opened").read_text().strip()
    port, _, view = address.partition("/?token=")
    assert f"{port}/?token=".encode() in text and address.partition("#")[0].encode() not in text  # a token of its own
    assert port.startswith("http://127.0.0.1:") and view.endswith("/curves") and "#/small-001-" in view
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0
    os.close(master)


def test_the_page_costs_nothing_until_it_is_asked_for():
    code = "import sys, thalweg, thalweg.cli\nassert not {'starlette', 'uvicorn', 'torch', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys, thalweg.web.serving, thalweg.web.documents.curves\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_study_of_a_loop_of_the_users_has_its_curves(tmp_path):
    def fit(recipe, seed, report):
        for k in range(1, 4):
            report(k, loss=1 / k + seed * 1e-3 + recipe.lr)

    tw.compare(fit, field=[tw.Recipe("sgd", lr=0.1)], budget="6 runs", quiet=True, folder=tmp_path / "s")
    with serving(tmp_path / "s") as server:
        place = f"/api/study/{ids(server)['s']}"
        curves = document(server, f"{place}/curves?y=select%20loss&phases=all")[1]
        assert {tuple(c["x"]) for g in curves["groups"] for c in g["runs"]} == {(1, 2, 3)}
