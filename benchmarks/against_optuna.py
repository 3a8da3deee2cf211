"""Optimizer, rate and weight decay of fashion-mlp: how soon is ours as good as Optuna's recipe, and how good is that?

Optuna (TPE and Hyperband over epochs) tunes for T = 10 minutes with our loop as its objective, one worker a core. Then
comparisons with budgets of T/5, T/2 and T, each from the beginning, until the mean over 5 fresh seeds of the recipe on
the test set is not lower than that of Optuna's by more than .2 points; the seconds of all of them count. The regret of
both is what they lose against the best of a grid: all optimizers, 4 rates a decade, 6 decays, a seed each on the select
half, then the best dozen on the fresh seeds. Runs of the grid and repetitions are kept in ``--folder`` and not done again.
``python benchmarks/against_optuna.py [--json] [--quick] [--folder FOLDER]``; needs ``pip install thalweg[bench]``.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from harness import Row, arguments, median, report
from training import executor, kept, scores

import thalweg as tw
from thalweg import loop, rules
from thalweg.run import Trace
from thalweg.study.executors import Emit, Record

FIELD = ("adamw", "momentum", "nesterov", "adam", "sgd", "rmsprop", "adagrad", "nadam")
DECAY = (1e-5, 1e-1)
GRID_DECAYS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
PARTS = (5, 2, 1)  # budgets of ours: T over these
CLOSE = 0.002
SEEDS = range(8_000_000, 8_000_005)
DOZEN = 12


def by_optuna(task: tw.Task, seconds: float, seed: int) -> tw.Recipe:
    """The best recipe that Optuna finds."""
    epochs = task.prepare().epochs
    with tempfile.TemporaryDirectory() as folder:

        def study(seed: int) -> optuna.Study:
            storage = optuna.storages.journal.JournalFileBackend(f"{folder}/journal.log")
            return optuna.create_study(
                study_name="fashion", storage=optuna.storages.JournalStorage(storage), load_if_exists=True,
                direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed),
                pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
            )  # fmt: skip

        def objective(trial: optuna.Trial) -> float:
            name = trial.suggest_categorical("optimizer", FIELD)
            low, high = rules.get(name).rates
            rate = trial.suggest_float(f"lr of {name}", low, high, log=True)
            recipe = tw.Recipe(name, lr=rate, weight_decay=trial.suggest_float("weight_decay", *DECAY, log=True))
            trial.set_user_attr("recipe", recipe.to_toml())

            def observe(step: int, traces: list[Trace]) -> None:
                [trace] = traces
                if trace.evaluations and trace.evaluations[-1]["step"] == step:
                    trial.report(trace.evaluations[-1]["accuracy"], len(trace.evaluations))
                    if trial.should_prune():
                        raise optuna.TrialPruned

            run, _ = loop.run(task, recipe, 0, evaluations=epochs, observe=observe)
            return run.final["accuracy"] if run.outcome.status == "finished" else 0.0

        def search(workers: Sequence[int], emit: Emit, deadline: float) -> list[Record]:
            study(workers[0]).optimize(objective, timeout=deadline - time.monotonic())
            return [{}]

        way = executor(task, search)
        try:
            study(seed)
            units = [[way.workers * seed + worker] for worker in range(way.workers)]
            list(way.run(units, lambda _: None, time.monotonic() + seconds))
        finally:
            way.close()
        return tw.Recipe.from_toml(study(seed).best_trial.user_attrs["recipe"])


def by_comparison(task: tw.Task, seconds: float) -> tuple[tw.Recipe | None, float]:
    """The recipe that a comparison recommends, and the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"field": list(FIELD), "axes": {"weight_decay": DECAY}, "budget": seconds, "quiet": True}
        study = tw.compare(task, folder=f"{folder}/study", **how)
        return None if study.best is None else study.best.recipe, study.cost["seconds"]


def best_of_grid(task: tw.Task, folder: Path, quick: bool) -> tuple[float, int]:
    """The best mean on the fresh seeds among the cells of the grid that do best on the select half, and how many cells."""
    cells = []
    for name in FIELD[:2] if quick else FIELD:
        low, high = rules.get(name).rates
        rates = np.geomspace(low, high, 2 if quick else 1 + round(4 * math.log10(high / low)))
        decays = GRID_DECAYS[:1] if quick else GRID_DECAYS
        cells += [tw.Recipe(name, lr=float(f"{lr:.3g}"), weight_decay=decay) for lr in rates for decay in decays]
    file = folder / "grid.jsonl"
    first = kept(task, "select", [(cell, 0) for cell in cells], file)
    dozen = sorted(cells, key=lambda cell: -first[cell, 0])[:DOZEN]
    fresh = kept(task, "test", [(cell, seed) for cell in dozen for seed in SEEDS], file)
    return max(float(np.mean([fresh[cell, seed] for seed in SEEDS])) for cell in dozen), len(cells)


def mean_score(task: tw.Task, recipe: tw.Recipe | None) -> float:
    """The mean over the fresh seeds; of no recipe the worst."""
    return -math.inf if recipe is None else float(scores(task, [recipe], SEEDS)[recipe].mean())


def repeat(task: tw.Task, limit: float, repetition: int) -> dict[str, float]:
    """The seconds that ours takes to come up to Optuna's recipe, and the means of both."""
    theirs = mean_score(task, by_optuna(task, limit, repetition))
    spent, own = 0.0, -math.inf
    for part in PARTS:
        recipe, seconds = by_comparison(task, limit / part)
        spent, own = spent + seconds, mean_score(task, recipe)
        if own >= theirs - CLOSE:
            break
    else:
        spent = math.inf
    return {"seconds": spent, "ours": own, "theirs": theirs}


def main() -> None:
    options = arguments(__doc__, "where the runs of the grid are kept; nothing: nowhere")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = tw.Task.load("fashion-mlp")
    limit, repetitions = (60.0, 1) if options.quick else (600.0, 5)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        best, cells = best_of_grid(task, folder, options.quick)
        done = []
        for repetition in range(repetitions):
            file = folder / f"repetition-{limit:g}-{repetition}.json"
            if not file.exists():
                file.write_text(json.dumps(repeat(task, limit, repetition)), encoding="utf-8")
            done.append(json.loads(file.read_text(encoding="utf-8")))
    times = [each["seconds"] for each in done]
    regrets = {name: [best - each[name] for each in done] for name in ("ours", "theirs")}
    what = f"seconds of a comparison whose recipe is within {100 * CLOSE:g} points of that of Optuna's {limit:g} s"
    ratio = limit / median(times)
    rows = [
        Row(
            what=what, ours=median(times), peer=limit, peer_name="Optuna, TPE and Hyperband", ratio=ratio,
            n=repetitions, bar=5.0, holds=ratio >= 5,
        ),
        Row(
            what=f"regret in accuracy against the best of a grid of {cells}", ours=median(regrets["ours"]),
            peer=median(regrets["theirs"]), peer_name="Optuna", n=repetitions,
        ),
    ]  # fmt: skip
    report(options, rows)


if __name__ == "__main__":
    main()
