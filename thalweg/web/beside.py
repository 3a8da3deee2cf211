"""The page beside a comparison: its server is a process of its own, so that training is not slowed by who looks."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import BadStudy, ThalwegError
from ..store import HOME, Store
from .processes import command, environment

if TYPE_CHECKING:
    from ..study import Study

NICE = 10  # training goes first
WAIT = 5.0  # seconds that the server has to end


class Beside:
    """A server of the page that runs while something else does.

    Args:
        folder: of the study that is made; None: of all studies here.
        browser: whether it is opened, as soon as there is something to see.

    Example:
        >>> with Beside(tmp / "study", browser=False) as page:
        ...     page.address.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, folder: str | Path | None = None, browser: bool = True) -> None:
        self.folder, self.browser, self.address = Path(folder or HOME), browser, ""
        self._process: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None

    def __enter__(self) -> Beside:
        self._process = subprocess.Popen(
            command("thalweg.web.beside", str(self.folder.absolute()), str(int(self.browser))), env=environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        try:
            self.address = json.loads(self._process.stdout.readline())["address"]
        except ValueError:
            self.close()
            raise BadStudy("the page's server did not start", "thalweg show says why") from None
        self._listener = threading.Thread(target=_listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def look(self, studies: Sequence[Study], quiet: bool = False) -> None:
        """Measure what the page also shows of studies that are complete: layers, landscape, findings. Ctrl-C leaves the rest.

        Args:
            studies: with their verdicts.
            quiet: no progress.
        """
        from . import closing

        with contextlib.suppress(KeyboardInterrupt):
            for study in studies:
                if study.best is None or not Store(study.folder).head().get("complete"):
                    continue
                if closing.look(study.folder, study.best.task, quiet=quiet).interrupted:
                    break

    def stay(self, folder: str | Path, wait: bool = True) -> None:
        """Until Ctrl-C, where somebody sits at a terminal; else say how to look again.

        Args:
            folder: of what is shown.
            wait: False: do not stay, as a program waits for this one to end.
        """
        if not wait or self._process is None or not sys.stderr.isatty() or "CI" in os.environ:
            print(f"look    thalweg show {shlex.quote(str(folder))}", file=sys.stderr)
            return
        with contextlib.suppress(KeyboardInterrupt):  # from when it is said
            then = f"thalweg show {shlex.quote(str(folder))}"
            print(f"page    {self.address}   (until Ctrl-C; then: {then})", file=sys.stderr)
            self._process.wait()

    def close(self) -> None:
        """End the server."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(WAIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join(WAIT)
        process.stdout.close()


def _listen(told: Iterable[str]) -> None:
    """Open the browser when the server says so, from here: what a nice process starts is nice, and holds what it holds."""
    for line in told:
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with contextlib.suppress(OSError, ValueError, KeyError):
            address, words = json.loads(line)["open"], command("thalweg.web.beside")
            own = {"env": environment(), "start_new_session": True, **quiet}
            subprocess.run(words, input=address, text=True, check=False, **own)


def main(words: Sequence[str]) -> int:
    """Serve until standard input ends; or open the browser on the address that standard input gives.

    Args:
        words: the folder, and 1 or 0: whether a browser is opened; none: open one.

    Returns:
        The exit code.
    """
    from .serving import browse, now, serve

    if not words:
        browse(sys.stdin.read())
        return 0
    if hasattr(os, "nice"):
        os.nice(NICE)
    try:
        return serve([words[0]], browser=words[1] == "1", as_json=True, since=now(), parent=True, opener=_tell)
    except ThalwegError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 2


def _tell(address: str) -> None:
    """Say what is to be opened."""
    with contextlib.suppress(OSError):  # who started this has gone
        print(json.dumps({"open": address}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
