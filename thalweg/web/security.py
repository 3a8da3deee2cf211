"""Who may ask: this machine's page with its token, and nobody through a page of another's."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from ..errors import BadOption

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY = 64 << 10  # bytes of a request's body
HEAD = 16 << 10  # bytes of its head
PATIENCE = 10.0  # seconds for a request to arrive
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'none'"
)
KEPT = b"public, max-age=31536000, immutable"
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
NAMES = ("127.0.0.1", "localhost")


class Refused(Exception):
    """A request that is not answered: the status and what is said."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


class Guard:
    """Lets through who shows the token, from this machine's own page; adds what every answer says to a browser.

    Args:
        app: what answers.
        token: what the address that was printed holds, and then a cookie.
        port: where the server listens.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token, self.cookie = app, token, f"thalweg-{port}"
        self.once: str | None = None
        self.hosts = {f"{name}:{port}" for name in NAMES}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = scope["path"].startswith("/assets/") and message["status"] == 200
                own = [(b"cache-control", KEPT if kept else b"no-store"), *HEADERS]
                names = {name for name, _ in own}
                message["headers"] = [(k, v) for k, v in message["headers"] if k.lower() not in names] + own
            await send(message)

        try:
            cookie = self._check(scope)
        except Refused as refused:
            await _answer(told, refused.status, _error(refused))
            return
        if cookie is not None:
            place = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
            await _answer(told, 303, b"", place)
            return
        await self.app(scope, receive, told)

    def _check(self, scope: Scope) -> str | None:
        """The cookie to set for who shows the token in the address; None: go on.

        Raises:
            Refused: not from here, or without the token.
        """
        size = len(scope["path"]) + len(scope["query_string"]) + sum(len(k) + len(v) for k, v in scope["headers"])
        if size > HEAD:
            raise Refused(
                413, "too-large", f"The head of a request holds at most {HEAD} bytes.", "ask for less at once"
            )
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        hosts, origins, method = headers.get(b"host", []), headers.get(b"origin", []), scope["method"]
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            raise Refused(403, "foreign-host", "This server answers to 127.0.0.1 only.", "open the address it printed")
        if not self.origins.issuperset(origin.lower() for origin in origins):
            raise Refused(403, "foreign-origin", "Another page asked.", "open the address that thalweg printed")
        if method not in ("GET", "HEAD", "POST"):
            raise Refused(405, "bad-method", f"{method[:20]} is not answered.", "GET and POST are")
        if method == "POST" and not origins:
            raise Refused(
                403, "foreign-origin", "A request that changes something says from which page.", "use the page"
            )
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if method == "GET" and scope["path"] == "/" and asked:
            if len(asked) == 1 and (self._is_token(asked[0]) or self._is_once(asked[0])):
                # Lax: strict cookies are not sent on where another page's link led here; no GET changes anything.
                return f"{self.cookie}={self.token}; HttpOnly; SameSite=Lax; Path=/"
        elif any(map(self._is_token, _cookies(headers.get(b"cookie", []), self.cookie))):
            return None
        raise Refused(401, "no-token", "The token is missing or wrong.", "open the address that thalweg printed")

    def new_once(self) -> str:
        """A token that opens the page a single time, for where other users of the machine may read it."""
        self.once = new_token()
        return self.once

    def _is_once(self, given: str) -> bool:
        if self.once is None or not hmac.compare_digest(given.encode(), self.once.encode()):
            return False
        self.once = None
        return True

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _cookies(lines: list[str], name: str) -> list[str]:
    """The values of a cookie; those of other servers of this machine, whatever they hold, are passed over."""
    pairs = [part.strip().partition("=") for line in lines for part in line.split(";")]
    return [value for key, _, value in pairs if key == name]


def _error(refused: Refused) -> bytes:
    said = {"code": refused.code, "message": refused.message, "hint": refused.hint}
    return json.dumps({"error": said}).encode()


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


async def document_of(request: Request, patience: float = PATIENCE) -> dict[str, Any]:
    """The JSON document in a request's body.

    Raises:
        Refused: it is too large or too slow.
        BadOption: it is no JSON document.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadOption("the request's body is not said to be JSON", "Content-Type: application/json")
    large = Refused(413, "too-large", f"A request holds at most {BODY} bytes.", "ask for less at once")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > BODY:
        raise large
    data = b""
    try:
        async with asyncio.timeout(patience):
            async for part in request.stream():
                data += part
                if len(data) > BODY:
                    raise large
    except TimeoutError:
        raise Refused(408, "too-slow", "The request did not arrive in time.", "send it again") from None
    try:
        document = json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadOption("the request's body is no JSON document", "send an object") from None
    if not isinstance(document, dict):
        raise BadOption("the request's body is no JSON object", "send an object")
    return document


def _no_number(word: str) -> None:
    raise ValueError(word)
