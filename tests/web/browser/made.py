"""Studies as files: of any size and in any state, for looking at."""

import json
from pathlib import Path

import numpy as np

HEAD = {
    "format": 1,
    "asked": {"task": "toy", "fingerprint": "0", "baseline": None, "field": [["adamw", {"optimizer": "adamw"}]], "axes": {},
              "budget": None, "effort": "quick", "seeds": None, "delta": None},
    "source": "digits",
    "environment": {"thalweg": "0.1.0", "torch": "2.13.0", "python": "3.11.7", "system": "Linux", "cores": 2, "command": "test"},
}  # fmt: skip
CHUNK = 100


def head(folder: Path, **more) -> Path:
    folder.mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "study.json").write_text(json.dumps(HEAD | more))
    return folder


def lines(run: str, entrant: str, seed: int, losses, status: str | None = "finished", phase: str = "final"):
    """The records of a run with these losses; without a status it has not ended."""
    recipe = {"optimizer": "adamw", "lr": 0.001}
    start = {"phase": phase, "entrant": entrant, "recipe": recipe, "seed": seed, "steps": len(losses)}
    yield {"run": run, "kind": "start", **start, "at": 0.0}
    steps = np.arange(1, len(losses) + 1)
    for low in range(0, len(losses), CHUNK):
        part = slice(low, low + CHUNK)
        columns = {
            "step": steps[part].tolist(),
            "samples": (64 * steps[part]).tolist(),
            "seconds": np.round(0.001 * steps[part], 6).tolist(),
            "loss": [x if np.isfinite(x) else str(x) for x in np.round(losses[part], 8).tolist()],
            "lr": [0.001] * len(steps[part]),
            "grad_norm": [1.0] * len(steps[part]),
        }
        yield {"run": run, "kind": "steps", **columns}
    if status:
        outcome = {"status": status, "step": len(losses), "where": None, "reason": None}
        ended = {"steps_done": len(losses), "samples": 64 * len(losses), "seconds": 0.001 * len(losses), "model": None}
        yield {"evaluations": [], **ended, "run": run, "kind": "end", **start, "outcome": outcome, "at": 1.0}


def append(folder: Path, records) -> None:
    with (folder / "trace.jsonl").open("a") as file:
        for record in records:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def falling(points: int, seed: int) -> np.ndarray:
    """A loss that falls with noise."""
    noise = np.random.default_rng(seed)
    return 2.3 / np.sqrt(1 + np.arange(points) / 50) * np.exp(0.1 * noise.normal(size=points))
