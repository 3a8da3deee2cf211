"""Where runs happen: in this process or in one process a core, one by one or many as one program."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import itertools
import math
import multiprocessing as mp
import os
import signal
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

import torch

from .. import errors
from ..store import cores

Record = dict[str, Any]
Emit = Callable[[Record], None]
J = TypeVar("J")
Unit = Sequence[J]  # jobs that are done together
Work = Callable[[Unit[J], Emit, float], list[Record]]  # (jobs, emit, deadline) -> their closing records
PATIENCE = 1.0  # seconds between two looks of an idle worker at whether its parent lives
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # what malloc.h of the GNU C library calls them


class Executor(ABC, Generic[J]):
    """Does jobs; what comes out does not depend on which executor it was, beyond float tolerance.

    Args:
        work: does the jobs of a unit.
        size: how many jobs a unit has at most.
        alike: only jobs with the same value of this are in a unit.
    """

    name: str
    workers: int

    def __init__(self, work: Work[J], size: int = 1, alike: Callable[[J], Hashable] = id) -> None:
        self.work, self.size, self.alike = work, size, alike

    def units(self, jobs: Sequence[J], most: float = math.inf) -> list[Unit[J]]:
        """The jobs in units of nearly equal size, at most ``most``, as many as give every worker the same share."""
        size = max(1, math.floor(min(self.size, most)))
        groups: dict[Hashable, list[J]] = {}
        for job in jobs:
            groups.setdefault(self.alike(job), []).append(job)
        units: list[Unit[J]] = []
        for group in groups.values():
            fewest = math.ceil(len(group) / size)
            count = min(len(group), math.ceil(fewest / self.workers) * self.workers)
            cuts = [round(i * len(group) / count) for i in range(count + 1)]
            units += [group[start:end] for start, end in itertools.pairwise(cuts)]
        return units

    @abstractmethod
    def run(self, units: Sequence[Unit[J]], emit: Emit, deadline: float) -> Iterator[tuple[Unit[J], list[Record]]]:
        """Do the units; yields each with its jobs' closing records as it ends. Records on the way go to ``emit``."""

    def close(self) -> None:
        """Let go of processes."""


class Sequential(Executor[J]):
    """One unit after the other in this process, with all its threads."""

    name, workers = "sequential", 1

    def run(self, units: Sequence[Unit[J]], emit: Emit, deadline: float) -> Iterator[tuple[Unit[J], list[Record]]]:
        """Do the units in order."""
        for unit in units:
            if time.monotonic() >= deadline:
                return
            yield unit, self.work(unit, emit, deadline)


class Processes(Executor[J]):
    """One unit a worker process, one thread each; workers are forked, so that any model and data can be used.

    A worker that dies is replaced and its unit tried once more; then its jobs are reported as stopped.
    """

    name = "processes"

    def __init__(
        self, work: Work[J], size: int = 1, alike: Callable[[J], Hashable] = id, workers: int | None = None
    ) -> None:
        super().__init__(work, size, alike)
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

    def run(self, units: Sequence[Unit[J]], emit: Emit, deadline: float) -> Iterator[tuple[Unit[J], list[Record]]]:
        """Do the units, as many at a time as there are workers."""
        queue = collections.deque((unit, 0) for unit in units)
        busy: dict[int, tuple[Unit[J], int]] = {}
        while queue or busy:
            for index, (_, pipe) in enumerate(self._pool):
                if queue and index not in busy and time.monotonic() < deadline:
                    unit, tries = queue.popleft()
                    busy[index] = (unit, tries)
                    try:
                        pipe.send((unit, deadline))
                    except OSError:
                        pass  # a dead worker: found below by its closed pipe
            if not busy:
                return
            ready = wait([self._pool[index][1] for index in busy])
            for index in [i for i, (_, pipe) in enumerate(self._pool) if pipe in ready]:
                try:
                    kind, content = self._pool[index][1].recv()
                except (EOFError, OSError):
                    unit, tries = busy.pop(index)
                    self._pool[index][0].join()
                    code = self._pool[index][0].exitcode
                    self._pool[index][1].close()
                    self._pool[index] = self._start()
                    if tries:
                        reason = f"its worker died twice (exit code {code})"
                        end = {"outcome": {"status": "stopped", "step": 0, "where": None, "reason": reason}}
                        yield unit, [end for _ in unit]
                    else:
                        queue.appendleft((unit, tries + 1))
                    continue
                if kind == "record":
                    emit(content)
                    continue
                unit, _ = busy.pop(index)
                if kind == "error":
                    name, message, hint = content
                    raise getattr(errors, name)(message, hint)
                yield unit, content

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
    _keep_memory()

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
            unit, deadline = pipe.recv()
            answer = "done", work(unit, emit, deadline)
        except (EOFError, BrokenPipeError):
            os._exit(1)
        except errors.ThalwegError as error:
            answer = "error", (type(error).__name__, error.message, error.hint)
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            answer = "error", ("BadTask", message, "run thalweg train on the task to see it alone")
        pipe.send(answer)


def make(name: str, work: Work[J], size: int = 1, alike: Callable[[J], Hashable] = id) -> Executor[J]:
    """The executor of a name; cohorts are units of this process."""
    return Processes(work, size, alike) if name == Processes.name else Sequential(work, size, alike)


def can_fork(device: str) -> str | None:
    """Why processes cannot be used here, or None when they can."""
    if device != "cpu":
        return f"training is on {device}"
    if sys.platform != "linux":
        return "forked workers are used on Linux only"
    if cores() < 2:
        return "there is one core"
    return None


def _keep_memory() -> None:
    """Freed memory stays with the process, where the C library can be told so: a step takes as much as the one before.

    Large tensors would otherwise be given back and asked for again in every step, and the system clears what it gives.
    """
    with contextlib.suppress(AttributeError, OSError):
        tell = ctypes.CDLL(None).mallopt
        for option, most in ((MMAP_THRESHOLD, 2**30), (TRIM_THRESHOLD, 2**31 - 1)):
            tell(option, most)
