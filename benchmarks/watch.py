"""What watching costs: plain training loops with and without ``tw.watch`` around them, at its default.

The loops are those of the tutorials (a DataLoader, torch.optim.Adam) on the built-in tasks; both ways train the same
network on the same rows, in alternating runs in one process. A ratio is that of the times of a pair, with over without.
The last row is for reference and was not measured here: the published cost of Cockpit's economy configuration, tracking
every 16th step, for an MLP on a CPU (Schneider, Dangel, Hennig: Cockpit, NeurIPS 2021).
``python benchmarks/watch.py [--json] [--quick]``
"""

from __future__ import annotations

import contextlib
import time

import torch
from harness import Row, arguments, median, report
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import thalweg as tw
from thalweg.diagnosis.watching import watch

BAR = 1.05
PUBLISHED = 5.2
STEPS = {"digits": 1260, "fashion-mlp": 1000, "fashion-cnn": 250, "shakespeare": 100}  # of a run


def seconds(task: tw.Task, seed: int, steps: int, watched: bool) -> float:
    """Time of so many steps."""
    torch.manual_seed(seed)
    rows = task.prepare().train
    loader = DataLoader(TensorDataset(rows.inputs, rows.targets), batch_size=task.batch_size, shuffle=True)
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters())
    left = steps
    began = time.perf_counter()
    with watch(model, optimizer) if watched else contextlib.nullcontext():
        while left > 0:
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x).flatten(0, -2), y.flatten()).backward()
                optimizer.step()
                left -= 1
                if left == 0:
                    break
    return time.perf_counter() - began


def row(name: str, quick: bool) -> Row:
    """Alternating runs of a task."""
    task, steps, rounds = tw.Task.load(name), STEPS[name] // (3 if quick else 1), 3 if quick else 9
    for watched in (False, True):
        seconds(task, 0, min(steps, 50), watched)  # warm
    times: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(rounds):
        for watched in (False, True) if seed % 2 else (True, False):
            times[watched].append(seconds(task, seed, steps, watched))
    ratio = median([b / a for a, b in zip(times[False], times[True], strict=True)])
    return Row(
        what=f"milliseconds a step of {name} under watch",
        ours=1e3 * median(times[True]) / steps,
        peer=1e3 * median(times[False]) / steps,
        peer_name="the same loop without",
        ratio=ratio,
        n=rounds,
        bar=BAR,
        holds=ratio <= BAR,
    )


def main() -> None:
    options = arguments(__doc__)
    rows = [row(name, options.quick) for name in STEPS]
    published = Row(
        what="time over that of plain training, MLP on a CPU",
        ours=max(row.ratio or 0.0 for row in rows[:2]),
        peer=PUBLISHED,
        peer_name="Cockpit, economy, every 16th step, as published (not measured here)",
        n=0,
    )
    report(options, [*rows, published])


if __name__ == "__main__":
    main()
