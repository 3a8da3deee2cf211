"""Processes of thalweg's own, which import nothing from the folder that they are started in: that may be anybody's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SITES = ("site-packages", "dist-packages")


def command(module: str, *words: str) -> list[str]:
    """The words that run a module of thalweg's in a process of its own.

    Example:
        >>> command("thalweg.web.trying", "a study", "0")[1:]
        ['-P', '-m', 'thalweg.web.trying', 'a study', '0']
    """
    return [sys.executable, "-P", "-m", module, *words]


def environment() -> dict[str, str]:
    """What such a process finds around it: this one's, and thalweg where it lies in a folder that is not installed."""
    home = Path(__file__).resolve().parents[2]
    known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    own = [] if home.name in SITES or str(home) in known else [str(home)]
    return os.environ | ({"PYTHONPATH": os.pathsep.join([*known, *own])} if known or own else {})
