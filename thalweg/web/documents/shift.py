"""The ``ShiftView`` document: what moved, both surfaces side by side, and what helps."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from .catalogue import missing
from .reading import column, number, numbers, pair, read

FILE = "shift.json"
SIDES = {"old": "reference", "new": "incoming"}


def document(folder: Path) -> dict[str, Any]:
    """The ``ShiftView`` of a study.

    Raises:
        BadStudy: no new rows were looked at.
    """
    own = read(folder, FILE)
    if own is None:
        raise missing(folder, "look at new rows", f"shift {quote(str(folder))} --incoming FILE")
    inputs, surface = own["inputs"] or {"features": []}, own["surface"] or {}
    plane = surface.get("plane")
    return {
        "kind": own["kind"],
        "title": own["title"],
        "sentence": own["sentence"],
        "confidence": number(own["confidence"]),
        "rows": {side: int(own["rows"][side]) for side in ("reference", "incoming")},
        "features": [
            {"name": f["name"], "effect": number(f["effect"]), "p": number(f["adjusted"]), "alarm": bool(f["alarm"])}
            for f in inputs["features"]
        ],
        "planes": None if plane is None else {side: _plane(plane, side) for side in SIDES},
        "slices": [
            {
                "axis": one["axis"],
                "x": numbers(one["at_s"]),
                **{side: numbers(one[f"{name}_s"]) for side, name in SIDES.items()},
            }
            for one in surface.get("slices", ())
        ],
        "surface": list(own["said"]),
        "remedies": [
            {
                "name": one["name"],
                "loss": number(one["loss"]),
                "interval": pair(one["interval"]),
                "cost": _cost(one["cost"]),
                "old_loss": number(one["old_loss"]),
                "recommended": one["name"] == own["recommended"],
            }
            for one in own["remedies"]
        ],
        "notes": list(own["notes"]),
    }


def _cost(cost: dict[str, Any]) -> str:
    return (
        f"{float(cost['seconds']):.3g} s, {cost['rows']} labelled rows"
        if cost["rows"]
        else f"{float(cost['seconds']):.3g} s"
    )


def _plane(plane: dict[str, Any], side: str) -> dict[str, Any]:
    """One side's surface over the plane that both have."""
    name = SIDES[side]
    values = np.array(plane[f"{name}_pq"], dtype=np.float64).T  # rows go up
    rows = plane["rows"][0 if side == "old" else 1]
    return {
        "kind": "shift",
        "title": f"The surface over the {side} data",
        "axes": list(plane["axes"]),
        "x": numbers(plane["first_p"]),
        "y": numbers(plane["second_q"]),
        "values": column(values),
        "others": {},
        "data": f"{rows} rows of the {side} data",
        "explained": None,
        "evaluated": int(values.size),
        "error": 0.0,
        "paths": [{"run": point["name"], "points": _path(point, name)} for point in plane["points"]],
        "words": [f"Through the model and the ends of {plane['training']}."],
        "complete": True,
    }


def _path(point: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The way to a point; its loss is known at the end."""
    last = len(point["path_t2"]) - 1
    return [
        {
            "at": numbers(at),
            "step": step,
            "loss": number(point[name]) if step == last else None,
            "off": 0.0,
            "recorded": None,
            "name": f"{point['name']}, step {step}" if step else "θ*",
        }
        for step, at in enumerate(point["path_t2"])
    ]
