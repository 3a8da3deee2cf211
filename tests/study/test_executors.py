import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import thalweg as tw
from thalweg.errors import BadData, BadTask
from thalweg.study import choosing, executors, work
from thalweg.study.executors import Processes, Sequential, can_fork

needs_fork = pytest.mark.skipif(sys.platform != "linux", reason="forked workers are used on Linux only")
KINDS = [Sequential, pytest.param(lambda work: Processes(work, workers=2), marks=needs_fork)]


def square(jobs, emit, deadline):
    for job in jobs:
        emit({"kind": "steps", "job": job})
        if job == "data":
            raise BadData("rotten", "fresh ones")
        if job == "bug":
            raise ZeroDivisionError("oops")
    return [{"value": job * job, "pid": os.getpid(), "outcome": {"status": "finished"}} for job in jobs]


def ended(executor, units, emit=lambda record: None):
    """The closing records by job."""
    done = executor.run(units, emit, math.inf)
    return {job: record for unit, records in done for job, record in zip(unit, records, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_job_is_done_once_and_its_records_arrive(kind):
    executor, records = kind(square), []
    try:
        done = ended(executor, [range(0, 5), range(5, 19), [19]], records.append)
        again = ended(executor, [[3]], records.append)
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
        assert list(executor.run([[1], [2]], lambda r: None, time.monotonic() - 1)) == []
    finally:
        executor.close()


@needs_fork
def test_errors_cross_the_process_border():
    for job, kind, said in (("data", BadData, "rotten"), ("bug", BadTask, "ZeroDivisionError: oops")):
        executor = Processes(square, workers=1)
        with pytest.raises(kind, match=said) as error:
            ended(executor, [[job]])
        assert error.value.hint
        executor.close()


@needs_fork
def test_a_worker_that_dies_is_retried_once_and_then_reported(tmp_path):
    def work(jobs, emit, deadline):
        if "always" in jobs or ("once" in jobs and not (tmp_path / "died").exists()):
            (tmp_path / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [{"outcome": {"status": "finished"}} for _ in jobs]

    executor = Processes(work, workers=2)
    try:
        done = ended(executor, [["once", "fine"], ["fine too"]])
        assert {r["outcome"]["status"] for r in done.values()} == {"finished"} and len(done) == 3
        done = ended(executor, [["always", "beside it"], ["fine"]])
    finally:
        executor.close()
    assert done["fine"]["outcome"]["status"] == "finished"
    for lost in (done["always"]["outcome"], done["beside it"]["outcome"]):
        assert lost["status"] == "stopped" and "died twice" in lost["reason"]


@needs_fork
def test_workers_end_when_their_parent_is_killed():
    code = """
        import time, math
        from thalweg.study.executors import Processes
        pool = Processes(lambda jobs, emit, deadline: time.sleep(jobs[0]) or [{}], workers=2)
        print(*[p.pid for p, _ in pool._pool], flush=True)
        for _ in pool.run([[0.2], [0.2], [60]], print, math.inf): pass
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


@given(
    sizes=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=60, unique=True),
    size=st.integers(1, 40),
    most=st.one_of(st.just(math.inf), st.floats(0, 50)),
    workers=st.integers(1, 5),
)
def test_units_hold_every_job_once_are_alike_small_enough_and_even(sizes, size, most, workers):
    executor = Sequential(square, size, alike=lambda job: job[0])
    executor.workers = workers
    units = executor.units(sizes, most)
    assert sorted(job for unit in units for job in unit) == sorted(sizes)
    for unit in units:
        assert len({kind for kind, _ in unit}) == 1 and 1 <= len(unit) <= max(1, min(size, most))
    for kind in "abc":
        lengths = [len(unit) for unit in units if unit[0][0] == kind]
        assert not lengths or max(lengths) - min(lengths) <= 1
        assert len(lengths) % workers == 0 or max(lengths) == 1


def test_why_processes_cannot_be_used(monkeypatch):
    assert "cuda" in can_fork("cuda")
    monkeypatch.setattr("thalweg.study.executors.cores", lambda: 1)
    assert can_fork("cpu") == "there is one core" or sys.platform != "linux"


def measured(seconds, limit=math.inf, sizes=choosing.SIZES):
    """What is chosen where a run's step in a program of so many takes these seconds."""
    task, nothing = tw.Task.load("digits"), lambda _: None
    way = Sequential(
        lambda jobs, emit, deadline: [{"seconds_per_step": seconds(len(jobs))}] * len(jobs), alike=work.alike
    )
    return choosing.measure(task, tw.Recipe("sgd", lr=0.1), [way], sizes, nothing, nothing, limit)


def test_no_larger_cohort_is_tried_once_the_time_for_choosing_is_over():
    assert measured(lambda k: 0.01 / k)["size"] == 256
    assert measured(lambda k: 0.01 / k, 0.0)["tried"] == {"sequential × 1": 0.01}


def test_a_small_network_goes_in_cohorts_though_batching_costs_more_than_four_of_it_gain():
    assert measured(lambda k: 64e-6 if k == 1 else 2e-6 + 260e-6 / k)["size"] == 256


def test_a_cohort_of_slow_runs_is_not_tried():
    assert measured(lambda k: 0.1)["tried"] == {"sequential × 1": 0.1}
    assert measured(lambda k: 1.0, sizes=choosing.WAYS["cohorts"])["size"] == 32  # what is asked for is done


def test_where_the_c_library_cannot_be_told_to_keep_memory_a_worker_works_all_the_same(monkeypatch):
    def none(name):
        raise OSError("there is none")

    told = []
    monkeypatch.setattr(executors.ctypes, "CDLL", none)
    executors._keep_memory()
    monkeypatch.setattr(executors.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=lambda *of: told.append(of)))
    executors._keep_memory()
    assert sorted(option for option, _ in told) == [-3, -1] and min(most for _, most in told) >= 2**30
