"""The commands that keep what can be seen of a study: ``layers``, ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import BadOption
from .app import Json, Quiet, app, show


@app.command
def layers(study: Path, *, task: str | None = None, looks: int = 40, json_: Json = False, quiet: Quiet = False) -> int:
    """What every layer does over a run: activations, dead units, gradients, updates. Written into the study's folder.

    Args:
        study: folder of a study, whose best recipe is trained once more, or of a run.
        task: what was trained, where the study does not know: a built-in name, or path/to/file.py:task.
        looks: how often it is looked at, at most.
        json_: one JSON document on standard output.
        quiet: no progress on standard error.
    """
    from ..layering import layers as measure

    if not study.is_dir():
        raise BadOption(f"layers: no folder {study}", "give the folder that thalweg compare printed")
    found = measure(study, task=task, looks=looks, quiet=quiet)
    if json_:
        show(found.as_dict() | {"file": str(study / "layers.json")})
    else:
        print(found)
    return 0


@app.command
def report(
    *study: Path,
    output: Annotated[Path, Parameter(alias="-o")] = Path("report.html"),
    json_: Json = False,
) -> int:
    """Write studies as one file, which a browser opens from disk without a network.

    Args:
        study: folder of a study, or of several.
        output: the file.
        json_: one JSON document on standard output.
    """
    from ..report import report as write
    from ..web.documents import catalogue

    file = write(study, output)
    listed = catalogue.entries(study)
    size = file.stat().st_size
    if json_:
        kept = [{"name": e["name"], "task": e["task"], "status": e["status"], "runs": e["runs"]} for e in listed]
        show({"file": str(file), "bytes": size, "studies": kept})
        return 0
    for one in listed:
        if one["status"] != "complete":
            print(f"{one['name']} is not finished ({one['status']}): the report shows what there is, and says so.")
    print(f"{file}   {size / 1e6:.1f} MB, {len(listed)} {'study' if len(listed) == 1 else 'studies'}")
    return 0
