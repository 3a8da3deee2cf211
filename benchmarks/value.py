"""What a comparison is worth: its recommended recipe against untuned AdamW, on seeds and examples that nobody has seen.

For each built-in task, ``compare`` gets a budget of 60 runs (its seconds are said); then its recipe and AdamW at 1e-3 and at
3e-4 with a cosine schedule are trained on 5 fresh seeds and measured on the test set, or, where a task has none, on the
judge half. The difference is paired by seed. *Not worse*: its mean is not below -δ, against both, asked for on every task;
*surely not worse*: nor is the lower end of its interval. *Materially better*: the lower end is above δ, against both,
asked for on half of the tasks.
``python benchmarks/value.py [--json] [--quick] [--folder FOLDER]``; a task whose data are missing is left out, with a
word; the rows of a task are kept in ``--folder`` and not measured again.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from harness import Row, arguments, report
from training import Scores, scores

import thalweg as tw
from thalweg.errors import BadData
from thalweg.study.statistics import mean_interval

TASKS = ("digits", "mnist-mlp", "fashion-mlp", "fashion-cnn", "housing", "shakespeare")
QUICK = ("digits", "housing")
UNTUNED = {f"AdamW {lr:g}": tw.Recipe("adamw", lr=lr, schedule="cosine", weight_decay=0.01) for lr in (1e-3, 3e-4)}
SEEDS = range(7_000_000, 7_000_005)


def interval(ours: Scores, theirs: Scores) -> tuple[float, float]:
    """The 95 % interval of the mean difference of pairs; a run that did not finish decides."""
    if not np.isfinite(ours).all():
        return -math.inf, -math.inf
    return mean_interval(ours - theirs) if np.isfinite(theirs).all() else (math.inf, math.inf)


def worth(ours: Scores, theirs: Scores) -> float:
    """The mean difference."""
    return float(ours.mean() - theirs.mean()) if np.isfinite(ours).all() else -math.inf


def rows_of(name: str, budget: str) -> list[Row]:
    """Tune a task and compare; the cost, then a row for each way of not tuning."""
    task = tw.Task.load(name)
    with tempfile.TemporaryDirectory() as folder:
        study = tw.compare(task, budget=budget, folder=f"{folder}/study", quiet=True)
    best = UNTUNED["AdamW 0.001"] if study.best is None else study.best.recipe  # no recipe: keep yours
    delta, sign = study.verdict.smallest_difference, 1 if task.prepare().direction == "max" else -1
    found = scores(task, [best, *UNTUNED.values()], SEEDS)
    rows = [Row(what=f"{name}: seconds of tuning ({study.cost['runs']} runs)", ours=study.cost["seconds"], n=1)]
    for peer, recipe in UNTUNED.items():
        low, high = interval(found[best], found[recipe])
        rows.append(
            Row(
                what=f"{name}: {study.verdict.metric} of {best}", ours=sign * float(found[best].mean()),
                peer=sign * float(found[recipe].mean()), peer_name=peer, n=len(SEEDS), interval=(low, high),
                delta=delta, bar=-delta, holds=worth(found[best], found[recipe]) >= -delta,
            )
        )  # fmt: skip
    return rows


def kept_rows(name: str, budget: str, folder: Path | None) -> list[Row]:
    """As `rows_of`, or what a folder holds of it."""
    if folder is None:
        return rows_of(name, budget)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{budget.replace(' ', '-')}.json"
    if not file.exists():
        file.write_text(json.dumps([asdict(row) for row in rows_of(name, budget)]), encoding="utf-8")
    return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]


def main() -> None:
    options = arguments(__doc__, "where the rows of each task are kept; nothing: nowhere")
    rows: list[Row] = []
    better = never = surely = tasks = 0
    for name in QUICK if options.quick else TASKS:
        try:
            own = kept_rows(name, "60 runs", options.folder)
        except BadData as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        rows += own
        tasks += 1
        never += all(row.holds for row in own if row.peer is not None)
        surely += all(row.interval[0] >= -row.delta for row in own if row.interval and row.delta is not None)
        better += all(row.interval[0] > row.delta for row in own if row.interval and row.delta is not None)
    said = "tasks on which the recipe is {} untuned AdamW"
    rows.append(Row(what=said.format("not worse than"), ours=never, n=tasks, bar=tasks, holds=never == tasks))
    rows.append(Row(what=said.format("surely not worse than"), ours=surely, n=tasks))
    rows.append(
        Row(what=said.format("materially better than"), ours=better, n=tasks, bar=tasks / 2, holds=2 * better >= tasks)
    )
    report(options, rows)


if __name__ == "__main__":
    main()
