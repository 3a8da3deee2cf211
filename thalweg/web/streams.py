"""Server-sent events of a study: batches of what its trace has got, with the byte where each ends as its id.

A reader is a cursor and nothing else: what it has not taken yet stays in the file, so that a slow one costs no memory and
one that comes back goes on where it was. All readers of a study share one `Follower`, which one task keeps up to date.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadOption, ThalwegError
from ..run import COLUMNS
from .confinement import opened_trace
from .documents.reading import intact
from .following import Followed, Follower
from .lines import ALONE, Other, Steps, scan

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PULSE = 0.25  # seconds between two looks at the files
STATUS = 2.0  # seconds between two words on how far a study is
SILENCE = 10.0  # seconds after which a reader is told that the stream lives
LIMIT = 256 << 10  # bytes of the trace that a batch covers, if a line is no longer than that
EPOCHS = 10**8
REMEMBERED = 8  # batches that are kept for the next reader who is as far
DOCUMENTS = ("study", "verdict", "findings", "layers", "landscape", "shift", "run")
HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
_WORDS = {b'"nan"': b"null", b'"inf"': b"null", b'"-inf"': b"null"}


def batch(follower: Follower, cursor: int, limit: int = LIMIT) -> tuple[bytes, int]:
    """The ``Batch`` that begins at a cursor, as JSON, and the cursor of the next.

    A run that was begun again says ``begun``: what was known of it is void. What a later beginning made void, and what
    a finished run that is done again repeats, is left out.

    Args:
        follower: of the study, up to date.
        cursor: a byte at which a line begins.
        limit: bytes of the trace, about.
    """
    data = _lines(follower.folder, cursor, follower.cursor, limit)
    runs: dict[str, dict[str, Any]] = {}
    columns: dict[str, list[list[bytes]]] = {}
    evaluations: dict[str, list[Any]] = {}
    for line in scan(data, cursor):
        record = {} if isinstance(line, Steps) else line.record
        if record is None:
            continue
        name = line.run if isinstance(line, Steps) else str(record.get("run", ALONE))
        run = follower.runs.get(name)
        if run is None or line.offset < run.began or (run.ended is not None and line.offset > run.ended):
            continue
        if isinstance(line, Steps):
            own = columns.setdefault(name, [[] for _ in COLUMNS])
            for k, known in enumerate(own):
                a, b = (line.spans[2 * k + side] - cursor for side in (0, 1))
                known.append(_spliced(data[a:b], line.count))
            if name == ALONE:
                runs.setdefault(name, _said(run) | {"begun": not line.offset})
        else:
            _other(line, record, run, runs, evaluations)
    parts = (b"%s:{%s}" % (finite_json(name), _columns(own)) for name, own in columns.items())
    after = cursor + len(data)
    said = (after, finite_json(list(runs.values())), b",".join(parts), finite_json(evaluations))
    return b'{"cursor":%d,"runs":%s,"columns":{%s},"evaluations":%s}' % said, after


def _columns(own: list[list[bytes]]) -> bytes:
    return b",".join(b'"%s":[%s]' % (name.encode(), b",".join(p)) for name, p in zip(COLUMNS, own, strict=True))


def _other(
    line: Other, record: dict[str, Any], run: Followed, runs: dict[str, dict[str, Any]], found: dict[str, list[Any]]
) -> None:
    if record["kind"] == "start":
        runs[run.run] = _said(run) | {"status": "running", "where": None, "begun": True}
    elif record["kind"] == "evaluation":
        found.setdefault(run.run, []).append({k: v for k, v in record.items() if k not in ("run", "kind", "at")})
    elif record["kind"] == "end":
        runs[run.run] = _said(run) | {"begun": run.run in runs}
        found.setdefault(run.run, []).extend(run.evaluations[run.reported :])


def _said(run: Followed) -> dict[str, Any]:
    names = ("run", "entrant", "phase", "seed", "lr", "steps", "status", "where")
    return {name: getattr(run, name) for name in names} | {"steps": run.steps or 0}


def _lines(folder: Path, cursor: int, end: int, limit: int) -> bytes:
    """Whole lines from a cursor on: about ``limit`` bytes, one line at least."""
    with opened_trace(folder) as file:
        file.seek(cursor)
        data = file.read(max(0, min(limit, end - cursor)))
        while not (whole := data.rfind(b"\n") + 1) and (
            more := file.read(max(0, min(limit, end - cursor - len(data))))
        ):
            data += more
    return data[:whole] or data


def _spliced(text: bytes, count: int) -> bytes:
    """The numbers of a span as they stand in the file, null for what is none; nulls if they cannot be read."""
    try:
        values = json.loads(b"[" + text + b"]")
    except (ValueError, RecursionError):
        values = []
    if len(values) != count:
        return b",".join([b"null"] * count)
    if {type(value) for value in values} <= {int, float} and not text.translate(None, b"0123456789+-.eE, "):
        return text
    for word, null in _WORDS.items():
        text = text.replace(word, null)
    if not text.replace(b"null", b"").translate(None, b"0123456789+-.eE, "):
        return text
    return b",".join(finite_json(v) if type(v) in (int, float) and abs(v) < 1e308 else b"null" for v in values)


def finite_json(value: Any) -> bytes:
    """A document as JSON; None for what is not finite."""
    return json.dumps(finite(value), separators=(",", ":"), allow_nan=False).encode()


def finite(value: Any) -> Any:
    """A document with None for what is not finite, and for the words that stand for it in a trace."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return None if value in ("nan", "inf", "-inf") else value


