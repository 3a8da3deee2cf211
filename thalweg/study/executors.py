"""Where runs happen: in this process one after the other, or in one process a core."""

from __future__ import annotations

import collections
import multiprocessing as mp
import os
import signal
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import torch

from .. import errors
from ..store import cores

Record = dict[str, Any]
Emit = Callable[[Record], None]
J = TypeVar("J")
Work = Callable[[J, Emit, float], Record]  # (job, emit, deadline) -> its closing record
PATIENCE = 1.0  # seconds between two looks of an idle worker at whether its parent lives


class Executor(ABC, Generic[J]):
    """Does jobs; what comes out does not depend on which executor it was, beyond float tolerance."""

    name: str
    workers: int

    @abstractmethod
    def run(self, jobs: Sequence[J], emit: Emit, deadline: float) -> Iterator[tuple[J, Record]]:
        """Do the jobs; yields each with its closing record as it ends. Records on the way go to ``emit``."""

    def close(self) -> None:
        """Let go of processes."""


class Sequential(Executor[J]):
    """One job after the other in this process, with all its threads."""

    name, workers = "sequential", 1

    def __init__(self, work: Work[J]) -> None:
        self.work = work

    def run(self, jobs: Sequence[J], emit: Emit, deadline: float) -> Iterator[tuple[J, Record]]:
        """Do the jobs in order."""
        for job in jobs:
            if time.monotonic() >= deadline:
                return
            yield job, self.work(job, emit, deadline)


class Processes(Executor[J]):
    """One job a worker process, one thread each; workers are forked, so that any model and data can be used.

    A worker that dies is replaced and its job tried once more; then the job is reported as stopped.
    """

    name = "processes"

    def __init__(self, work: Work[J], workers: int | None = None) -> None:
        self.work = work
        self.workers = workers or cores()
        self._pool: list[tuple[mp.process.BaseProcess, Connection]] = []
        for _ in range(self.workers):
            self._pool.append(self._start())

    def _start(self) -> tuple[mp.process.BaseProcess, Connection]:
        here, there = mp.Pipe()
        parent = os.getpid()
        sys.stdout.flush()
        process = mp.get_context("fork").Process(target=_serve, args=(self.work, there, parent), daemon=False)
        process.start()
        there.close()
        return process, here

    def run(self, jobs: Sequence[J], emit: Emit, deadline: float) -> Iterator[tuple[J, Record]]:
        """Do the jobs, as many at a time as there are workers."""
        queue = collections.deque((job, 0) for job in jobs)
        busy: dict[int, tuple[J, int]] = {}
        while queue or busy:
            for index, (_, pipe) in enumerate(self._pool):
                if queue and index not in busy and time.monotonic() < deadline:
                    job, tries = queue.popleft()
                    busy[index] = (job, tries)
                    try:
                        pipe.send((job, deadline))
                    except OSError:
                        pass  # a dead worker: found below by its closed pipe
            if not busy:
                return
            ready = wait([self._pool[index][1] for index in busy])
            for index in [i for i, (_, pipe) in enumerate(self._pool) if pipe in ready]:
                try:
                    kind, content = self._pool[index][1].recv()
                except (EOFError, OSError):
                    job, tries = busy.pop(index)
                    self._pool[index][0].join()
                    code = self._pool[index][0].exitcode
                    self._pool[index][1].close()
                    self._pool[index] = self._start()
                    if tries:
                        reason = f"its worker died twice (exit code {code})"
                        yield job, {"outcome": {"status": "stopped", "step": 0, "where": None, "reason": reason}}
                    else:
                        queue.appendleft((job, tries + 1))
                    continue
                if kind == "record":
                    emit(content)
                    continue
                job, _ = busy.pop(index)
                if kind == "error":
                    name, message, hint = content
                    raise getattr(errors, name)(message, hint)
                yield job, content

    def close(self) -> None:
        """End the workers at once."""
        for process, pipe in self._pool:
            process.kill()
            process.join()
            pipe.close()
        self._pool.clear()


def _serve(work: Work[Any], pipe: Connection, parent: int) -> None:
    """A worker's life: jobs come in, records go out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

    def emit(record: Record) -> None:
        if os.getppid() != parent:
            os._exit(1)
        pipe.send(("record", record))

    while True:
        while not pipe.poll(PATIENCE):
            if os.getppid() != parent:
                os._exit(1)
        answer: tuple[str, Any]
        try:
            job, deadline = pipe.recv()
            answer = "done", work(job, emit, deadline)
        except (EOFError, BrokenPipeError):
            os._exit(1)
        except errors.ThalwegError as error:
            answer = "error", (type(error).__name__, error.message, error.hint)
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            answer = "error", ("BadTask", message, "run thalweg train on the task to see it alone")
        pipe.send(answer)


def can_fork(device: str) -> str | None:
    """Why processes cannot be used here, or None when they can."""
    if device != "cpu":
        return f"training is on {device}"
    if sys.platform != "linux":
        return "forked workers are used on Linux only"
    if cores() < 2:
        return "there is one core"
    return None
