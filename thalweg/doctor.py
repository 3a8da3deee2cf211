"""What this machine offers, for ``thalweg doctor``."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from .store import environment
from .tasks import TABLE

EXTRAS = {"plot": "matplotlib", "frame": "pandas", "lightning": "lightning", "transformers": "transformers"}


def document() -> dict[str, Any]:
    """Versions, cores, device, executors, extras, data: what works here, and why not what does not."""
    import torch

    from .study.executors import can_fork

    device = "cuda" if torch.cuda.is_available() else "cpu"
    here = environment()
    del here["command"]
    why = can_fork(device)
    data = os.environ.get("THALWEG_DATA")
    folder = Path(data) if data else None
    sets = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder and folder.is_dir() else []
    return {
        "environment": here,
        "executors": {"sequential": True, "processes": why is None, "why_not": why},
        "extras": {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()},
        "data": {"THALWEG_DATA": data, "sets": sets},
        "tasks": sorted(TABLE),
        "writable": {"here": os.access(Path.cwd(), os.W_OK), "temporary": os.access(tempfile.gettempdir(), os.W_OK)},
    }


def text(found: dict[str, Any]) -> str:
    """The same for a person."""
    here, data = found["environment"], found["data"]
    processes = "yes" if found["executors"]["processes"] else f"no: {found['executors']['why_not']}"
    missing = [name for name, there in found["extras"].items() if not there]
    sets = ", ".join(data["sets"]) or (
        "nothing found there" if data["THALWEG_DATA"] else "not set: only digits and quadratic-deep run"
    )
    return "\n".join(
        [
            f"thalweg    {here['thalweg']}, torch {here['torch']}, python {here['python']}, {here['system']}",
            f"machine    {here['cores']} cores, {here['threads']} torch threads, device {here['device']}",
            f"executors  sequential: yes; one process a core: {processes}",
            f"extras     {'all installed' if not missing else 'not installed: ' + ', '.join(missing)}",
            f"data       THALWEG_DATA: {sets}",
            f"tasks      {', '.join(found['tasks'])}",
            f"writable   this folder: {'yes' if found['writable']['here'] else 'no'}",
        ]
    )
