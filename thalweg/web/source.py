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

    def studies(self, folders: Sequence[Path]) -> dict[str, Path]:
        """The studies in some folders, by their ids."""
        from .documents import catalogue

        found: dict[str, Path] = catalogue.found(folders)
        return found

    def home(self, studies: Mapping[str, Path]) -> Document:
        """``Home`` of some studies."""
        from ..version import __version__
        from .documents import catalogue

        return {"version": __version__, "live": True, "studies": catalogue.listed(studies)}

    def head(self, folder: Path, id: str) -> Document:
        """``Head`` of a study."""
        from .documents import catalogue, reading

        with reading.intact(folder):
            return catalogue.head(folder, id)

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
