"""What is asked and who answers: the routes of the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ..errors import BadOption, BadStudy, ThalwegError
from .confinement import confined
from .jobs import Jobs, resume_words, try_words
from .security import PATIENCE, Guard, Refused, document_of
from .source import Document, Source
from .streams import Channel, Stream, finite

STATIC = Path(__file__).parent / "static"
VIEWS = ("verdict", "rates", "layers", "landscape", "findings", "shift")
AXES = ("step", "samples", "seconds")
COLUMNS = 4000  # of pixels, at most
CHANNELS = 16  # studies whose columns are kept while nobody reads them
_ID = re.compile(r"[\w-]{1,100}", re.ASCII)
_COLUMNS = re.compile(r"[0-9]{1,4}", re.ASCII)
_CURSOR = re.compile(r"(?:([0-9]{1,9})\.)?([0-9]{1,18})", re.ASCII)  # an epoch, and a byte


class Page:
    """The application: its studies, their readers, its jobs.

    Args:
        folders: studies, and what holds studies; links that lead out of them are not followed.
        source: of the documents.
        static: the page's own files.
        patience: seconds that a request has to arrive.
    """

    def __init__(
        self,
        folders: Sequence[str | Path],
        source: Source | None = None,
        static: Path = STATIC,
        patience: float = PATIENCE,
    ) -> None:
        self.folders = [Path(folder).resolve() for folder in folders]
        self.source, self.static, self.jobs = source or Source(), static, Jobs()
        self.patience = patience
        self.channels: dict[str, Channel] = {}
        self._studies: dict[str, Path] = {}
        self._older = 0
        self._look = asyncio.Lock()

    def asgi(self) -> Starlette:
        """The routes."""
        study = "/api/study/{id}"
        routes = [
            Route("/", self.index),
            Mount("/assets", StaticFiles(directory=self.static / "assets", check_dir=False)),
            Route("/api/home", _json(self.home)),
            Route(study, _json(self.head)),
            Route(study + "/curves", _json(self.curves)),
            Route(study + "/events", self.events),
            Route(study + "/try", _json(self.attempt), methods=["POST"]),
            Route(study + "/resume", _json(self.resume), methods=["POST"]),
            Route(study + "/{view}", _json(self.view)),
            Route("/api/playground", _json(self.playground)),
            Route("/api/playground/race", _json(self.race), methods=["POST"]),
            Route("/api/jobs/{id}", _json(self.job)),
            Route("/api/jobs/{id}/events", self.job_events),
        ]
        handlers: Any = {HTTPException: _told, ThalwegError: _told, Refused: _told, Exception: _told}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._life)

    @contextlib.asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.end()
            await self.jobs.close()

    def end(self) -> None:
        """End all streams, so that the server can."""
        for channel in self.channels.values():
            channel.close()
        self.jobs.release()

    async def index(self, _: Request) -> Response:
        """The page itself."""
        if not (self.static / "index.html").is_file():
            raise BadStudy("the page's files are not there", "make page, or install thalweg from its wheel")
        return FileResponse(self.static / "index.html")

    async def home(self, _: Request) -> Document:
        """All studies."""
        studies = await self.refresh()
        return await asyncio.to_thread(self.source.home, studies, self._older)

    async def refresh(self) -> dict[str, Path]:
        """The studies that there are, but those that reach out of their folders."""
        async with self._look:
            found, self._older = await asyncio.to_thread(self.source.studies, self.folders)
            self._studies = {
                id: folder for id, folder in found.items() if await asyncio.to_thread(self._is_inside, folder)
            }
            return self._studies

    def _is_inside(self, folder: Path) -> bool:
        whole = folder.resolve()
        return any(whole.is_relative_to(root) for root in self.folders) and confined(folder)

    async def _folder(self, request: Request) -> tuple[str, Path]:
        id = request.path_params["id"]
        if _ID.fullmatch(id):
            if id not in self._studies:
                await self.refresh()
            folder = self._studies.get(id)
            if folder is not None and await asyncio.to_thread(self._is_inside, folder):
                return id, folder
        raise BadStudy("there is no such study", "thalweg show FOLDER, with the folder that thalweg compare printed")

    async def head(self, request: Request) -> Document:
        """What is known of a study at once."""
        id, folder = await self._folder(request)
        return await asyncio.to_thread(self.source.head, folder, id)

    async def view(self, request: Request) -> Document:
        """A view's document."""
        name = request.path_params["view"]
        if name not in VIEWS:
            raise HTTPException(404)
        _, folder = await self._folder(request)
        return await asyncio.to_thread(self.source.view, name, folder)

    async def curves(self, request: Request) -> Document:
        """Curves, thinned to columns of pixels."""
        id, folder = await self._folder(request)
        asked = _curves_asked(request.query_params)
        follower = self._channel(id, folder).follower
        return await asyncio.to_thread(lambda: self.source.curves(follower, **asked))

    def _channel(self, id: str, folder: Path) -> Channel:
        channel = self.channels.pop(id, None)
        if channel is None or channel.folder != folder:
            channel = Channel(folder, self.source.status)
        self.channels[id] = channel  # the one that was asked for last is last
        idle = [name for name, one in self.channels.items() if not one.readers]
        for name in idle[: max(0, len(self.channels) - CHANNELS)]:
            if name != id:
                del self.channels[name]
        return channel

    async def events(self, request: Request) -> ASGIApp:
        """The stream of a study."""
        id, folder = await self._folder(request)
        said = request.headers.get("last-event-id") or request.query_params.get("cursor") or "0"
        if not (found := _CURSOR.fullmatch(said)):
            raise BadOption("a cursor is a whole number", "load the page again")
        channel = self._channel(id, folder)
        cursor, epoch = int(found[2]), None if found[1] is None else int(found[1])
        await asyncio.to_thread(channel.check, cursor, epoch)
        return Stream(channel.events(cursor), channel.join, channel.leave)

    async def attempt(self, request: Request) -> Document:
        """Try a finding's remedy."""
        id, folder = await self._folder(request)
        asked = await document_of(request, self.patience)
        k = asked.get("finding")
        if not isinstance(k, int) or isinstance(k, bool) or k < 0:
            raise BadOption("finding is the number of one", "give 0 for the first")
        findings = (await asyncio.to_thread(self.source.view, "findings", folder))["findings"]
        if k >= len(findings) or not findings[k]["can_try"]:
            raise BadOption("there is no remedy of this finding that can be tried from here", "choose another finding")

        source = await self._agreed(asked, folder)

        def outcome() -> Document | None:
            found: Document | None = self.source.view("findings", folder)["findings"][k]["outcome"]
            return found

        return (await self.jobs.start("try", id, try_words(folder, k, source), (k,), outcome)).as_dict()

    async def resume(self, request: Request) -> Document:
        """Go on with a study that was interrupted."""
        id, folder = await self._folder(request)
        asked = await document_of(request, self.patience)
        same = [j for j in self.jobs.known.values() if (j.study, j.kind, j.status) == (id, "resume", "running")]
        if not same and (status := await asyncio.to_thread(self.source.status, folder)) != "interrupted":
            raise BadOption(f"this study is {status}", "only one that was interrupted goes on")
        source = await self._agreed(asked, folder)
        return (await self.jobs.start("resume", id, resume_words(folder, source))).as_dict()

    async def _agreed(self, asked: Document, folder: Path) -> str:
        """Where a study says that its task is; `BadOption` where that is a file that was not agreed to."""
        source, code = await asyncio.to_thread(self.source.task, folder)
        if source is None:
            raise BadOption("this study does not say where its task is", "start it again as it was started")
        if code is not None and asked.get("code") != code:
            raise BadOption(f"this runs {code}", "say that it may: run only files that you trust")
        return source

    def _job(self, request: Request) -> Any:
        job = self.jobs.known.get(request.path_params["id"])
        if job is None:
            raise BadStudy("there is no such job", "start it again")
        return job

    async def job(self, request: Request) -> Document:
        """How far a job is."""
        found: Document = self._job(request).as_dict()
        return found

    async def job_events(self, request: Request) -> ASGIApp:
        """The stream of a job."""
        return Stream(self._job(request).events(), lambda: None, lambda: None)

    async def playground(self, _: Request) -> Document:
        """Surfaces, rules and presets."""
        return await asyncio.to_thread(self.source.playground, await self.refresh())

    async def race(self, request: Request) -> Document:
        """Let optimizers race."""
        asked = await document_of(request, self.patience)
        studies = self._studies or await self.refresh()
        return await asyncio.to_thread(self.source.race, asked, studies)


