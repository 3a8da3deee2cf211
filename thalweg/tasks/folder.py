"""Where the data sets of the built-in tasks lie."""

from __future__ import annotations

import os
from pathlib import Path

from thalweg.errors import BadData


def find(file: str, origin: str) -> Path:
    """A file in the folder that ``THALWEG_DATA`` names.

    Args:
        file: its path inside the folder.
        origin: where the set comes from, for the message.

    Raises:
        BadData: the variable is not set, or the file is not there.
    """
    folder = os.environ.get("THALWEG_DATA")
    hint = f"{origin}; put {file} into a folder, set THALWEG_DATA to it, or use the task 'digits', which needs no data"
    if not folder:
        raise BadData(f"{file} is needed and THALWEG_DATA is not set", hint)
    path = Path(folder).expanduser() / file
    if not path.is_file():
        raise BadData(f"no file {path}", hint)
    return path
