"""A look at a shift in a study's folder: ``shift.json``, which the page shows."""

from __future__ import annotations

from pathlib import Path

from ..errors import BadStudy
from ..store import Store
from .shifted import TITLES, Shift

FILE = "shift.json"


def keep(found: Shift, folder: str | Path) -> Path:
    """Write ``shift.json``: what programs read, with the title and the surface in words.

    Args:
        found: what `thalweg.shift` gave.
        folder: of the study or run whose model it was.

    Raises:
        BadStudy: it cannot be written.
    """
    said = [] if found.surface is None else str(found.surface).split("\n")
    document = {"title": f"{TITLES[found.kind]} · {found.title}"} | found.as_dict() | {"said": said}
    try:
        return Store(folder).write(FILE, document)
    except OSError as error:
        raise BadStudy(f"cannot write to {folder}: {error.strerror}", "give a folder that you may write to") from None
