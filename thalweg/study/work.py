"""How one job is done: a run of a task, or a call of the user's own loop."""

from __future__ import annotations

import itertools
import math
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import lengths, loop, variants
from ..errors import BadTask, ThalwegError
from ..recipe import horizon
from ..run import Run, Trace
from ..seeds import stream
from ..stacked import Entry, TooLarge
from ..store import Store
from .executors import Emit, Record, Work
from .jobs import Job
from .words import SHARES

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LambdaLR

    from ..cohort import Solo
    from ..recipe import Recipe
    from ..task import Task

RISING = (
    "acc",
    "auc",
    "likelihood",
    "f1",
    "r2",
    "score",
    "reward",
    "precision",
    "recall",
    "iou",
    "bleu",
    "psnr",
    "ssim",
)
LOST: Record = {"evaluations": [], "steps_done": 0, "samples": 0, "seconds": 0.0, "model": None}
TIMING_STEPS, TIMING_WARM, TIMING_LIMIT = 60, 3, 0.5


def of_task(task: Task, folder: Path | None) -> Work[Job]:
    """The work of jobs on a task, done as one program; finals leave their weights in the study's folder."""

    def work(jobs: Sequence[Job], emit: Emit, deadline: float) -> list[Record]:
        first = jobs[0]
        variant = variants.of(task, dict(first.arguments))
        if first.phase == "time":
            return [{"seconds_per_step": timed(variant, jobs, TIMING_LIMIT)}] * len(jobs)
        final = first.phase == "final"
        for job in jobs:
            emit(opening(job))
        written = [0] * len(jobs)

        def observe(step: int, traces: list[Trace]) -> None:
            for m, trace in enumerate(traces):
                if len(trace) > written[m]:
                    emit({"run": jobs[m].key, "kind": "steps"} | trace.columns(written[m]))
                    written[m] = len(trace)

        most = min(10, lengths.evaluations_of(variant, first.recipe, first.steps)) if final else 1
        try:
            runs, cohort = loop.run_cohort(
                variant,
                [Entry(job.recipe, job.seed, job.steps) for job in jobs],
                [most] * len(jobs),
                splits=("select", "judge") if final else ("select",),
                deadline=deadline,
                observe=observe,
            )
        except TooLarge:  # by halves, then
            half = len(jobs) // 2
            return work(jobs[:half], emit, deadline) + work(jobs[half:], emit, deadline)
        if any(run.outcome.reason == "interrupted" for run in runs):
            raise KeyboardInterrupt
        observe(first.steps, [run.trace for run in runs])
        return [
            _closing(job, run, cohort.solo(m), len(jobs), folder)
            for m, (job, run) in enumerate(zip(jobs, runs, strict=True))
        ]

    return work


def _closing(job: Job, run: Run, solo: Solo, members: int, folder: Path | None) -> Record:
    """What is kept of a run that has ended; its seconds are its share of the program's."""
    model = None
    if job.phase == "final" and run.outcome.status == "finished" and folder is not None:
        model = Store(folder).save_weights(job.key, solo.weights()).name
    return opening(job) | {
        "kind": "end",
        "outcome": run.outcome.as_dict(),
        "evaluations": run.trace.evaluations,
        "steps_done": len(run.trace),
        "samples": run.trace.samples[-1] if run.trace.samples else 0,
        "seconds": run.seconds / members,
        "model": model,
    }


def alike(job: Job) -> Hashable:
    """What jobs have in common that can be one program: their purpose, length, batch and variant of the task."""
    return job.phase == "final", job.steps, job.recipe.batch_size, job.recipe.norm, job.arguments


