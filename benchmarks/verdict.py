"""How often the verdict is wrong on real training runs: A/A comparisons and replication of headlines, on the digits.

A bank of real runs (a few recipes, many seeds, one process a core) stands in for training: each simulated comparison
draws its runs from the bank without replacement and goes through the whole finals protocol with its looks. In an A/A
comparison all entrants draw from the same recipe, so that every headline is false; a replication compares the winner
with its rivals again on runs that the headline has not seen.
``python benchmarks/verdict.py [--json] [--quick]``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
from harness import Row, arguments, report

import thalweg as tw
from thalweg.study.executors import Processes
from thalweg.study.jobs import Job, Result, Scale, winner
from thalweg.study.ladder import protocol
from thalweg.study.plan import Budget, Entrant, Purse
from thalweg.study.work import of_task

RECIPES = (
    tw.Recipe("momentum", lr=0.3),
    tw.Recipe("adamw", lr=0.03),
    tw.Recipe("adagrad", lr=0.1),
    tw.Recipe("sgd", lr=0.3),
)
ENTRANTS = 3


def bank(task: tw.Task, seeds: int) -> dict[str, list[float]]:
    """Accuracy on the judge half for every recipe and seed."""
    steps = task.prepare().steps
    jobs = [Job("final", recipe.id, recipe, seed, steps) for recipe in RECIPES for seed in range(seeds)]
    found: dict[str, list[float]] = {recipe.id: [] for recipe in RECIPES}
    pool: Processes[Job] = Processes(of_task(task, None))
    try:
        for [job], [record] in pool.run([[job] for job in jobs], lambda record: None, math.inf):
            found[job.entrant].append(
                next(e for e in reversed(record["evaluations"]) if e["split"] == "judge")["accuracy"]
            )
    finally:
        pool.close()
    return found


def comparison(draws: list[Iterator[float]], rows: int) -> tuple[int | None, list[float]]:
    """One comparison through the finals; the winner's row, or None, and the means."""
    field = [Entrant(f"e{i}", tw.Recipe("sgd", lr=1.0 + i), None, baseline=i == 0) for i in range(len(draws))]
    steps = protocol(field, Scale(100, 100, 1, resolution=1 / rows), Purse(Budget.of(None), time.monotonic()))
    answer: dict[Job, Result] | None = None
    while True:
        try:
            jobs = next(steps) if answer is None else steps.send(answer)
        except StopIteration as end:
            at = winner(end.value.finalists, end.value.level, 1 / rows)
            return at, [float(np.mean([r.judge for r in f.results.values()])) for f in end.value.finalists]
        answer = {}
        for job in jobs:
            value = next(draws[int(job.entrant[1:])]) if job.phase == "final" else 0.0
            answer[job] = Result("finished", value, value)


def main() -> None:
    options = arguments(__doc__)
    task = tw.Task.load("digits")
    rows = task.prepare().judge_rows
    seeds, trials = (100, 10) if options.quick else (200, 40)
    runs = bank(task, seeds)
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(trials):
        mixed = rng.permutation(runs[RECIPES[0].id])
        false += comparison([iter(part) for part in np.array_split(mixed, ENTRANTS)], rows)[0] is not None
    found = kept = 0
    for _ in range(trials // 2):
        mixed = [rng.permutation(runs[recipe.id]) for recipe in RECIPES]
        at, _ = comparison([iter(part[: seeds // 2]) for part in mixed], rows)
        if at is not None:
            again = [float(np.mean(part[seeds // 2 :])) for part in mixed]
            found += 1
            kept += int(np.argmax(again)) == at
    report(
        options,
        [
            Row(
                what="false headlines in A/A comparisons on digits",
                ours=false,
                n=trials,
                bar=trials / 8,
                holds=false <= trials / 8,
            ),
            Row(what="headlines found among four recipes on digits", ours=found, n=trials // 2),
            Row(
                what="share of them that hold on new seeds",
                ours=kept / found if found else math.nan,
                n=found,
                bar=0.95,
                holds=not found or kept / found >= 0.95,
            ),
        ],
    )


if __name__ == "__main__":
    main()