class Channel:
    """A study that is read by one or more: its follower, and what has changed since they looked.

    Args:
        folder: of the study.
        status: its status, told from its folder.
    """

    def __init__(self, folder: Path, status: Callable[[Path], str]) -> None:
        self.follower = Follower(folder, secrets.randbelow(EPOCHS))  # no cursor of another channel's fits by chance
        self.folder, self.changed, self.readers, self.closed = folder, asyncio.Event(), 0, False
        self.stamps: dict[str, tuple[int, int]] = {}
        self.said: dict[str, Any] = {}
        self._status, self._task, self._told = status, None, 0.0
        self._batches: OrderedDict[tuple[int, int, int], tuple[bytes, int]] = OrderedDict()

    _task: asyncio.Task[None] | None

    def join(self) -> None:
        """One more reads."""
        self.readers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._pulse())

    def leave(self) -> None:
        """One has gone; without readers nothing is looked at."""
        self.readers -= 1
        if not self.readers and self._task is not None:
            self._task.cancel()
            self._task = None

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        self.changed.set()

    def _look(self) -> bool:
        with intact(self.folder):
            grown = self.follower.refresh()
        stamps = {}
        for name in DOCUMENTS:
            try:
                stat = (self.folder / f"{name}.json").stat()
            except OSError:
                continue
            stamps[name] = (stat.st_mtime_ns, stat.st_size)
        other, self.stamps = stamps != self.stamps, stamps
        return grown or other

    def _state(self) -> dict[str, Any]:
        with intact(self.folder):
            return {"status": self._status(self.folder), "progress": self.follower.progress()}

    async def _pulse(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self.closed:
            try:
                news = await asyncio.to_thread(self._look)
                if clock() - self._told >= STATUS:
                    now = await asyncio.to_thread(self._state)
                    news, self.said, self._told = news or now != self.said, now, clock()
            except (ThalwegError, OSError):  # the study was moved away: it may come back
                news = False
            if news:
                before, self.changed = self.changed, asyncio.Event()
                before.set()
            await asyncio.sleep(PULSE)

    def next(self, cursor: int) -> tuple[bytes, int]:
        """The batch at a cursor; the readers who are as far get the same one."""
        with self.follower._lock:
            key = (self.follower.epoch, cursor, self.follower.cursor)
            if key not in self._batches:
                self._batches[key] = batch(self.follower, cursor)
                if len(self._batches) > REMEMBERED:
                    self._batches.popitem(last=False)
            return self._batches[key]

    def check(self, cursor: int, epoch: int | None = None) -> None:
        """Raise `BadOption` unless a line begins at the cursor, and the trace is still the one that it is of."""
        self.follower.refresh()
        if epoch not in (None, self.follower.epoch):
            raise BadOption("another file has taken the trace's place", "load the page again")
        if cursor:
            with opened_trace(self.folder) as file:
                file.seek(cursor - 1)
                if cursor > self.follower.cursor or file.read(1) != b"\n":
                    raise BadOption(f"no line of the trace begins at byte {cursor}", "load the page again")

    async def events(self, cursor: int) -> AsyncIterator[bytes]:
        """What a reader gets from a cursor on, until the server ends."""
        yield b"retry: 1000\n\n"
        stamps, said, epoch = None, None, self.follower.epoch
        while not self.closed:
            changed = self.changed
            while cursor < self.follower.cursor and epoch == self.follower.epoch and not self.closed:
                data, after = await asyncio.to_thread(self.next, cursor)
                if epoch == self.follower.epoch:
                    cursor = after
                    yield event("batch", data, f"{epoch}.{cursor}")
            if epoch != self.follower.epoch:
                return  # another file has taken the trace's place
            if stamps not in (None, self.stamps):
                names = sorted({name for name, _ in stamps.items() ^ self.stamps.items()})
                yield event("documents", finite_json({"changed": names}))
            stamps = self.stamps
            if self.said not in (said, {}):
                said = self.said
                yield event("status", finite_json(said))
            try:
                async with asyncio.timeout(SILENCE):  # wait_for may lose a cancellation
                    await changed.wait()
            except TimeoutError:
                yield b":\n\n"


def event(kind: str, data: bytes, id: str | None = None) -> bytes:
    r"""An event as the stream has it; JSON holds no line breaks.

    Example:
        >>> event("batch", b"{}", "0.12")
        b'id: 0.12\nevent: batch\ndata: {}\n\n'
    """
    return (b"" if id is None else b"id: %s\n" % id.encode()) + b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


class Stream:
    """An answer that goes on: parts are made as fast as the other side takes them, and no faster.

    Args:
        parts: what is sent.
        enter: called when it begins.
        leave: called when it ends, whoever ended it.
    """

    def __init__(self, parts: AsyncIterator[bytes], enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self.parts, self.enter, self.leave = parts, enter, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        self.enter()
        work = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                task.cancel()
            said, _ = await asyncio.gather(work, gone, return_exceptions=True)
            self.leave()
        if isinstance(said, Exception):
            raise said

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        async for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
