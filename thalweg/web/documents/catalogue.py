"""Which studies there are, and the head of one: ``Home`` and ``Head``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import BadStudy
from ...store import Store
from ...study.again import command
from ...version import __version__
from .reading import RUN, TRACE, VERDICT, head_of, intact, number, read, runs_of

DEPTH = 3  # folders below those given in which studies are looked for
MOST = 500  # studies that are listed
AXES = ("init", "norm")  # whose finals make a table of the view of layers
FILES = {
    "verdict": VERDICT,
    "layers": "layers.json",
    "landscape": "landscape.json",
    "findings": "findings.json",
    "shift": "shift.json",
}
_PLAIN = (str, int, float)
STRANGE = re.compile(r"[^a-z0-9]+")


def home(folders: Sequence[str | Path], live: bool = True) -> dict[str, Any]:
    """The ``Home`` document: all studies in some folders, the newest first.

    Args:
        folders: studies, or what holds studies.
        live: whether a server stands behind the page.

    Example:
        >>> home([tmp])["studies"]
        []
    """
    studies, older = newest(folders)
    return {"version": __version__, "live": live, "studies": listed(studies), "older": older}


def entries(folders: Sequence[str | Path]) -> list[dict[str, Any]]:
    """The ``Entry`` of every study in some folders, the newest first; what cannot be read is left out."""
    return listed(found(folders))


def listed(studies: Mapping[str, Path]) -> list[dict[str, Any]]:
    """The ``Entry`` of each study, the newest first; one that cannot be read hides no other.

    Args:
        studies: their folders by their ids.
    """
    listed = []
    for id, folder in studies.items():
        with contextlib.suppress(BadStudy), intact(folder):
            listed.append(entry(folder, id))
    return sorted(listed, key=lambda one: -one["modified"])


def found(folders: Sequence[str | Path]) -> dict[str, Path]:
    """The studies in some folders, by their ids, the newest where there are many; links are not followed.

    Example:
        >>> found([tmp / "nothing"])
        {}
    """
    return newest(folders)[0]


def newest(folders: Sequence[str | Path]) -> tuple[dict[str, Path], int]:
    """The studies in some folders, by their ids, and how many older ones there are beyond `MOST`."""
    known = {slug(study): study for folder in folders for study in _below(Path(folder).resolve(), DEPTH)}
    if len(known) <= MOST:
        return known, 0
    kept = sorted(known, key=lambda id: written(known[id]), reverse=True)[:MOST]
    return {id: known[id] for id in kept}, len(known) - MOST


def written(study: Path) -> float:
    """When something was last written to a study, as far as its head and its trace tell."""
    times = [0.0]
    for name in ("study.json", TRACE):
        with contextlib.suppress(OSError):
            times.append((study / name).stat().st_mtime)
    return max(times)


def _below(folder: Path, depth: int) -> list[Path]:
    try:
        if (folder / "study.json").is_file():
            return [folder]
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
    return [study for path in inner if depth and path.name[:1] != "." for study in _below(path, depth - 1)]


def slug(folder: Path) -> str:
    """The id of a study: words of its name and a number of its place, which it does not tell.

    Example:
        >>> slug(Path("/home/me/digits 001")).rpartition("-")[0]
        'digits-001'
    """
    words = STRANGE.sub("-", folder.name.lower()).strip("-")[:40]
    return f"{words or 'study'}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}"


def status_of(folder: Path, head: dict[str, Any] | None = None) -> str:
    """``complete``, ``running`` while a process writes runs there, else ``interrupted``."""
    head = head_of(folder) if head is None else head
    if head.get("complete") or (folder / RUN).exists():
        return "complete"
    return "running" if Store(folder).held() else "interrupted"


def entry(folder: Path, id: str | None = None) -> dict[str, Any]:
    """The ``Entry`` of a study.

    Raises:
        BadStudy: there is none.
    """
    head, verdict, runs = head_of(folder), read(folder, VERDICT), runs_of(folder)
    judged = (verdict or {}).get("verdict") or {}

    has = {view: (folder / file).exists() for view, file in FILES.items()}
    has["layers"] = has["layers"] or has_experiments(head, verdict)
    files = [folder / name for name in ("study.json", TRACE, VERDICT)]
    return {
        "id": id or slug(folder),
        "name": folder.name,
        "task": _task(head),
        "status": status_of(folder, head),
        "runs": len(runs.ends),
        "metric": _words(judged.get("metric") or head.get("metric")),
        "sentence": _words(judged.get("sentence") or _said(folder)),
        "modified": max(int(file.stat().st_mtime) for file in files if file.exists()),
        "has": has,
    }


def has_experiments(head: dict[str, Any], verdict: dict[str, Any] | None) -> bool:
    """Whether a study compared initializations or normalizations and has finals."""
    return bool(set(AXES) & set(head.get("asked", {}).get("axes") or {})) and bool((verdict or {}).get("finalists"))


def _task(head: dict[str, Any]) -> str:
    return str(head["asked"]["task"] if "asked" in head else head.get("task", ""))


def _words(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _said(folder: Path) -> str | None:
    """How a single run ended."""
    done = read(folder, RUN)
    if done is None:
        return None
    outcome = done["outcome"]
    tail = f": {outcome['reason']}" if outcome.get("reason") else ""
    return f"The run {outcome['status']} at step {outcome['step']}{tail}."


def head(folder: Path, id: str | None = None) -> dict[str, Any]:
    """The ``Head`` document of a study or a run.

    Raises:
        BadStudy: there is neither.
    """
    own, verdict, runs = head_of(folder), read(folder, VERDICT), runs_of(folder)
    asked = own.get("asked", {})
    common = entry(folder, id)
    open_runs = [run for run in runs.starts if run not in runs.ends]
    seconds = (verdict or {}).get("cost", {}).get("seconds", runs.seconds)
    longest = max((start["steps"] for start in runs.starts.values()), default=None)
    return common | {
        "steps": (verdict or {}).get("steps") or own.get("steps") or longest,
        "budget": asked.get("budget"),
        "effort": asked.get("effort", ""),
        "environment": {str(k): v for k, v in own.get("environment", {}).items() if isinstance(v, _PLAIN)},
        "executor": own.get("executor"),
        "entrants": entrants_of(own, runs.starts.values()),
        "progress": {
            "runs": len(runs.ends),
            "running": len(open_runs) if common["status"] == "running" else 0,
            "diverged": sum(runs.status(run) == "diverged" for run in runs.ends),
            "samples": sum(int(end.get("samples", 0)) for end in runs.ends.values()),
            "seconds": number(float(seconds)),
        },
        "resume": command(folder, own),
        "goes_on": goes_on(own) and "asked" in own,
        "code": code_of(own),
    }


def entrants_of(head: dict[str, Any], starts: Any = ()) -> list[str]:
    """The names of what is compared, in the order in which it was asked; of a run, its optimizer."""
    asked = [str(name) for name, _ in head.get("asked", {}).get("field", [])]
    return list(dict.fromkeys([*asked, *(str(start["entrant"]) for start in starts)]))


def code_of(head: dict[str, Any]) -> str | None:
    """The file that runs when a study is trained on, as the study names it; None for a built-in task."""
    source = head.get("source")
    return source if isinstance(source, str) and ".py" in source else None


def goes_on(head: dict[str, Any]) -> bool:
    """Whether a study can be trained on from its folder: it says where its task is."""
    return isinstance(head.get("source"), str)


def missing(folder: Path, what: str, command: str) -> BadStudy:
    """The error for a document that is not there, with the command that makes it."""
    return BadStudy(f"{folder.name} has no {what} yet", f"thalweg {command}")
