"""The command that measures the surface: ``landscape``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ..errors import BadOption
from .app import Json, Quiet, app, tell


def _names(text: str) -> list[str]:
    return [] if text in ("", "none") else [part.strip() for part in text.split(",")]


@app.command
def landscape(
    study: Path,
    *,
    task: str | None = None,
    planes: str = "pca,random",
    slices: str = "line,random,gradient,top,bottom",
    both: Annotated[bool, Parameter(negative="")] = False,
    batches: int = 0,
    connect: Annotated[bool, Parameter(negative="")] = False,
    walls: Annotated[bool, Parameter(negative="")] = False,
    convex: int = 0,
    resolution: int = 41,
    rows: int = 2000,
    runs: int = 3,
    norm: str | None = None,
    refine: bool = True,
    seed: int = 0,
    save: Path | None = None,
    plot: Path | None = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure the loss surface around a study's best model, with its runs on it.

    Args:
        study: its folder.
        task: what was compared, where the study does not know: a built-in name, or path/to/file.py:task.
        planes: some of pca, random, eigen, three, separated by commas; none.
        slices: some of line, random, gradient, top, bottom, separated by commas; none.
        both: evaluate planes on validation rows too, as slices always are.
        batches: lay so many mini-batches over the first plane.
        connect: the ways to another solution: straight, with its units matched, curved.
        walls: the walls around the model, and which rates leave it.
        convex: try so many chords.
        resolution: points along each axis.
        rows: of training data, and of validation data, at most.
        runs: how many finalists are shown.
        norm: batch norms go by each batch's statistics (batch) or by the trained model's (running).
        refine: leave out points where the surface is nearly straight.
        seed: of the random directions.
        save: another folder than the study's for landscape.json and landscape.npz.
        plot: draw it to this file (.png, .svg, .pdf).
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    from ..landscapes import landscape as measure

    if not study.is_dir():
        raise BadOption(f"landscape: no folder {study}", "give the folder that thalweg compare printed")
    own: dict[str, Any] = {
        "both": both, "batches": batches, "connect": connect, "walls": walls, "convex": convex, "resolution": resolution,
        "rows": rows, "runs": runs, "norm": norm, "refine": refine, "seed": seed, "folder": save, "quiet": quiet,
    }  # fmt: skip
    found = measure(study, task=task, planes=_names(planes), slices=_names(slices), **own)
    tell(found, plot, json_)
    return 0
