"""What the page starts: a study goes on, a remedy is tried; how that ends, and that it is in nobody's way."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from served import COMPARE, SMALL, Reader, command, document, finished, ids, serving, start, study

from thalweg.cli import main
from thalweg.store import Store
from thalweg.web import trying
from thalweg.web.jobs import NICE, Jobs, resume_words, try_words


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


def test_a_job_goes_after_the_server(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "nice.py").write_text(
        "import os\nown = os.getpriority(os.PRIO_PROCESS, os.getppid())\n"
        "while (mine := os.getpriority(os.PRIO_PROCESS, 0)) == own:\n    pass\nprint(mine - own)\n"
    )

    async def one():
        job = await Jobs().start("try", "s", ["nice"])
        await job.task
        return job

    assert int(finished(one()).said) == min(NICE, 19 - os.nice(0))


def test_a_job_imports_nothing_from_the_folder_that_the_server_was_started_in():
    for name in ("platform", "torch", "sitecustomize"):
        Path(f"{name}.py").write_text("open('executed', 'w').close()\n")

    async def one():
        job = await Jobs().start("try", "s", ["platform"])
        await job.task
        return job

    assert finished(one()).status == "done" and not Path("executed").exists()


def test_a_job_runs_the_task_that_was_agreed_to_whatever_the_study_says_by_then(tmp_path):
    Path("small.py").write_text(SMALL)
    run = ["train", "small.py:task", "--recipe", "sgd,lr=100,schedule=constant", "--folder", "run", "--quiet"]
    assert main(run) == 0 and main(["diagnose", "run"]) == 1 and main([*COMPARE, "--folder", "s"]) == 0
    Path("evil.py").write_text("open('executed', 'w').close()\n" + SMALL)
    for name in ("run", "s"):
        store = Store(tmp_path / name)
        source = store.head()["source"]
        store.write("study.json", store.head() | {"source": str(tmp_path / "evil.py:task")})
        words = try_words(store.folder, 0, source) if name == "run" else resume_words(store.folder, source)
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
        assert not Path("executed").exists() and "Traceback" not in done.stderr
        assert done.returncode == 0, done.stderr


def test_a_full_disk_is_said_and_leaves_the_findings_as_they_were(tmp_path, monkeypatch, capsys):
    Path("small.py").write_text(SMALL)
    run = ["train", "small.py:task", "--recipe", "sgd,lr=100,schedule=constant", "--folder", "run", "--quiet"]
    assert main(run) == 0 and main(["diagnose", "run"]) == 1
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.*")}
    k = next(k for k, f in enumerate(json.loads(before["findings.json"])["findings"]) if f["can_try"])
    capsys.readouterr()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert trying.main(["run", str(k)]) == 2
    assert "error: cannot write to run: No space left on device" in capsys.readouterr().err
    after = {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.*")}
    assert after | {"changing.lock": b""} == before | {"changing.lock": b""}
