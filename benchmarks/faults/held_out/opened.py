"""Whether the third set was opened before: every run of it leaves a line, with a fingerprint of what was asked."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

import thalweg.diagnosis

FILE = Path(__file__).parent / "opened.jsonl"


def fingerprint() -> str:
    """Of the source of the diagnosis: probes, watch and thresholds."""
    root, found = Path(thalweg.diagnosis.__file__).parent, hashlib.blake2b(digest_size=8)
    for path in sorted(root.rglob("*.py")):
        found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.hexdigest()


def opened(cases: int, file: Path = FILE) -> str:
    """Note that so many cases are opened now, and say whether that is the first time.

    A set that was opened under another state of the diagnosis is no longer held out: what was seen may have changed it.
    """
    before = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    now = fingerprint()
    line = {"when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "cases": cases, "diagnosis": now}
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
    others = {one["diagnosis"] for one in before} - {now}
    if not before:
        return f"held-out cases, opened for the first time (diagnosis {now})"
    if not others:
        return f"held-out cases, opened {len(before)} times before, always under this diagnosis ({now})"
    return f"NO LONGER HELD OUT: opened {len(before)} times before, under {len(others)} other states of the diagnosis"
