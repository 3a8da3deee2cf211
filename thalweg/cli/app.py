"""The command line's frame: the application, and how a document is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Protocol

from cyclopts import App, Parameter

from ..store import plain
from ..version import __version__

app = App(
    name="thalweg",
    help="Gets neural networks trained: which optimizer, rate and schedule, proved with honest statistics.",
    version=__version__,
    help_epilogue="TASK is the name of a built-in task (digits, fashion-mlp, fashion-cnn, mnist-mlp, shakespeare, housing, "
    "quadratic-deep) or path/to/file.py:task.",
)
Json = Annotated[bool, Parameter(name="--json", negative="")]
Quiet = Annotated[bool, Parameter(negative="")]


def show(document: dict[str, Any]) -> None:
    """Print a document as JSON."""
    print(json.dumps(plain(document), indent=1, allow_nan=False), flush=True)


class Finding(Protocol):
    """What a command found: it prints, draws, and is a document."""

    def plot(self, path: Path) -> object:
        """Draw it to a file."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """As plain values."""
        ...


def tell(found: Finding, plot: Path | None, json_: bool) -> None:
    """Draw what was found, if that is asked for, and print it, as JSON or in words."""
    if plot is not None:
        found.plot(plot)
    if json_:
        show(found.as_dict())
    else:
        print(found)
