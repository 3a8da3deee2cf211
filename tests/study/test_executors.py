import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from thalweg.errors import BadData, BadTask
from thalweg.study.executors import Processes, Sequential, can_fork

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are used on Linux only")
KINDS = [Sequential, pytest.param(lambda work: Processes(work, 2), marks=needs_fork)]


def square(job, emit, deadline):
    emit({"kind": "steps", "job": job})
    if job == "data":
        raise BadData("rotten", "fresh ones")
    if job == "bug":
        raise ZeroDivisionError("oops")
    return {"value": job * job, "pid": os.getpid(), "outcome": {"status": "finished"}}


@pytest.mark.parametrize("kind", KINDS)
def test_every_job_is_done_once_and_its_records_arrive(kind):
    executor, records = kind(square), []
    try:
        done = dict(executor.run(range(20), records.append, math.inf))
        again = dict(executor.run([3], records.append, math.inf))
    finally:
        executor.close()
    assert {job: r["value"] for job, r in done.items()} == {i: i * i for i in range(20)}
    assert again[3]["value"] == 9 and sorted(r["job"] for r in records) == sorted([*range(20), 3])
    pids = {r["pid"] for r in done.values()}
    assert (os.getpid() in pids) == (executor.workers == 1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_job_is_begun_after_the_deadline(kind):
    executor = kind(square)
    try:
        assert list(executor.run([1, 2], lambda r: None, time.monotonic() - 1)) == []
    finally:
        executor.close()


@needs_fork
def test_errors_cross_the_process_border():
    for job, kind, said in (("data", BadData, "rotten"), ("bug", BadTask, "ZeroDivisionError: oops")):
        executor = Processes(square, 1)
        with pytest.raises(kind, match=said) as error:
            list(executor.run([job], lambda r: None, math.inf))
        assert error.value.hint
        executor.close()


@needs_fork
def test_a_worker_that_dies_is_retried_once_and_then_reported(tmp_path):
    def work(job, emit, deadline):
        if job == "always" or (job == "once" and not (tmp_path / "died").exists()):
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"outcome": {"status": "finished"}}

    executor = Processes(work, 2)
    try:
        done = dict(executor.run(["once", "fine", "fine too"], lambda r: None, math.inf))
        assert {r["outcome"]["status"] for r in done.values()} == {"finished"} and len(done) == 3
        done = dict(executor.run(["always", "fine"], lambda r: None, math.inf))
    finally:
        executor.close()
    assert done["fine"]["outcome"]["status"] == "finished"
    assert done["always"]["outcome"]["status"] == "stopped" and "died twice" in done["always"]["outcome"]["reason"]


@needs_fork
def test_workers_end_when_their_parent_is_killed():
    code = """
        import time, math
        from thalweg.study.executors import Processes
        pool = Processes(lambda job, emit, deadline: time.sleep(job) or {}, 2)
        print(*[p.pid for p, _ in pool._pool], flush=True)
        for _ in pool.run([0.2, 0.2, 60], print, math.inf): pass
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    with process:
        pids = [int(p) for p in process.stdout.readline().split()]
        time.sleep(0.5)
        process.kill()
    alive = pids
    for _ in range(100):
        alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        if len(alive) < 2:
            break
        time.sleep(0.1)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert len(pids) == 2 and len(alive) < 2  # the idle one went; the other one slept in its job


def test_why_processes_cannot_be_used(monkeypatch):
    assert "cuda" in can_fork("cuda")
    monkeypatch.setattr("thalweg.study.executors.cores", lambda: 1)
    assert can_fork("cpu") == "there is one core" or sys.platform != "linux"
