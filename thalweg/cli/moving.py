"""The commands that ask what moved: ``shift``."""

from __future__ import annotations

from pathlib import Path

from .app import Json, Quiet, app, tell


@app.command
def shift(
    study: Path,
    *,
    incoming: str,
    reference: str | None = None,
    task: str | None = None,
    remedies: bool = True,
    plot: Path | None = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> int:
    """Did the data move since a model was trained, and what helps? Exits with 1 where something moved that matters.

    The answer is kept in the study's folder as shift.json, for the page.

    Args:
        study: folder of a study or of a run: what thalweg compare or thalweg train printed.
        incoming: file of new rows, with or without labels: .csv, .npz, idx images; file.csv:column names the target.
        reference: file of rows to compare with; nothing: the half of the validation data that no choice has seen.
        task: the task of the study, where it does not say: name of a built-in task, or path/to/file.py:task.
        remedies: try what helps on one half of the new rows, and measure it on the other.
        plot: draw both surfaces and the remedies to this file (.png, .svg, .pdf).
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    from ..shifts import shift as look
    from ..shifts.keeping import keep

    found = look(study, incoming=incoming, reference=reference, task=task, remedies=remedies, quiet=quiet)
    keep(found, study)
    tell(found, plot, json_)
    return int(found.matters)
