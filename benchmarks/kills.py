"""Studies that are killed at a random moment and started again: do they end with the bits of an undisturbed one?

Each trial starts ``python -m thalweg compare`` on a small task (a network with dropout) with a budget in runs, kills its
group of processes with SIGKILL at a random moment of its study (half of them again after they were started again), lets
it end, and compares: the whole verdict but times, in the trace the result of every run and the losses of all its steps,
and the weights. A third each is done run after run, as cohorts, and one run a core.
``python benchmarks/kills.py [--json] [--quick]``.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import Row, arguments, report

from thalweg.store import Store, load_weights
from thalweg.study.executors import can_fork

TASK = """
import torch
from torch import nn
import thalweg as tw

g = torch.Generator().manual_seed(0)
x = torch.randn(400, 4, generator=g)
y = (x[:, 0] + 0.3 * torch.randn(400, generator=g) > 0).long()


def net():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))


task = tw.Task(model=net, train=(x, y), batch_size=8, epochs=2, name="small")
"""
TIMES = ("seconds", "at", "study", "executor")  # what tells the time, or where the study lies
AGAIN = 0.5  # the share of the killed comparisons that are killed once more


def start(folder: Path, executor: str) -> subprocess.Popen[bytes]:
    """The comparison, in a group of processes of its own, with its study begun."""
    folder.mkdir(exist_ok=True)
    (folder / "small.py").write_text(TASK, encoding="utf-8")
    command = [sys.executable, "-m", "thalweg", "compare", "small.py:task", "--field", "adamw,sgd", "--quiet"]
    command += ["--budget", "24 runs", "--executor", executor, "--folder", "study"]
    with (folder / "output.txt").open("wb") as file:
        where = {**os.environ, "OMP_NUM_THREADS": "1"}  # small batches on several threads are slower where others work
        process = subprocess.Popen(command, cwd=folder, env=where, stdout=file, stderr=file, start_new_session=True)
    while process.poll() is None and not (folder / "study").exists():
        time.sleep(0.001)
    return process


def finish(folder: Path, executor: str) -> float:
    """Start the comparison and wait for its end; the seconds that it took from the beginning of its study."""
    process = start(folder, executor)
    began = time.perf_counter()
    if process.wait():
        raise SystemExit(f"{executor}: {(folder / 'output.txt').read_text(encoding='utf-8')}")
    return time.perf_counter() - began


def killed(folder: Path, executor: str, after: float) -> bool:
    """Start the comparison and kill it after some seconds; False where it has ended before."""
    process = start(folder, executor)
    time.sleep(after)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def bits(document: Any) -> Any:
    """A document without what tells the time."""
    if isinstance(document, dict):
        return {k: bits(v) for k, v in document.items() if k not in TIMES}
    return [bits(v) for v in document] if isinstance(document, list) else document


def content(folder: Path) -> tuple[Any, ...]:
    """The verdict, every run's end and the losses of its steps, and the best weights.

    A run that was begun twice has some steps twice: with another loss it would have two.
    """
    store = Store(folder / "study")
    ends: dict[str, Any] = {}
    losses: dict[tuple[str, int], set[float]] = {}
    for record in store.records():
        if record["kind"] == "end":
            ends[record["run"]] = bits(record)
        elif record["kind"] == "steps":
            for step, loss in zip(record["step"], record["loss"], strict=True):
                losses.setdefault((record["run"], step), set()).add(loss)
    weights = load_weights(store.folder / "model.safetensors")
    return bits(store.read("verdict.json")), ends, losses, {k: v.tolist() for k, v in weights.items()}


def trials(folder: Path, executor: str, count: int, rng: random.Random) -> tuple[int, int]:
    """How many of the comparisons that were killed have ended like an undisturbed one, and the kills in all."""
    finish(folder / "compiled", executor)
    seconds = finish(folder / "whole", executor)
    undisturbed = content(folder / "whole")
    equal = kills = 0
    for trial in range(count):
        own = folder / f"trial-{trial}"
        while not killed(own, executor, rng.uniform(0, seconds)):
            shutil.rmtree(own)
        kills += 1
        while rng.random() < AGAIN:
            kills += killed(own, executor, rng.uniform(0, seconds))
        finish(own, executor)
        equal += content(own) == undisturbed
    return equal, kills


def main() -> None:
    options = arguments(__doc__)
    executors = ["sequential", "cohorts", *([] if can_fork("cpu") else ["processes"])]
    count, rows, rng = 4 if options.quick else 40, [], random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        for i, executor in enumerate(executors):
            n = len(range(i, count, len(executors)))
            folder = Path(temporary) / executor
            folder.mkdir()
            equal, kills = trials(folder, executor, n, rng)
            what = f"comparisons that end with the same bits after {kills} kills, {executor}"
            rows.append(Row(what=what, ours=equal, n=n, bar=n, holds=equal == n))
    report(options, rows)


if __name__ == "__main__":
    main()
