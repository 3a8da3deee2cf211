"""What the benchmarks that train share: recipes on several seeds, and how good they are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import thalweg as tw
from thalweg import lengths, loop
from thalweg.stacked import Entry
from thalweg.study.executors import Emit, Executor, Processes, Record, Sequential, Work, can_fork

Run = tuple[tw.Recipe, int]
Scores = npt.NDArray[np.float64]


def executor(task: tw.Task, work: Work[Any]) -> Executor[Any]:
    """One process a core, where that can be had."""
    return Sequential(work) if can_fork(task.prepare().device.type) else Processes(work)


def runs(task: tw.Task, split: str, wanted: Sequence[Run]) -> Iterator[tuple[Run, float]]:
    """Train each recipe and seed; yields the metric on a split, larger as better, of a run that did not finish -inf."""
    data = task.prepare()
    feed, sign = getattr(data, split), 1 if data.direction == "max" else -1

    def train(unit: Sequence[Run], emit: Emit, deadline: float) -> list[Record]:
        entries = [Entry(recipe, seed, lengths.horizon(task, recipe)) for recipe, seed in unit]
        trained, _ = loop.run_cohort(task, entries, [0] * len(unit), splits=())
        ends = [r.outcome.status == "finished" and task.evaluate(r.model, feed)[data.metric] for r in trained]
        return [{"score": -math.inf if end is False else sign * end} for end in ends]

    way = executor(task, train)
    try:
        for [run], [end] in way.run([[run] for run in wanted], lambda _: None, math.inf):
            yield run, end["score"]
    finally:
        way.close()


def scores(task: tw.Task, recipes: Sequence[tw.Recipe], seeds: Sequence[int]) -> dict[tw.Recipe, Scores]:
    """Of each recipe a number a seed, on the test set, or, where a task has none, on the judge half."""
    split = "judge" if task.prepare().test is None else "test"
    done = dict(runs(task, split, [(recipe, seed) for seed in seeds for recipe in recipes]))
    return {recipe: np.array([done[recipe, seed] for seed in seeds]) for recipe in recipes}


def kept(task: tw.Task, split: str, wanted: Sequence[Run], file: Path) -> dict[Run, float]:
    """What `runs` finds, kept in a file of a line a run: what it holds is not trained again."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    known: dict[Any, float] = {
        (r["task"], r["split"], r["recipe"], r["seed"]): r["score"] for r in map(json.loads, lines)
    }
    key = {run: (task.fingerprint(), split, run[0].id, run[1]) for run in wanted}
    with file.open("a", encoding="utf-8") as out:
        for run, score in runs(task, split, [run for run in wanted if key[run] not in known]):
            known[key[run]] = score
            record = dict(zip(("task", "split", "recipe", "seed"), key[run], strict=True)) | {"score": score}
            print(json.dumps(record), file=out, flush=True)
    return {run: known[key[run]] for run in wanted}