def of_fit(fit: Callable[..., Any]) -> Work[Job]:
    """The work of a job done by the user's own loop, ``fit(recipe, seed, report)``."""

    def work(jobs: Sequence[Job], emit: Emit, deadline: float) -> list[Record]:
        return [one(job, emit, deadline) for job in jobs]

    def one(job: Job, emit: Emit, deadline: float) -> Record:
        emit(opening(job))
        evaluations: list[dict[str, Any]] = []
        started = time.perf_counter()

        def report(step: int, **metrics: float) -> None:
            values = {name: _share(name, float(value)) for name, value in metrics.items()}
            if not values:
                raise BadTask(
                    "fit called report(step) without a metric", "write report(step, loss=...) with what decides first"
                )
            at = {"step": int(step), "samples": int(step), "seconds": time.perf_counter() - started, "split": "select"}
            evaluations.append(at | values)
            emit({"run": job.key, "kind": "evaluation"} | evaluations[-1])
            bad = next((name for name, value in values.items() if not math.isfinite(value)), None)
            if bad:
                raise _Diverged(int(step), bad, values[bad])
            if time.monotonic() > deadline:
                raise _OutOfTime

        outcome: dict[str, Any] = {"status": "finished", "step": 0, "where": None, "reason": None}
        with stream(job.seed, "fit"), horizon(job.steps or None) as built:
            try:
                fit(job.recipe, job.seed, report)
            except _Diverged as end:
                outcome |= {"status": "diverged", "where": end.metric, "reason": f"{end.metric} became {end.value}"}
            except _OutOfTime:
                outcome |= {"status": "stopped", "reason": "budget"}
            except ThalwegError:
                raise
            except Exception as error:
                where = "fit" if isinstance(error, FloatingPointError) else _non_finite(built)
                if where is None:
                    place = traceback.extract_tb(error.__traceback__)[-1]
                    said = f"fit failed: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
                    raise BadTask(said, "call fit(recipe, seed, print) by hand") from error
                outcome |= {"status": "diverged", "where": where, "reason": f"{type(error).__name__}: {error}"}
        if not evaluations and outcome["status"] == "finished":
            raise BadTask("fit ended without a call of report", "call report(step, loss=...) at least once, at the end")
        updates = max((schedule.last_epoch for schedule in built), default=0)
        outcome["step"] = evaluations[-1]["step"] if evaluations else updates
        judged = [evaluation | {"split": "judge"} for evaluation in evaluations]
        return opening(job) | {
            "kind": "end",
            "outcome": outcome,
            "evaluations": [*evaluations, *judged],
            "steps_done": updates,
            "samples": evaluations[-1]["samples"] if evaluations else 0,
            "seconds": time.perf_counter() - started,
            "model": None,
        }

    return work


def _share(name: str, value: float) -> float:
    """Per cent of a metric that is a share are read as a share."""
    return value / 100 if name in SHARES and value > 1 else value


def _non_finite(built: Sequence[LambdaLR]) -> str | None:
    """A word for where a loop of the user's left the finite numbers, None if its parameters are finite."""
    for schedule in built:
        for group in schedule.optimizer.param_groups:
            if any(not p.isfinite().all() for p in group["params"]):
                return "a parameter"
    return None


class _Diverged(Exception):
    def __init__(self, step: int, metric: str, value: float) -> None:
        super().__init__(metric)
        self.step, self.metric, self.value = step, metric, value


class _OutOfTime(Exception):
    pass


def opening(job: Job) -> Record:
    """What every record of a run's beginning and end says: its name and its job."""
    return {
        "run": job.key,
        "kind": "start",
        "phase": job.phase,
        "entrant": job.entrant,
        "recipe": job.recipe.as_dict(),
        "seed": job.seed,
        "steps": job.steps,
    } | ({"arguments": dict(job.arguments)} if job.arguments else {})


def rises(metric: str) -> bool:
    """Whether larger values of a reported metric are better, by its name; everything unknown is taken as a loss."""
    name = metric.lower()
    return not name.startswith(("neg", "nll")) and any(word in name for word in RISING)


def compiled(task: Task, recipes: Sequence[Recipe]) -> float:
    """One step of every recipe together, so that their kernels are there; the seconds that it took."""
    began = time.perf_counter()
    entries = [Entry(recipe.but(lr=1e-6) if recipe.lr is None else recipe, 0, 1) for recipe in recipes]
    loop.run_cohort(task, entries, [0] * len(entries), splits=())
    return time.perf_counter() - began


def timed(task: Task, jobs: Sequence[Job], limit: float) -> float:
    """As `seconds_per_step`; infinite where the memory does not hold the jobs together."""
    try:
        return seconds_per_step(task, jobs, limit)
    except TooLarge:
        return math.inf


def seconds_per_step(task: Task, jobs: Sequence[Job], limit: float) -> float:
    """Median seconds of a training step, a run, of jobs that are done as one program; evaluation excluded.

    Args:
        task: what is trained.
        jobs: recipes and seeds; all have the first one's number of steps.
        limit: seconds after which the timed run ends, warm-up excluded.
    """
    entries = [Entry(job.recipe, job.seed, jobs[0].steps) for job in jobs]
    none = [0] * len(jobs)
    warm = [replace(entry, steps=min(TIMING_WARM, entry.steps)) for entry in entries]
    loop.run_cohort(task, warm, none, splits=())
    runs, _ = loop.run_cohort(task, entries, none, splits=(), deadline=time.monotonic() + limit)
    marks = [0.0, *runs[0].trace.seconds]
    times = sorted(b - a for a, b in itertools.pairwise(marks)) or [runs[0].seconds]
    return times[len(times) // 2] / len(jobs)
