"""The server of the page: on this machine only, on a free port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import BadOption, BadStudy, ThalwegError
from ..store import HOME, RUNS, SEVERAL, Store
from .app import Page, guarded
from .documents.catalogue import written
from .security import HEAD, PATIENCE, new_token

HOST = "127.0.0.1"
CONNECTIONS = 512
LOOK = 0.3  # seconds between two looks for a study that begins


class Patient(H11Protocol):
    """Closes a connection on which a request begins and does not arrive."""

    patience = PATIENCE
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Somebody has connected, and says something soon."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """The head of a request is there, or the clock runs on."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._start()
        else:
            self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any longer."""
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        if self._clock is None:
            self._clock = self.loop.call_later(self.patience, self.transport.close)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


class Server(uvicorn.Server):
    """Ends the streams first when it is told to end.

    Args:
        page: what is served.
        token: who may look.
        listener: a socket of this machine.
    """

    def __init__(self, page: Page, token: str, listener: socket.socket) -> None:
        self.page, self.token, self.listener = page, token, listener
        self.port = int(listener.getsockname()[1])
        self.address = f"http://{HOST}:{self.port}/?token={token}"
        self.guard = guarded(page, token, self.port)
        config = uvicorn.Config(
            self.guard,
            http=type("Timed", (Patient,), {"patience": page.patience}),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(PATIENCE),
            timeout_graceful_shutdown=3,
            limit_concurrency=CONNECTIONS,
            h11_max_incomplete_event_size=HEAD,
        )
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None

    def passing(self) -> str:
        """An address that opens the page a single time: who lists the processes of the machine sees the browser's words."""
        return f"http://{HOST}:{self.port}/?token={self.guard.new_once()}"

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer until told to end."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets or [self.listener])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C, or the end from elsewhere."""
        super().handle_exit(sig, frame)
        self.end()

    def end(self) -> None:
        """End soon; may be called from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.page.end)


def listen(port: int = 0) -> socket.socket:
    """A socket on this machine.

    Raises:
        BadOption: the port is taken, or is none.
    """
    if not 0 <= port < 65536:
        raise BadOption(f"show: port must be a whole number from 0 to 65535, got {port}", "leave --port out")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)  # who comes before the server has started waits
    except OSError as error:
        listener.close()
        raise BadOption(f"show: cannot listen on port {port}: {error.strerror}", "leave --port out") from None
    return listener


def serve(
    folders: Sequence[str | Path] = (),
    port: int = 0,
    browser: bool = True,
    *,
    as_json: bool = False,
    since: float | None = None,
    parent: bool = False,
    opener: Callable[[str], None] | None = None,
) -> int:
    """Serve the page until Ctrl-C; its address, token included, is printed on one line.

    Args:
        folders: of studies, or what holds some; none: `HOME` and `RUNS` in the current folder.
        port: where it listens; 0: a free one.
        browser: whether it is opened.
        as_json: print the address as a JSON document.
        since: open the browser when a study is there that was written to after this time, as of `time.time`; the folders
            need not be there yet.
        parent: end when standard input does.
        opener: what opens an address, where that is not to be this process.

    Returns:
        The exit code.

    Raises:
        BadStudy: there is no such folder.
        BadOption: the port is taken.
    """
    given = [Path(folder) for folder in folders]
    places = given or [HOME, RUNS]
    for place in given:  # without a study there is still the playground
        if since is None and not place.is_dir():
            raise BadStudy(f"there is no folder {place}", "give the folder that thalweg compare printed")
    server = Server(Page(places), new_token(), listen(port))
    told = json.dumps({"address": server.address, "port": server.port}) if as_json else server.address
    print(told, flush=True)
    try:
        asyncio.run(_until_the_end(server, (opener or browse) if browser else None, since, parent))
    except KeyboardInterrupt:
        pass
    return 0


async def _until_the_end(
    server: Server, opener: Callable[[str], None] | None, since: float | None, parent: bool
) -> None:
    async with _beside(_orphaned(server) if parent else None, _opened(server, since, opener) if opener else None):
        await server.serve()


@contextlib.asynccontextmanager
async def _beside(*works: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in works if work is not None]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def browse(address: str) -> None:
    """Open the browser on an address."""
    webbrowser.open(address)


async def _opened(server: Server, since: float | None, opener: Callable[[str], None]) -> None:
    """Open the browser: at once, on a study that begins, or on one that is asked for and complete."""
    while not server.started:
        await asyncio.sleep(0.02)
    place = ""
    while since is not None:
        with contextlib.suppress(ThalwegError, OSError):
            shown = await asyncio.to_thread(_shown, server.page, await server.page.refresh(), since)
            if shown is not None:
                place = f"#/{shown}/curves"
                break
        await asyncio.sleep(LOOK)
    if can_open():
        await asyncio.to_thread(opener, server.passing() + place)


def _shown(page: Page, studies: Mapping[str, Path], since: float) -> str | None:
    """The study to open: the last one that was written to after a time; else the first of those asked for, once complete."""
    begun = {id: at for id, folder in studies.items() if (at := written(folder)) >= since}
    if begun:
        return max(begun, key=lambda id: begun[id])
    several = [folder for folder in page.folders if (folder / SEVERAL).is_file()]
    own = {id: folder for id, folder in studies.items() if folder in page.folders or folder.parent in several}
    if all(Store(folder).head().get("complete") for folder in own.values()):  # who holds it is not asked: it begins
        return next(iter(own), None)
    return None


def can_open() -> bool:
    """Whether there is a browser with a window: one that draws into the terminal would take it away."""
    if sys.platform == "linux" and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        return False
    return "CI" not in os.environ


async def _orphaned(server: Server) -> None:
    """End the server with the process that holds the other end of standard input."""
    loop, gone = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        while sys.stdin.buffer.read(1):
            pass
        loop.call_soon_threadsafe(gone.set)

    import threading

    threading.Thread(target=wait, daemon=True).start()
    await gone.wait()
    server.end()


def now() -> float:
    """The time, a little earlier than the files that are written from now on say."""
    return time.time() - 1.0
