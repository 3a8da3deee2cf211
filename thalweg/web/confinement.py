"""Which files are read for the page: plain ones that lie in the study's own folder, whatever links lie there."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import BadStudy

MOST = 16_000_000  # bytes that a document may have: what JSON of that size is read into takes twenty times as many
ARRAYS = 256_000_000  # bytes that the arrays of a study may have, packed or not
TRIES = 20  # a document that is written anew while it is opened is opened again


def confined(folder: Path) -> bool:
    """Whether all that lies in a study's folder lies there itself: plain files and folders, no link that leads out.

    Example:
        >>> confined(tmp)
        True
        >>> (tmp / "trace.jsonl").symlink_to("/etc/hostname")
        >>> confined(tmp)
        False
    """
    try:
        root = folder.resolve(strict=True)
        for place in (root, root / "models"):
            if not place.is_dir():
                continue
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        target = Path(entry.path).resolve()
                        if not target.is_relative_to(root) or not (target.is_file() or target.is_dir()):
                            return False
                    elif not (entry.is_file() or stat.S_ISDIR(entry.stat().st_mode)):
                        return False
    except (OSError, RuntimeError):
        return False
    return True


def opened(folder: Path, name: str, most: float = MOST) -> BinaryIO:
    """A file of a folder, to be read. It is looked at after it was opened: a link that comes meanwhile opens nothing.

    Args:
        folder: of a study.
        name: of the file.
        most: bytes that it may have; `math.inf` for one that is not read as a whole.

    Raises:
        FileNotFoundError: it is not there.
        BadStudy: it lies elsewhere, behind a link, is no plain file, or is too large to be shown.

    Example:
        >>> (tmp / "notes.json").symlink_to("/etc/hostname")
        >>> opened(tmp, "notes.json")
        Traceback (most recent call last):
        thalweg.errors.BadStudy: notes.json leads out of the study
        hint: remove the link
    """
    path = folder / name
    for _ in range(TRIES):
        file = open(path, "rb", opener=_at_once)
        try:
            about, place = os.fstat(file.fileno()), path.resolve()
            if not place.is_relative_to(folder.resolve()):
                raise BadStudy(f"{name} leads out of the study", "remove the link")
            if not stat.S_ISREG(about.st_mode):
                raise BadStudy(f"{name} is no plain file", "remove it")
            if about.st_size > most:
                raise BadStudy(f"{name} is too large to be shown", "give another folder")
            if os.path.samestat(about, place.lstat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()
    raise BadStudy(f"{name} is another file each time it is looked at", "look again later")


def _at_once(path: str, flags: int) -> int:
    """Open what may be a pipe, without waiting for somebody at its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def opened_trace(folder: Path) -> BinaryIO:
    """The trace of a study, however long it is."""
    return opened(folder, "trace.jsonl", math.inf)
