"""What a person sees while runs go on: a live line on a terminal, plain lines on a pipe, all on standard error."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

WIDTH = 80
QUIET, PLAIN, LIVE = "quiet", "plain", "live"


def duration(seconds: float) -> str:
    """``95`` → ``1m35s``, ``9.3`` → ``9.3s``.

    Example:
        >>> duration(95), duration(9.34)
        ('1m35s', '9.3s')
    """
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of words as lines, one word below the other.

    Example:
        >>> print(columns([("name", "n"), ("adam", "12")]))
        name  n
        adam  12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(w.ljust(k) for w, k in zip(row, widths, strict=True)).rstrip() for row in rows)


def unmeasured(reasons: Iterable[tuple[str, str]]) -> list[list[str]]:
    """What was not measured, in lines of at most 80 columns: a paragraph for each reason.

    Args:
        reasons: names and why; what is named twice for one reason is said once.

    Example:
        >>> unmeasured([("plateau", "first mend nan-in-data"), ("overfitting", "first mend nan-in-data")])
        [['Not measured: plateau, overfitting: first mend nan-in-data.']]
    """
    of: dict[str, dict[str, None]] = {}
    for name, why in reasons:
        of.setdefault(why.rstrip("."), {})[name] = None
    return [
        textwrap.wrap(f"Not measured: {', '.join(names)}: {why}.", WIDTH, subsequent_indent="  ")
        for why, names in of.items()
    ]


class Progress:
    """Progress of a command: `say` prints a line that stays, `at` updates what is going on now.

    Args:
        quiet: print nothing.
        every: seconds between two plain lines on a pipe.
    """

    def __init__(self, quiet: bool = False, every: float = 10.0) -> None:
        self.mode = QUIET if quiet else LIVE if sys.stderr.isatty() else PLAIN
        self.every = every
        self._started = self._last = time.monotonic()
        self._status: Any = None
        self._console: Any = None

    def __enter__(self) -> Progress:
        if self.mode == LIVE:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
            self._status = self._console.status("", spinner="dots")
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def say(self, line: str) -> None:
        """A line that stays."""
        if self.mode == LIVE and self._console is not None:
            from rich.text import Text

            self._console.print(Text(line, style="dim"))
        elif self.mode != QUIET:
            print(line, file=sys.stderr, flush=True)

    def at(self, line: str) -> None:
        """What is going on now."""
        now = time.monotonic()
        line = f"{line} · {duration(now - self._started)}"
        if self.mode == LIVE and self._status is not None:
            from rich.text import Text

            self._status.update(Text(line))
        elif self.mode == PLAIN and now - self._last >= self.every:
            self._last = now
            print(line, file=sys.stderr, flush=True)
