"""Where a study's runs go: each way is timed on a few steps of the user's model, the fastest is taken."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import lengths
from ..capacity import most_members
from ..errors import BadOption
from ..recipe import Recipe
from ..task import Task
from . import executors, work
from .case import Case
from .executors import Emit, Executor
from .jobs import Job

SIZES = (1, 16, 64, 256)  # how many runs are tried as one program; of four the batching alone often eats the gain
WAYS = {"sequential": (1,), "processes": (1,), "cohorts": (32,)}  # what may be asked for; each is always the same
PATIENCE = 4.0  # seconds: after a trial that took longer, or for one that will, larger cohorts are not tried
TRIAL = 10  # steps that a trial of slow ones takes: making the program, its checks, and what is timed
CLOSE, AGAIN = 1.3, 2  # ways within this ratio of the fastest are timed so many times more
BETTER = 0.95  # of the time a run takes in a smaller cohort: above it larger ones are not tried
Plan = dict[str, Any]


def choose(
    case: Case,
    folder: Path,
    wanted: str,
    decided: Plan | None,
    first: Recipe,
    emit: Emit,
    say: Callable[[str], None],
    seconds: float = math.inf,
) -> tuple[Executor[Job], Plan]:
    """The executor: what the study was begun with, what is asked for, or the way that is measured to be fastest.

    Args:
        case: what is compared.
        folder: of the study.
        wanted: ``auto`` or one of `WAYS`.
        decided: the plan of a study that is resumed.
        first: the recipe whose steps are timed.
        emit: takes records.
        say: takes sentences.
        seconds: after so many no further way is tried; each kind is timed once.

    Returns:
        The executor, and its plan: ``name``, ``workers``, ``size`` (runs as one program), ``seconds_per_step`` of a run
        with all workers at work, ``tried`` (the same of each way), and ``why`` other processes are not used.
    """
    why = executors.can_fork(case.device)
    if wanted == "processes" and why:
        raise BadOption(f"compare: executor 'processes' cannot be used: {why}", "leave executor out")
    if decided and decided["name"] == "processes" and why:
        say(f"The study began with one process a core, not to be had here ({why}); last digits may differ.")
        decided = decided | {"name": "sequential"}
    names = [decided["name"]] if decided else ["processes", "sequential"] if wanted == "auto" else [wanted]
    names = [name for name in names if name != "processes" or not why]
    if case.task is None:
        own: Executor[Job] = executors.make(names[0], work.of_fit(case.fit or (lambda *_: None)))
        reason = why or "a loop of the user's, one a core"
        return own, {"name": own.name, "workers": own.workers, "size": 1, "seconds_per_step": None, "why": reason}
    # The workers are forked before this process calculates: threads do not live on in a fork.
    ways = [executors.make(name, work.of_task(case.task, folder), alike=work.alike) for name in names]
    try:
        plan = (
            dict(decided) if decided else measure(case.task, first, ways, WAYS.get(wanted, SIZES), emit, say, seconds)
        )
    except BaseException:
        for way in ways:
            way.close()
        raise
    chosen = next(way for way in ways if way.name == plan["name"])
    chosen.size = plan["size"]
    for way in ways:
        if way is not chosen:
            way.close()
    return chosen, plan | ({"why": why} if why else {})


def measure(
    task: Task,
    first: Recipe,
    ways: Sequence[Executor[Job]],
    sizes: Sequence[int],
    emit: Emit,
    say: Callable[[str], None],
    limit: float = math.inf,
) -> Plan:
    """The fastest of the ways: where, and how many runs as one program; ``limit`` as the seconds of `choose`."""
    recipe = first if first.lr is not None else first.but(lr=1e-4)
    steps = min(work.TIMING_STEPS, lengths.horizon(task, recipe))
    found: dict[tuple[str, int], float] = {}
    start = time.monotonic()

    def timed(way: Executor[Job]) -> float:
        units = way.units([Job("time", "auto", recipe, seed, steps) for seed in range(way.size * way.workers)])
        records = [record for _, part in way.run(units, emit, math.inf) for record in part]
        return max(float(r["seconds_per_step"]) for r in records) / way.workers

    for way in ways:
        before, most = math.inf, most_members(task, recipe, way.workers)
        for way.size in dict.fromkeys(min(size, most) for size in sizes):
            if PATIENCE < TRIAL * way.size * before < math.inf:
                break
            began = time.monotonic()
            now = found[way.name, way.size] = timed(way)
            ended = time.monotonic()
            if now > BETTER * before or ended - began > PATIENCE or ended - start > limit:
                break
            before = now
    for _ in range(AGAIN):  # in turns: what else the machine does slows one as it does the other
        close = [key for key, seconds in found.items() if seconds < CLOSE * min(found.values())]
        for way in ways if len(close) > 1 else ():
            for way.size in [size for name, size in close if name == way.name]:
                if time.monotonic() - start < limit:
                    found[way.name, way.size] = min(found[way.name, way.size], timed(way))
    (name, size), seconds = min(found.items(), key=lambda item: item[1])
    if len(found) > 1:
        how = "one a core" if name == "processes" else "in this process"
        how += f", up to {size} as one program" if size > 1 else ""
        alone = found.get(("sequential", 1), seconds)
        say(f"Runs go {how}: {alone / seconds:.1f}× as fast as one after the other.")
    workers = next(way.workers for way in ways if way.name == name)
    tried = {f"{where} × {k}": value for (where, k), value in found.items()}
    return {"name": name, "workers": workers, "size": size, "seconds_per_step": seconds, "tried": tried}


def slowdown(plan: Plan, members: float) -> float:
    """Time of a run in a program of so many members over that in a full one, from what was measured; at least 1.

    Example:
        >>> slowdown({"name": "sequential", "size": 16, "tried": {"sequential × 1": 8.0, "sequential × 16": 2.0}}, 4)
        2.5
    """
    ways = [(way.split(" × "), seconds) for way, seconds in plan.get("tried", {}).items()]
    own = sorted((int(size), seconds) for (name, size), seconds in ways if name == plan["name"])
    if len(own) < 2 or not members > 0:
        return 1.0
    sizes, times = zip(*own, strict=True)
    here, full = np.interp(np.log([members, plan["size"]]), np.log(sizes), times)
    return max(1.0, float(here / full))
