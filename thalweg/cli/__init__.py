"""The command line: every command takes ``--json`` and exits with 0 (done), 1 (trouble found) or 2 (wrong use)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import CycloptsError

from ..errors import ThalwegError
from . import looking, moving, page, reports, surfaces, training
from .app import app, show

__all__ = ["app", "looking", "main", "moving", "page", "reports", "surfaces", "training"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; errors of use end with a hint and exit code 2.

    Args:
        arguments: the words after ``thalweg``; None: the process's own.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    try:
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        return _call(command, bound)
    except ThalwegError as error:
        return _fail(error.code, error.message, error.hint, as_json)
    except CycloptsError as error:
        return _fail(
            "bad-option",
            str(error).strip(),
            "thalweg --help lists the commands, thalweg COMMAND --help their options",
            as_json,
        )
    except KeyboardInterrupt:
        return _fail(
            "interrupted",
            "interrupted before there was anything to show",
            "start the same command again to go on",
            as_json,
        )
    except BrokenPipeError:
        return 0


def _call(command: Callable[..., Any], bound: Any) -> int:
    value = command(*bound.args, **bound.kwargs)
    return value if isinstance(value, int) else 0


def _fail(code: str, message: str, hint: str, as_json: bool) -> int:
    if as_json:
        show({"error": {"code": code, "message": message, "hint": hint}})
    else:
        print(f"error: {message}\nhint: {hint}", file=sys.stderr)
    return 2
