"""The ``Landscape`` document: planes and slices of a surface with the runs on them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from ...errors import BadStudy
from ..confinement import ARRAYS as MOST
from ..confinement import opened
from .catalogue import missing
from .reading import DAMAGE, column, number, numbers, read

JSON, ARRAYS = "landscape.json", "landscape.npz"
PLANES = {
    "pca": "The two directions along which the runs moved most",
    "random": "Two random directions",
    "eigen": "The eigenvectors of the largest and the least curvature",
    "three": "Through the untrained, the trained and another trained model",
}
SLICES = {
    "line": "From the untrained to the trained weights",
    "random": "A random direction",
    "gradient": "Against the gradient",
    "top": "Along the largest curvature",
    "bottom": "Along the least curvature",
}


def document(folder: Path) -> dict[str, Any]:
    """The ``Landscape`` of a study.

    Raises:
        BadStudy: none was measured, or its arrays cannot be read.
    """
    whole = read(folder, JSON)
    if whole is None:
        raise missing(folder, "landscape", f"landscape {quote(str(folder))}")
    arrays = arrays_of(folder)
    return {
        "task": whole["task"],
        "where": whole["where"],
        "loss": number(whole["loss"]),
        "data": whole["data"],
        "planes": [_plane(one, arrays, whole["data"]) for one in whole["planes"]],
        "slices": [_slice(one, arrays) for one in whole["slices"]],
        "connections": [
            {"kind": c["kind"], "x": numbers(c["t"]), "values": numbers(c["losses"]), "sentence": c["sentence"]}
            for c in whole["connections"]
        ],
        "sentences": _sentences(whole),
        "notes": list(whole["notes"]),
        "complete": bool(whole["complete"]),
    }


def _sentences(whole: dict[str, Any]) -> list[str]:
    """What was found besides surfaces; what an earlier version wrote may have no sentence."""
    said = {part: (whole.get(part) or {}).get("sentence") for part in ("matched", "walls", "convexity", "escapes")}
    if said["convexity"]:
        said["convexity"] = f"Convex? {said['convexity']}"
    return [text if text.endswith(".") else f"{text}." for text in said.values() if text]


def arrays_of(folder: Path, named: Sequence[str] | None = None) -> dict[str, Any]:
    """The arrays by their names; nothing is unpickled, and no more is unpacked than a study may have.

    Args:
        folder: of the study.
        named: those that are wanted; None: all.

    Raises:
        BadStudy: the file is missing, damaged, too large, or holds something else than numbers.
    """
    try:
        with opened(folder, ARRAYS, MOST) as file:
            with zipfile.ZipFile(file) as packed:
                size = sum(part.file_size for part in packed.infolist())
            if size > MOST:
                raise BadStudy(f"{ARRAYS} is too large to be shown", "measure at a lower --resolution")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in (arrays.files if named is None else named)}
    except BadStudy:
        raise
    except (*DAMAGE, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise BadStudy(f"cannot read {folder / ARRAYS}: {error}", f"thalweg landscape {quote(str(folder))}") from None


def _plane(one: dict[str, Any], arrays: dict[str, Any], data: str) -> dict[str, Any]:
    kind, shape = one["kind"], tuple(one["shape"])
    x, y, values = (arrays.get(f"{kind}|{name}", np.zeros(0)) for name in ("x", "y", "losses"))
    runs: dict[str, list[dict[str, Any]]] = {}
    for mark in one["checkpoints"]:
        runs.setdefault(mark["run"], []).append(_point(mark))
    return {
        "kind": kind,
        "title": PLANES.get(kind, kind),
        "axes": list(one["axes"]),
        "x": column(x),
        "y": column(y),
        "values": column(values),
        "others": {name: column(arrays[key]) for name, key in _others(one, arrays, kind) if arrays[key].shape == shape},
        "data": data,
        "explained": None if one["variance_explained"] is None else numbers(one["variance_explained"]),
        "evaluated": int(one["evaluated"]),
        "error": number(one["interpolation_error"]) or 0.0,
        "paths": [{"run": run, "points": points} for run, points in runs.items()],
        "words": list(one["words"]),
        "complete": bool(one["complete"]),
    }


def _slice(one: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    kind, shape = one["kind"], tuple(one["shape"])
    stem = f"{kind} slice" if f"{kind} slice|losses" in arrays else kind
    values = arrays.get(f"{stem}|losses", np.zeros(0))
    mine = values.shape == shape  # a plane of the same name may have taken its place
    return {
        "kind": kind,
        "title": SLICES.get(kind, kind),
        "axis": one["axes"][0],
        "x": column(arrays[f"{stem}|x"]) if mine else [],
        "values": column(values) if mine else [],
        "others": {
            n: column(arrays[key]) for n, key in _others(one, arrays, stem) if mine and arrays[key].shape == shape
        },
        "marks": [_point(mark) for mark in one["checkpoints"]],
        "words": list(one["words"]),
    }


def _others(one: dict[str, Any], arrays: dict[str, Any], stem: str) -> list[tuple[str, str]]:
    """The other data that a surface was evaluated on, with the names of their arrays."""
    keys = [(name, f"{stem}|losses on {name}") for name in one["others"]]
    return [(name, key) for name, key in keys if key in arrays]


def _point(mark: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": numbers(mark["at"]),
        "step": mark["step"],
        "loss": number(mark["loss"]),
        "off": number(mark["off"]) or 0.0,
        "recorded": number(mark["recorded"]),
        "name": mark["name"],
    }
