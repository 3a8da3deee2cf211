"""The ``Findings`` document: what was diagnosed, the remedies as changes of the recipe, and what trying them gave."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Any

from .catalogue import goes_on, missing
from .reading import number, pair, read

FILE = "findings.json"


def document(folder: Path) -> dict[str, Any]:
    """The ``Findings`` of a study.

    Raises:
        BadStudy: nothing was diagnosed there.
    """
    own = read(folder, FILE)
    if own is None:
        raise missing(folder, "findings", f"diagnose {quote(str(folder))}")
    cost, here = own["cost"], goes_on(read(folder, "study.json") or {})
    return {
        "title": own["title"],
        "recipe": own["recipe"],
        "findings": [_finding(entry, here) for entry in own["findings"]],
        "measured": list(own["measured"]),
        "not_measured": [{"what": one["what"], "why": one["why"]} for one in own["not_measured"]],
        "notes": [str(note) for note in own.get("notes", ())],
        "cost": {key: number(cost[key]) for key in ("gradient_evaluations", "seconds")},
    }


def _finding(entry: dict[str, Any], here: bool) -> dict[str, Any]:
    remedy, tried = entry["remedy"], entry["outcome"]
    return {
        **{key: entry[key] for key in ("code", "severity", "where", "sentence")},
        "evidence": [
            {"name": name, **{key: number(one[key]) for key in ("value", "threshold", "error")}}
            for name, one in entry["evidence"].items()
        ],
        "confidence": number(entry["confidence"]),
        "remedy": None if remedy is None else {"kind": remedy["kind"], "text": remedy["text"], "diff": entry["diff"]},
        "can_try": here and bool(entry["can_try"]),
        "outcome": None if tried is None else outcome(tried),
        "page": page(entry["code"]),
    }


def outcome(tried: dict[str, Any]) -> dict[str, Any]:
    """What trying a remedy gave."""
    return {
        "before": number(tried["before"]),
        "after": number(tried["after"]),
        "interval": pair(tried["interval"]),
        "seeds": int(tried["seeds"]),
        "steps": None if tried.get("steps") is None else [int(n) for n in tried["steps"]],
        "helps": bool(tried["helps"]),
        "sentence": tried["sentence"],
    }


def page(code: str) -> str:
    """What a code means, in paragraphs: the text of ``docs/findings/CODE.md``; "" for an unknown one.

    Example:
        >>> page("lr-too-high").split(chr(10))[0]
        'lr-too-high: a smaller rate ends lower'
    """
    return _pages().get(code, "")


@functools.cache
def _pages() -> dict[str, str]:
    pages: dict[str, str] = json.loads(files("thalweg.web").joinpath("pages.json").read_text(encoding="utf-8"))
    return pages
