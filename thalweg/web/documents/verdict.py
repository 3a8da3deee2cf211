"""The ``Verdict`` document: who won, by how much, how sure that is, and the code to paste."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Any

from ...study.again import command
from ...study.borders import Border
from ...study.horizons import Trend
from ...study.table import doubts
from ...study.words import SHARES
from .catalogue import missing
from .reading import VERDICT, head_of, number, numbers, pair, read, text

SCRIPTS = (("PyTorch", "plain.py"), ("Hugging Face Trainer", "trainer.py"), ("Lightning", "lightning.py"))


def document(folder: Path) -> dict[str, Any]:
    """The ``Verdict`` of a study.

    Raises:
        BadStudy: there is none yet.
    """
    whole = read(folder, VERDICT)
    if whole is None:
        head = head_of(folder)
        task = head["asked"]["task"] if "asked" in head else head.get("task", "TASK")
        raise missing(
            folder, "verdict", command(folder, head).removeprefix("thalweg ") or f"compare {quote(str(task))}"
        )
    verdict, best = whole["verdict"], whole["best"]
    delta = float(verdict["smallest_difference"])
    marked = [(entry["name"], _border(entry), _trend(entry)) for entry in whole["finalists"]]
    test = (best or {}).get("test")
    return {
        "sentences": list(verdict["sentences"]),
        "winner": verdict["winner"],
        "best": verdict["best"],
        "equivalent": list(verdict["equivalent"]),
        "metric": verdict["metric"],
        "unit": "share" if verdict["metric"] in SHARES else "number",
        "direction": verdict["direction"],
        "smallest_difference": number(delta),
        "level": number(verdict["level"]),
        "methods": verdict["methods"],
        "finalists": [_finalist(entry) for entry in whole["finalists"]],
        "not_tried": list(whole["not_tried"]),
        "notes": list(whole["notes"]),
        "footnotes": doubts(marked, delta, whole),
        "cost": {key: number(whole["cost"][key]) for key in ("runs", "samples", "seconds")},
        "test": None if test is None else {
            "metric": test["metric"], "models": test["models"], "mean": number(test["mean"]), "interval": pair(test["interval"]),
        },
        "code": [] if best is None else _code(folder, best, whole.get("steps")),
        "best_so_far": _best_so_far(whole),
    }  # fmt: skip


def _border(entry: dict[str, Any]) -> Border | None:
    return Border(**entry["border"]) if entry.get("border") else None


def _trend(entry: dict[str, Any]) -> Trend | None:
    return Trend.of_dict(entry["trend"]) if entry.get("trend") else None


def border_sentence(entry: dict[str, Any]) -> str | None:
    """What is to be said of a finalist's rate at the end of those tried, None where it is inside."""
    border = _border(entry)
    return None if border is None else border.sentence(entry["name"], float(entry["recipe"].get("lr") or 0.0))


def _finalist(entry: dict[str, Any]) -> dict[str, Any]:
    difference = entry["difference"]
    return {
        "name": entry["name"],
        "optimizer": entry["optimizer"],
        "recipe": entry["recipe"],
        "seeds": list(entry["seeds"]),
        "scores": numbers(entry["scores"]),
        "mean": number(entry["mean"]),
        "interval": pair(entry["interval"]),
        "difference": {
            "mean": number(difference["mean"]),
            "interval": pair(difference["interval"]),
            "p_better": number(difference["p_better"]),
            "decision": difference["decision"],
        },
        "baseline": bool(entry["baseline"]),
        **{key: number(entry[key]) for key in ("samples_to_target", "lr_robustness_decades", "lr_edge")},
        "diverged": int(entry["diverged"]),
        "seconds": number(entry["seconds"]),
        "border": border_sentence(entry),
        "calibration": {k: number(v) for k, v in entry["calibration"].items()} or None,
        "gradient_evaluations": int(entry["gradient_evaluations"]),
        "bytes_per_parameter": entry["bytes_per_parameter"],
    }


def _code(folder: Path, best: dict[str, Any], steps: Any) -> list[dict[str, str]]:
    """The recipe by thalweg, in plain PyTorch, for a Trainer and for Lightning."""
    options = ", ".join(f"{name}={value!r}" for name, value in best["recipe"].items())
    made = f"recipe = thalweg.Recipe({options})\noptimizer, schedule = recipe.build(model, steps={steps})"
    kept = [(label, text(folder, name)) for label, name in SCRIPTS]
    code = [("thalweg", f"import thalweg\n\n{made}\n"), *kept]
    return [{"label": label, "text": script} for label, script in code if script is not None]


def _best_so_far(whole: dict[str, Any]) -> dict[str, Any] | None:
    """The best on ``select`` as it came, each gain after all that was spent until then, and the band of random orders."""
    band, series = whole.get("best_so_far_band") or [], whole.get("best_so_far") or []
    if not band or not series:
        return None
    return {
        "runs": [entry["runs"] for entry in band],
        "samples": numbers(entry["samples"] for entry in band),
        "low": numbers(entry["low"] for entry in band),
        "high": numbers(entry["high"] for entry in band),
        "came": {
            "runs": [gain["full_runs"] for gain in series],
            "samples": numbers(gain["samples"] for gain in series),
            "value": numbers(gain["value"] for gain in series),
        },
    }
