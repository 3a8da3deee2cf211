"""Plays the protocol: hands its jobs to an executor, books their cost, keeps their records."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from .. import lengths
from ..console import Progress
from ..errors import BadTask
from ..recipe import Recipe
from ..store import FORMAT, Store, environment
from . import plan, work
from .case import Case
from .choosing import choose, slowdown
from .executors import Executor, Record
from .jobs import Job, Result, Scale, short
from .words import show, unit

RESERVE = 0.05  # share of a budget in seconds kept for the test set and for measuring the steps' own time
CHOOSING = 0.1  # of a budget in seconds, after which no further way of running is tried
PART = 0.25  # of the seconds that are left, what a program may take
EVALUATION = 1.3  # a run's time over that of its steps alone, until it is measured
PHASES = {
    "baseline": "baseline",
    "probe": "short probes",
    "rung": "settings on short runs",
    "rate": "rates at the full horizon",
    "final": "finals on fresh seeds",
    "count": "one run to count its updates",
}
T = TypeVar("T")


class Conductor:
    """Plays the protocol: gives its jobs to the executor, books their cost, keeps their records."""

    def __init__(self, store: Store | None, case: Case, limit: plan.Budget, progress: Progress, started: float) -> None:
        self.store, self.case, self.progress = store, case, progress
        self.metric, self.direction = case.metric, case.direction
        self.limit, self.started = limit, started
        self.known: dict[str, Record] = {}
        self.order: list[str] = []
        self.earlier: dict[str, float] = {}
        self.executor: Executor[Job] | None = None
        self.measured: dict[str, Any] = {}
        self.interrupted = False
        self.best: tuple[float, str] | None = None
        self.head: dict[str, Any] = {}
        self.notes: list[str] = []
        self.release: Callable[[], None] | None = None

    @classmethod
    def in_memory(cls, case: Case, progress: Progress, executor: Executor[Job]) -> Conductor:
        """One without a folder and without a limit."""
        conductor = cls(None, case, plan.Budget.of(None), progress, time.monotonic())
        conductor.purse = plan.Purse(conductor.limit, conductor.started)
        conductor.executor = executor
        return conductor

    def prepare(self, wanted: str, head: dict[str, Any] | None, asked: dict[str, Any], first: Recipe) -> None:
        """Open or make the store, choose the executor, measure a step."""
        assert self.store is not None
        before = 0.0
        if head is None:
            source = self.case.task.source if self.case.task is not None else None
            self.head = {"asked": asked, "source": source, "environment": environment(), "complete": False}
            self.head |= {"metric": self.metric, "direction": self.direction}
            self.store.create(self.head | {"executor": None})
            self.release = self.store.hold()
        else:
            self.head = head
            self.release = self.store.hold()
            self.store.mend()
            for record in self.store.records():
                before = max(before, float(record.get("at", 0.0)))
                if record["kind"] == "end" and record["outcome"]["status"] in ("finished", "diverged"):
                    self.known[record["run"]] = record
                    self.earlier[record["run"]] = float(record["seconds"])
            self.progress.say(f"Resuming {self.store.folder}: {len(self.known)} runs are done.")
        reserve = (
            min(max(2.0, RESERVE * self.limit.amount), 0.3 * self.limit.amount) if self.limit.kind == "seconds" else 0.0
        )
        self.purse = plan.Purse(self.limit, self.started - before, reserve)
        self.executor, self.measured = choose(
            self.case, self.store.folder, wanted, (head or {}).get("executor"), first, self.append, self.progress.say,
            CHOOSING * self.limit.amount if self.limit.kind == "seconds" else math.inf,
        )  # fmt: skip
        self.purse.expect(EVALUATION * (self.measured["seconds_per_step"] or 0.0))
        self.purse.credit = sum(self.earlier.values()) / self.executor.workers
        if not self.head.get("executor"):
            self.head["executor"] = self.measured
            self.store.write("study.json", {"format": FORMAT} | self.head)

    def scale(self) -> Scale:
        """The horizons; a user's own loop is run once to count its updates."""
        task = self.case.task
        if task is not None:
            data = task.prepare()
            steps = lengths.horizon(task, Recipe("sgd", lr=0.0))
            rows = self.case.judge_rows or 0
            resolution = 1 / rows if self.metric == "accuracy" and rows else 0.0

            def horizon(recipe: Recipe) -> tuple[int, int]:
                size = recipe.batch_size or data.batch_size
                own = data.train.rows or self.case.rows if size == "full" else int(size) * task.accumulate
                return lengths.horizon(task, recipe), own

            examples = data.select.rows or 0 if self.metric == "accuracy" else 0
            return Scale(steps, short(steps), self.case.rows, resolution, examples, horizon)
        counted = self.do([Job("count", "fit", plan.UNTUNED, 0, 0)])
        steps = next((r.record["steps_done"] for r in counted.values()), 0)
        if not steps and counted:
            self.note("The schedule was never stepped: rates stay constant.")
        return Scale(steps, steps, 1)

    def play(self, steps: Generator[list[Job], dict[Job, Result], T]) -> T:
        """Drive the protocol to its end."""
        answer: dict[Job, Result] | None = None
        while True:
            try:
                jobs = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                value: T = end.value
                return value
            answer = self.do(jobs)

    def append(self, *records: Record) -> None:
        """Keep records, with the study's own seconds."""
        if self.store is not None:
            self.store.append(*(record | {"at": round(self.purse.seconds, 3)} for record in records))

    def do(self, jobs: Sequence[Job]) -> dict[Job, Result]:
        """The jobs' results; those of an earlier part of the study are taken from its trace."""
        self.purse.promised = 0.0
        done = {job: self.known[job.key] for job in jobs if job.key in self.known}
        assert self.executor is not None
        # A unit that was cut short runs again as a whole, to the same bits; with seconds, where units depend on what is
        # left, only what is missing runs.
        wanted = [job for job in jobs if job not in done] if self.limit.kind == "seconds" else jobs
        whole = self.executor.units(wanted, self._most(wanted))
        units = [unit for unit in whole if any(job.key not in self.known for job in unit)]
        began, fresh, missing = time.monotonic(), [], len(units)
        if units and not self.interrupted:
            self.progress.at(self._status(units[0][0], len(done), len(jobs)))
            try:
                for unit, records in self.executor.run(units, self.append, self.purse.deadline):
                    both = zip(unit, records, strict=True)
                    ends = [work.LOST | work.opening(job) | came | {"kind": "end"} for job, came in both]
                    self.append(*ends)
                    for job, record in zip(unit, ends, strict=True):
                        if job in done and record["outcome"]["status"] == "stopped":
                            continue  # it had ended before
                        done[job] = self.known[job.key] = record
                        self._lead(job, record)
                    fresh += ends
                    self.progress.at(self._status(unit[0], len(done), len(jobs)))
            except KeyboardInterrupt:
                self.interrupted = self.purse.closed = True
                self.executor.close()
                self.progress.say(
                    "Interrupted: here is what the finished runs allow; the same command goes on from here."
                )
        self.order += [job.key for job in jobs if job in done]
        self.purse.credit -= sum(self.earlier.pop(job.key, 0.0) for job in jobs) / self.executor.workers
        samples, steps = (
            sum(r.get(k, 0) for r in part) for k, part in (("samples", done.values()), ("steps_done", fresh))
        )
        workers = self.executor.workers
        seconds = (time.monotonic() - began) * min(missing, workers) / workers
        if fresh:  # a price is that of a run in a full program: what is few now comes together with others later
            seconds /= slowdown(self.measured, len(fresh) / missing)
        self.purse.pay(len(done), samples, steps, seconds)
        return {job: self.result(record) for job, record in done.items()}

    def _most(self, jobs: Sequence[Job]) -> float:
        """How many runs may be one program, that the end of the seconds costs few of them."""
        if self.limit.kind != "seconds" or not jobs:
            return math.inf
        assert self.executor is not None
        each = self.purse.price(max(job.steps for job in jobs), 0) * self.executor.workers
        return PART * self.purse.left / each if each > 0 else math.inf

    def _status(self, job: Job, done: int, of: int) -> str:
        who = "" if job.phase in ("final", "count") else f"{job.entrant}: "
        lead = (
            f" · best so far {show(self.best[0], self.metric or '')}{unit(self.metric or '')} ({self.best[1]})"
            if self.best
            else ""
        )
        return f"{self.case.name} · {who}{PHASES[job.phase]} {done}/{of}{lead}"

    def _lead(self, job: Job, record: Record) -> None:
        value = self.result(record).select
        if (
            job.phase in ("baseline", "rate")
            and math.isfinite(value)
            and (self.best is None or value > self.sign * self.best[0])
        ):
            self.best = (
                self.sign * value,
                job.entrant if job.phase == "baseline" else f"{job.entrant} at {job.recipe.lr:.3g}",
            )

    @property
    def sign(self) -> int:
        """+1 when larger values of the metric are better."""
        return 1 if self.direction == "max" else -1

    def result(self, record: Record) -> Result:
        """What a closing record says of the goal."""
        evaluations = record.get("evaluations", [])
        if self.metric is None and evaluations:
            self.metric = next(k for k in evaluations[-1] if k not in ("step", "samples", "seconds", "split"))
        if self.direction is None and self.metric is not None:
            self.direction = "max" if work.rises(self.metric) else "min"
            self.note(f"Metric: {self.metric} ({self.direction}, by its name; fit.goal = 'max NAME' says otherwise).")
        status = record["outcome"]["status"]
        values = {}
        for split in ("select", "judge"):
            last = next((e for e in reversed(evaluations) if e["split"] == split and self.metric in e), None)
            if last is None and status == "finished" and split == "select" and evaluations:
                known = sorted(set(evaluations[-1]) - {"step", "samples", "seconds", "split"})
                raise BadTask(
                    f"{self.metric!r} was never reported, only {', '.join(known)}", "set fit.goal = 'min NAME'"
                )
            values[split] = math.nan if last is None or status != "finished" else self.sign * float(last[self.metric])
        return Result(status, values["select"], values["judge"], record)

    def note(self, sentence: str) -> None:
        """Say something that the study keeps."""
        self.notes.append(sentence)
        self.progress.say(sentence)

    def close(self) -> None:
        """End the workers, and let go of the folder."""
        if self.executor is not None:
            self.executor.close()
        if self.release is not None:
            self.release()
