"""The command line's frame: the application, and how a document is printed."""

from __future__ import annotations

import json
from typing import Annotated, Any

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
