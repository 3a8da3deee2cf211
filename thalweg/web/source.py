"""Where the page's documents come from; what makes them is loaded when it is asked for."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ThalwegError

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

        entries = []
        for id, folder in studies.items():
            with contextlib.suppress(ThalwegError, KeyError, TypeError, ValueError, AttributeError):
                entries.append(catalogue.entry(folder, id))  # one that cannot be read hides no other
        entries.sort(key=lambda entry: -entry["modified"])
        return {"version": __version__, "live": True, "studies": entries}

    def head(self, folder: Path, id: str) -> Document:
        """``Head`` of a study."""
        from .documents import catalogue

        found: Document = catalogue.head(folder, id)
        return found

    def status(self, folder: Path) -> str:
        """Whether it runs."""
        from .documents import catalogue

        return str(catalogue.status_of(folder))

    def view(self, name: str, folder: Path) -> Document:
        """The document of a view."""
        found: Document = importlib.import_module(f"thalweg.web.documents.{name}").document(folder)
        return found

    def curves(self, follower: Follower, **asked: Any) -> Document:
        """``Curves`` of a study that is followed."""
        from .documents import curves

        found: Document = curves.document(follower, **asked)
        return found

    def playground(self) -> Document:
        """``Playground``."""
        from . import playground

        found: Document = playground.playground()
        return found

    def race(self, request: Document) -> Document:
        """``RaceResult``."""
        from . import playground

        found: Document = playground.race(request)
        return found
