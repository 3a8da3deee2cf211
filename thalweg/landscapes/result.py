"""The result of `thalweg.landscape`: slices, planes, and what was found between and around solutions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..console import columns, duration
from ..errors import BadStudy
from ..store import plain
from .slice import Slice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .connecting import Connection
    from .convexity import Convexity
    from .escape import Escape
    from .matching import Matched
    from .walls import Walls

JSON, ARRAYS = "landscape.json", "landscape.npz"


@dataclass(frozen=True)
class Landscape:
    """A loss surface as it was measured; printing it says what there is.

    Attributes:
        task: the task's name.
        where: what is in the middle of it.
        loss: there, on the surface's data.
        data: what that is, in words.
        slices: along one axis, by kind.
        planes: along two, by kind.
        connections: from the middle to another solution: ``line``, ``matched line``, ``curve``.
        matched: how the other solution's units were put in order, or None.
        walls: around the middle, or None.
        escapes: runs that were started there to see which leave, or None.
        convexity: whether a chord was found below the surface, or None.
        apart: the largest difference between a checkpoint's recorded loss and the same measured again, relative.
        checkpoints: how many were compared so.
        interrupted: whether Ctrl-C, or the deadline, came between surfaces.
        notes: sentences on what was inferred or left out.
        seconds: in all.
        folder: where it was written, or None.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> found = thalweg.landscape(task.build(0), task=task, slices=["random"], planes=[], rows=100, quiet=True)
        >>> list(found.slices), found.slices["random"].losses.shape
        (['random'], (41,))
    """

    task: str
    where: str
    loss: float
    data: str
    slices: dict[str, Slice]
    planes: dict[str, Slice]
    connections: dict[str, Connection]
    matched: Matched | None
    walls: Walls | None
    escapes: Escape | None
    convexity: Convexity | None
    apart: float | None
    checkpoints: int
    interrupted: bool
    notes: tuple[str, ...]
    seconds: float
    folder: Path | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing was interrupted."""
        return not self.interrupted and all(one.complete for one in (*self.slices.values(), *self.planes.values()))

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read; those of the first plane stand at the top as well."""
        every = [*self.planes.values(), *self.slices.values()]
        first = (
            every[0].as_dict() if every else {"axes": [], "shape": [], "checkpoints": [], "variance_explained": None}
        )
        return {
            "file": None if self.folder is None else str(self.folder / ARRAYS),
            **{key: first[key] for key in ("axes", "shape", "checkpoints", "variance_explained")},
            "seconds": self.seconds,
            "task": self.task,
            "where": self.where,
            "loss": self.loss,
            "data": self.data,
            "planes": [one.as_dict() for one in self.planes.values()],
            "slices": [one.as_dict() for one in self.slices.values()],
            "connections": [one.as_dict() for one in self.connections.values()],
            "matched": None if self.matched is None else self.matched.as_dict(),
            "walls": None if self.walls is None else self.walls.as_dict(),
            "escapes": None if self.escapes is None else self.escapes.as_dict(),
            "convexity": None if self.convexity is None else self.convexity.as_dict(),
            "recorded_against_measured": self.apart,
            "complete": self.complete,
            "notes": list(self.notes),
        }

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """All arrays by name: ``pca/x``, ``pca/y``, ``pca/losses``, ...; ``losses[y, x]``.

        A slice of the same kind as a plane has names of its own: ``random slice/x``, ...
        """
        found: dict[str, np.ndarray[Any, Any]] = {}
        for kind, one in self.slices.items():
            found |= one.arrays(f"{kind} slice" if kind in self.planes else None)
        for one in self.planes.values():
            found |= one.arrays()
        return found

    def save(self, folder: str | Path) -> Path:
        """Write ``landscape.json`` and, with the arrays, ``landscape.npz``.

        Args:
            folder: it is made where it is missing.

        Returns:
            The folder.

        Raises:
            BadStudy: it cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{ARRAYS}.part"
            with part.open("wb") as file:
                arrays: dict[str, Any] = {name.replace("/", "|"): x for name, x in self.arrays().items()}
                np.savez_compressed(file, **arrays)
            part.replace(folder / ARRAYS)
            text = json.dumps(plain(self.as_dict() | {"file": str(folder / ARRAYS)}), indent=1, allow_nan=False)
            (folder / JSON).write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise BadStudy(
                f"cannot write to {folder}: {error.strerror}", "give a folder that you may write to"
            ) from None
        return folder

    def plot(self, path: str | Path | None = None) -> Figure:
        """The planes as contours with the runs on them, the slices, and the ways to other solutions.

        Args:
            path: where to save the figure (``.png``, ``.svg``, ``.pdf``); None: nowhere.

        Raises:
            Missing: matplotlib is not installed.
        """
        from ..drawing import saved
        from .figure import draw

        return saved(draw(self), path, dpi=300)

    def __str__(self) -> str:
        lines = [
            f"{self.task}: the loss surface around {self.where}",
            f"loss {self.loss:.4g} there, on {self.data}",
            "",
        ]
        rows = [("surface", "points", "lowest", "time", "")]
        for one in (*self.planes.values(), *self.slices.values()):
            finite = one.losses[np.isfinite(one.losses)]
            low = f"{finite.min():.4g}" if finite.size else "none"
            size = " × ".join(map(str, one.losses.shape))
            rows.append((one.kind, size, low, duration(one.seconds), _said(one)))
        lines += [columns(rows)] if len(rows) > 1 else []
        found = [c.sentence for c in self.connections.values()]
        found += [self.matched.sentence] if self.matched is not None else []
        found += [f"Convex? {self.convexity.sentence}."] if self.convexity is not None else []
        if self.walls is not None:
            found += ["", "Walls", str(self.walls)]
        if self.escapes is not None:
            found += [str(self.escapes)]
        if self.apart is not None:
            same = f"differ by at most {self.apart:.1g} of their size" if self.apart else "are the same to the bit"
            found += [f"Losses recorded at {self.checkpoints} checkpoints and measured again {same}."]
        lines += ["", *found] if found else []
        lines += ["", *self.notes] if self.notes else []
        if not self.complete:
            lines += ["", "Interrupted: what was not evaluated is missing."]
        lines += [f"Written to {self.folder}."] if self.folder is not None else []
        return "\n".join(lines).rstrip()

    def __repr__(self) -> str:
        return str(self)


def _said(one: Slice) -> str:
    """What a table says of a slice or plane in a few words."""
    if one.explained is not None:
        off = max((mark.off for mark in one.marks), default=0.0)
        shares = " + ".join(f"{100 * share:.0f} %" for share in one.explained)
        return f"{shares} of the paths' variance; points at most {off:.3g} off"
    if not one.evaluated.all():
        return f"{100 * one.evaluated.mean():.0f} % evaluated, the rest within {100 * one.error:.2g} %"
    return ""
