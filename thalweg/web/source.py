"""Where the page's documents come from; what makes them is loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .following import Follower

Document = dict[str, Any]


class Source:
    """Where the documents come from: the functions of `thalweg.web.documents`, loaded when they are asked for."""

    def studies(self, folders: Sequence[Path]) -> tuple[dict[str, Path], int]:
        """The newest studies in some folders, by their ids, and how many older ones there are."""
        from .documents import catalogue

        return catalogue.newest(folders)

    def home(self, studies: Mapping[str, Path], older: int) -> Document:
        """``Home`` of some studies."""
        from ..version import __version__
        from .documents import catalogue

        return {"version": __version__, "live": True, "studies": catalogue.listed(studies), "older": older}

    def head(self, folder: Path, id: str) -> Document:
        """``Head`` of a study."""
        from .documents import catalogue, reading

        with reading.intact(folder):
            return catalogue.head(folder, id)

    def task(self, folder: Path) -> tuple[str | None, str | None]:
        """Where a study's task is, and the file that runs with it; None where it does not say, or where that is none."""
        from .documents import catalogue, reading

        with reading.intact(folder):
            head = reading.head_of(folder)
            return (str(head["source"]) if catalogue.goes_on(head) else None), catalogue.code_of(head)

    def status(self, folder: Path) -> str:
        """Whether it runs."""
        from .documents import catalogue, reading

        with reading.intact(folder):
            return catalogue.status_of(folder)

    def view(self, name: str, folder: Path) -> Document:
        """The document of a view."""
        from .documents import reading

        with reading.intact(folder):
            found: Document = importlib.import_module(f"thalweg.web.documents.{name}").document(folder)
            return found

    def curves(self, follower: Follower, **asked: Any) -> Document:
        """``Curves`` of a study that is followed."""
        from .documents import curves, reading

        with reading.intact(follower.folder):
            follower.refresh()
            return curves.document(follower, **asked)

    def playground(self, studies: Mapping[str, Path]) -> Document:
        """``Playground``, with the measured planes of some studies."""
        from . import playground

        found: Document = playground.playground(studies)
        return found

    def race(self, request: Document, studies: Mapping[str, Path]) -> Document:
        """``RaceResult`` on a classic surface, or a measured plane of some studies."""
        from . import playground

        found: Document = playground.race(request, studies)
        return found
