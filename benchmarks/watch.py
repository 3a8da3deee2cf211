"""What watching costs: plain training loops with and without ``tw.watch`` around them, at its default.

The loops are those of the tutorials (a DataLoader, torch.optim.Adam) on the built-in tasks; both ways train the same
network on the same rows, in alternating runs in one process. A ratio is that of the times of a pair, with over without: of
the time on the wall, and of the processor time, which what else the machine does disturbs less; the median of the pairs is
printed with its interval. Beside it what the watch measured itself to take.
The last row is for reference and was not measured here: the published cost of Cockpit's economy configuration, tracking
every 16th step, for an MLP on a CPU (Schneider, Dangel, Hennig: Cockpit, NeurIPS 2021).
``python benchmarks/watch.py [--json] [--quick]``
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass

import torch
from harness import Row, arguments, median, report
from scipy import stats
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import thalweg as tw
from thalweg.diagnosis.watching import watch
from thalweg.errors import BadData

BAR = 1.05
PUBLISHED = 5.2
STEPS = {"digits": 1260, "fashion-mlp": 1000, "fashion-cnn": 250, "shakespeare": 100}  # of a run


@dataclass(frozen=True)
class Time:
    """Of a run: seconds on the wall and of the processor, and the share of them that the watch says it took."""

    wall: float
    processor: float
    own: float


def timed(task: tw.Task, seed: int, steps: int, watched: bool) -> Time:
    """So many steps."""
    torch.manual_seed(seed)
    rows = task.prepare().train
    loader = DataLoader(TensorDataset(rows.inputs, rows.targets), batch_size=task.batch_size, shuffle=True)
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters())
    left = steps
    began = time.perf_counter(), time.process_time()
    with watch(model, optimizer) if watched else contextlib.nullcontext() as seen:
        while left > 0:
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x).flatten(0, -2), y.flatten()).backward()
                optimizer.step()
                left -= 1
                if left == 0:
                    break
    wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
    return Time(wall, processor, seen.cost["share"] if seen is not None else 0.0)


def interval(ratios: list[float]) -> str:
    """Of their median, at 95 % or as near below as so many pairs allow: two of them, by their ranks."""
    n, ordered = len(ratios), sorted(ratios)
    k = next((k for k in range(n // 2, -1, -1) if 2 * stats.binom.cdf(k, n, 0.5) <= 0.05), 0)
    return f"[{ordered[k]:.3f}, {ordered[n - 1 - k]:.3f}]"


def rows_of(name: str, quick: bool) -> list[Row]:
    """Alternating runs of a task."""
    task, steps, rounds = tw.Task.load(name), STEPS[name] // (3 if quick else 1), 5 if quick else 15
    for watched in (False, True):
        timed(task, 0, min(steps, 50), watched)  # warm
    plain, seen = list[Time](), list[Time]()
    for seed in range(rounds):
        for watched in (False, True) if seed % 2 else (True, False):
            (seen if watched else plain).append(timed(task, seed, steps, watched))
    found = []
    for kind in ("wall", "processor"):
        without, within = ([getattr(t, kind) for t in times] for times in (plain, seen))
        ratios = [b / a for a, b in zip(without, within, strict=True)]
        found.append(
            Row(
                what=f"{name}: ms a step under watch, {kind} time, ratio {interval(ratios)}",
                ours=1e3 * median(within) / steps,
                peer=1e3 * median(without) / steps,
                peer_name="the same loop without",
                ratio=median(ratios),
                n=rounds,
                bar=BAR,
                holds=median(ratios) <= BAR,
            )
        )
    own = median([t.own for t in seen])
    return [*found, Row(what=f"{name}: share of the time by the watch's own clock", ours=own, n=rounds)]


def main() -> None:
    options = arguments(__doc__)
    rows = []
    for name in STEPS:
        try:
            rows += rows_of(name, options.quick)
        except BadData as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    published = Row(
        what="time over that of plain training, MLP on a CPU",
        ours=max(row.ratio or 0.0 for row in rows[:5]),
        peer=PUBLISHED,
        peer_name="Cockpit, economy, every 16th step, as published (not measured here)",
        n=0,
    )
    report(options, [*rows, published])


if __name__ == "__main__":
    main()
