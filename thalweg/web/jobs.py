"""What the page may ask for beyond looking: to try a remedy, to go on with a study; each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadOption
from .processes import command, environment
from .streams import SILENCE, event, finite_json

MOST = 50  # jobs that are remembered
LINE = 500  # characters of a line that is shown
PATIENCE = 10.0  # seconds that a process has to end after it was interrupted
NICE = 10  # that the server goes first by: a page that is looked at must not wait for what it has started
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(eq=False)
class Job:
    """A process that works for the page.

    Attributes:
        kind: ``try`` or ``resume``; study: its id.
        status: ``running``, ``done`` or ``failed``; said: its last line; outcome: of a remedy that was tried.
        released: nobody waits for it any longer, as the server ends.
    """

    id: str
    kind: str
    study: str
    what: tuple[Any, ...] = ()
    status: str = "running"
    said: str = ""
    outcome: dict[str, Any] | None = None
    released: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The ``Job`` document."""
        return {k: getattr(self, k) for k in ("id", "kind", "study", "status", "said", "outcome")}

    def tell(self, **news: Any) -> None:
        """Set what is known, and wake who waits for it."""
        for name, value in news.items():
            setattr(self, name, value)
        before, self.changed = self.changed, asyncio.Event()
        before.set()

    async def events(self) -> AsyncIterator[bytes]:
        """The ``job`` events of a reader, the first at once, the last when it has ended."""
        yield b"retry: 1000\n\n"
        while True:
            changed = self.changed
            yield event("job", finite_json(self.as_dict()))
            if self.status != "running" or self.released:
                return
            while not changed.is_set():
                try:
                    async with asyncio.timeout(SILENCE):  # wait_for may lose a cancellation
                        await changed.wait()
                except TimeoutError:
                    yield b":\n\n"


class Jobs:
    """The jobs of a server, one a study at a time. They go on when who asked for them goes away, and end with the server."""

    def __init__(self) -> None:
        self.known: dict[str, Job] = {}

    async def start(
        self,
        kind: str,
        study: str,
        words: Sequence[str],
        what: tuple[Any, ...] = (),
        outcome: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> Job:
        """Start a job; one that was asked for twice is started once.

        Args:
            kind: ``try`` or ``resume``.
            study: its id.
            words: the module that runs, and what it is told.
            what: tells jobs of a kind apart.
            outcome: asked when it is done.

        Raises:
            BadOption: another job of this study runs.
        """
        for job in self.known.values():
            if job.study == study and job.status == "running":
                if (job.kind, job.what) == (kind, what):
                    return job
                raise BadOption("another job of this study is running", "wait until it has ended")
        job = Job(secrets.token_urlsafe(9), kind, study, what)
        self.known[job.id] = job
        ended = [other for other in self.known.values() if other.status != "running"]
        for other in ended[: max(0, len(self.known) - MOST)]:
            del self.known[other.id]
        try:
            job.process = await asyncio.create_subprocess_exec(
                *command(*words), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT, start_new_session=True, env=environment() | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        except BaseException as error:  # one that is running for ever would be in the way of the next
            job.tell(status="failed", said=f"it cannot be started: {error}"[:LINE])
            if isinstance(error, Exception):
                return job
            raise
        _give_way(job.process)
        job.task = asyncio.create_task(_follow(job, job.process, outcome))
        return job

    def release(self) -> None:
        """End the streams of those who wait for a job."""
        for job in self.known.values():
            job.tell(released=True)

    async def close(self) -> None:
        """Interrupt what runs, as Ctrl-C does, and end what does not stop."""
        running = [job for job in self.known.values() if job.task is not None and not job.task.done()]
        for job in running:
            _send(job, signal.SIGINT)
        tasks = [job.task for job in running if job.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
        for job in running:
            _send(job, signal.SIGKILL)
        await asyncio.gather(*tasks, return_exceptions=True)


def _give_way(process: asyncio.subprocess.Process) -> None:
    """Let a process that has just begun go after this one; its threads and children are as nice as it is."""
    if hasattr(os, "setpriority"):
        own = os.getpriority(os.PRIO_PROCESS, 0)
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, min(19, own + NICE))


def _send(job: Job, number: signal.Signals) -> None:
    if job.process is not None and job.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, number)


async def _follow(job: Job, process: asyncio.subprocess.Process, outcome: Callable[[], dict[str, Any] | None]) -> None:
    """Tell each line of a process, and then how it ended."""
    assert process.stdout is not None
    rest = b""
    while part := await process.stdout.read(4096):
        *lines, rest = (rest + part).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-LINE:]
        said = [line for line in map(_shown, lines) if line]
        errors = [line for line in said if line.startswith("error: ")]
        if said and not (job.said.startswith("error: ") and not errors):
            job.tell(said=(errors or said)[-1])
    if await process.wait():
        job.tell(status="failed", said=job.said or f"it ended with code {process.returncode}")
        return
    try:
        job.tell(status="done", outcome=await asyncio.to_thread(outcome))
    except Exception as error:
        job.tell(status="failed", said=f"its outcome cannot be read: {error}"[:LINE])


def _shown(line: bytes) -> str:
    return _COLOURS.sub("", line.decode("utf-8", "replace")).strip()[:LINE]


def resume_words(folder: Path, source: str) -> list[str]:
    """The words that go on with a study, by the task that was agreed to."""
    return ["thalweg.study.again", str(folder), source]


def try_words(folder: Path, finding: int, source: str) -> list[str]:
    """The words that try the remedy of a finding, by the task that was agreed to."""
    return ["thalweg.web.trying", str(folder), str(finding), source]
