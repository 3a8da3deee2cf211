"""The grid that DeepOBS published for its quadratic-deep, 1 080 runs of 700 steps, trained as cohorts: time and table.

SGD, momentum (.99) and Adam, each at 36 constant rates from 1e-5 to 1e2 (5 a decade) and with 10 seeds, evaluated on the
test set after each of the 100 epochs. The 108 runs of a seed are one program: they share the order of the rows. The
programs run one after the other, or one a core, whichever is faster on their first steps; the time is that of all runs,
from the building of the models to the last evaluation.

Beside ours stand the published means and those of a plain NumPy transcription (`thalweg.tasks.quadratic` names the
source): the best rate, the final test loss there, the epochs until it is 87.703, and the lowest rate at which SGD
diverges, from which on all of its runs must diverge and below which none.
``python benchmarks/quadratic_deep.py [--json] [--quick]``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from harness import Row, arguments, median, report

import thalweg as tw
from thalweg import loop
from thalweg.stacked import Entry
from thalweg.study.executors import Emit, Executor, Processes, Record, Sequential, can_fork

EPOCHS, STEPS, TARGET, BAR = 100, 700, 87.703, 60.0
RATES = [float(f"{10 ** (k / 5):.3g}") for k in range(-25, 11)]
OPTIMIZERS: dict[str, dict[str, float]] = {"sgd": {}, "momentum": {"momentum": 0.99}, "adam": {}}


class Known(NamedTuple):
    """A rate, mean and standard deviation of the final test loss at it, median of the epochs to the target."""

    rate: float
    loss: float
    sd: float
    epochs: float


PUBLISHED = {
    "sgd": Known(0.0158, 87.40, 0.17, 55),
    "momentum": Known(2.51e-3, 87.05, 0.03, 69),
    "adam": Known(0.0398, 87.11, 0.02, 40),
}
TRANSCRIBED = {
    "sgd": Known(0.0158, 87.48, 0.20, 47.5),
    "momentum": Known(2.51e-3, 87.45, 0.15, 74),
    "adam": Known(0.0398, 87.23, 0.07, 41),
}
EDGE = 0.0398  # the first rate of the grid above 2/λmax = .0376


class Cell(NamedTuple):
    """One run of the grid."""

    optimizer: str
    rate: float
    seed: int
    steps: int

    def entry(self) -> Entry:
        """The member of a cohort that it is."""
        recipe = tw.Recipe(self.optimizer, lr=self.rate, schedule="constant", **OPTIMIZERS[self.optimizer])
        return Entry(recipe, self.seed, self.steps)


def grid(seeds: Sequence[int], steps: int) -> list[list[Cell]]:
    """The cells, a list for each seed."""
    return [[Cell(name, rate, seed, steps) for name in OPTIMIZERS for rate in RATES] for seed in seeds]


def ways(task: tw.Task) -> list[Executor[Cell]]:
    """In this process, and one program a core where that can be had."""

    def train(cells: Sequence[Cell], emit: Emit, deadline: float) -> list[Record]:
        epochs = EPOCHS * cells[0].steps // STEPS
        runs, _ = loop.run_cohort(task, [cell.entry() for cell in cells], [epochs] * len(cells))
        return [{"status": run.outcome.status, "losses": [e["loss"] for e in run.trace.evaluations]} for run in runs]

    several: list[Executor[Cell]] = [] if can_fork("cpu") else [Processes(train)]
    return [*several, Sequential(train)]


def timed(way: Executor[Cell], units: list[list[Cell]]) -> tuple[float, dict[Cell, Record]]:
    """Seconds of the units, and what came of their cells."""
    began = time.perf_counter()
    done = [pair for unit, ends in way.run(units, lambda _: None, math.inf) for pair in zip(unit, ends, strict=True)]
    return time.perf_counter() - began, dict(done)


def fastest(choices: list[Executor[Cell]]) -> Executor[Cell]:
    """The way whose tenth of the steps of a few seeds takes least, kernels loaded before."""
    found: dict[float, Executor[Cell]] = {}
    for way in choices:
        units = grid(range(max(each.workers for each in choices)), STEPS // 10)
        timed(way, [unit[::6] for unit in units])
        found[timed(way, units)[0]] = way
    return found[min(found)]


def epochs_to_target(losses: Sequence[float]) -> float:
    return next((float(epoch) for epoch, loss in enumerate(losses, 1) if loss <= TARGET), math.inf)


def table(found: dict[Cell, Record], seeds: int) -> list[Row]:
    """The best rate of each optimizer, by the mean of the final test loss, and the figures at the published one."""

    def row(what: str, ours: float, peer: float, peer_name: str) -> Row:
        return Row(what=what, ours=ours, peer=peer, peer_name=peer_name, ratio=peer / ours, n=seeds)

    rows = []
    for name in OPTIMIZERS:
        runs = {rate: [r for cell, r in found.items() if (cell.optimizer, cell.rate) == (name, rate)] for rate in RATES}
        whole = {rate: r for rate, r in runs.items() if all(run["status"] == "finished" for run in r)}
        finals = {rate: np.array([run["losses"][-1] for run in r]) for rate, r in whole.items()}
        best, rate = min(finals, key=lambda rate: float(finals[rate].mean())), PUBLISHED[name].rate
        what = f"best rate of {name} (final test loss {finals[best].mean():.2f}, sd {finals[best].std(ddof=1):.2f})"
        rows.append(row(what, best, rate, "published"))
        mean, sd = float(finals[rate].mean()), float(finals[rate].std(ddof=1))
        epochs = median([epochs_to_target(run["losses"]) for run in whole[rate]])
        for known, source in ((PUBLISHED[name], "published"), (TRANSCRIBED[name], "transcribed to NumPy")):
            at = f"{name} at {rate:g}"
            rows.append(row(f"final test loss of {at} (sd {sd:.2f})", mean, known.loss, f"{source} (sd {known.sd:g})"))
            rows.append(row(f"epochs to {TARGET}, {at}", epochs, known.epochs, source))
    return rows


def edge(found: dict[Cell, Record], seeds: int) -> Row:
    """The lowest rate at which all seeds of SGD diverge; NaN if some rate below it, or not every one above, has one."""
    diverged = {rate: set[bool]() for rate in RATES}
    for cell, run in found.items():
        if cell.optimizer == "sgd":
            diverged[cell.rate].add(run["status"] == "diverged")
    lowest = min((rate for rate in RATES if True in diverged[rate]), default=math.inf)
    clean = all(diverged[rate] == {rate >= lowest} for rate in RATES)
    return Row(
        what="lowest rate at which SGD diverges", ours=lowest if clean else math.nan, peer=EDGE,
        peer_name="2/λmax = .0376, the next of the grid", ratio=lowest / EDGE, n=seeds, bar=EDGE,
        holds=clean and lowest == EDGE,
    )  # fmt: skip


def main() -> None:
    options = arguments(__doc__)
    task = tw.Task.load("quadratic-deep")
    task.prepare()
    seeds = 2 if options.quick else 10
    choices = ways(task)
    try:
        way = fastest(choices)
        seconds, found = timed(way, grid(range(seeds), STEPS))
    finally:
        for each in choices:
            each.close()
    bar = BAR * len(found) / 1080
    report(
        options,
        [
            Row(what=f"seconds of {len(found)} runs, {way.name}", ours=seconds, n=1, bar=bar, holds=seconds <= bar),
            edge(found, seeds),
            *table(found, seeds),
        ],
    )


if __name__ == "__main__":
    main()