def guarded(page: Page, token: str, port: int) -> Guard:
    """The application behind its guard."""
    return Guard(page.asgi(), token, port)


def _json(answer: Callable[[Request], Awaitable[Document]]) -> Callable[[Request], Awaitable[Response]]:
    async def route(request: Request) -> Response:
        return Response(await asyncio.to_thread(encoded, await answer(request)), media_type="application/json")

    return route


def encoded(document: Document) -> bytes:
    """A document as JSON; null for a number that is not finite.

    Example:
        >>> encoded({"loss": [1.0, math.inf]})
        b'{"loss":[1.0,null]}'
    """
    try:
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(finite(document), separators=(",", ":"), allow_nan=False)
    return text.encode()


def _curves_asked(params: Mapping[str, str]) -> dict[str, Any]:
    """What the query of curves says; `BadOption` for what it may not."""
    x, columns = params.get("x", "step"), params.get("columns", "800")
    if x not in AXES:
        raise BadOption(f"x is one of {', '.join(AXES)}", "leave x out")
    if not _COLUMNS.fullmatch(columns) or not 1 <= int(columns) <= COLUMNS:
        raise BadOption(f"columns is a whole number from 1 to {COLUMNS}", "leave columns out")
    window: list[float | None] = []
    for name in ("from", "to"):
        text = params.get(name)
        try:
            window.append(None if text is None else float(text))
        except ValueError:
            window.append(math.nan)
    low, high = window
    if not all(v is None or math.isfinite(v) for v in window) or (low is not None and high is not None and low >= high):
        raise BadOption("from and to are numbers, from the smaller", "leave both out")
    named = {name: params[name] for name in ("y", "phases") if name in params}
    return {"x": x, "columns": int(columns), "low": low, "high": high, "log": params.get("log") == "1"} | named


async def _told(request: Request, error: Exception) -> Response:
    """An error as the page reads it."""
    if isinstance(error, Refused):
        status, said = error.status, (error.code, error.message, error.hint)
    elif isinstance(error, ThalwegError):
        # The page asks to be told in words what is absent: a 404 is an error in its console.
        absent = 200 if request.query_params.get("absent") == "said" else 404
        status = 400 if isinstance(error, BadOption) else absent
        said = (error.code, error.message, error.hint)
    elif isinstance(error, HTTPException):
        status, said = error.status_code, ("not-found", "There is nothing here.", "start from /")
    else:
        traceback.print_exception(error, file=sys.stderr)
        status, said = 500, ("internal", f"{type(error).__name__}: {error}"[:500], "see where thalweg show runs")
    document = {"error": dict(zip(("code", "message", "hint"), said, strict=True))}
    return Response(encoded(document), status, media_type="application/json")
