"""The training loop: the only one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import torch

from . import lengths
from .batch import leaves
from .cohort import Cohort, Solo
from .errors import BadData, BadTask, ThalwegError
from .run import Log, Outcome, Run, Trace
from .seeds import stream
from .stacked import Entry, Looped, TooLarge, Unbatchable, make

if TYPE_CHECKING:
    from .batch import Batch, Several
    from .data import Feed
    from .recipe import Recipe
    from .task import Task

Update: TypeAlias = "list[tuple[Batch | Several, float]]"
Observer = Callable[[int, list[Trace]], None]
READ_EVERY = {"cpu": 1}  # steps between two readings of the losses; elsewhere a reading waits for the device
T = TypeVar("T")
REPORT_EVERY = 100  # steps between two calls of the observer


def updates(feed: Feed, batch_size: int | str, accumulate: int, seed: int | Sequence[int]) -> Iterator[Update]:
    """Epoch after epoch, the batches of each update with their shares of its gradient.

    The shares are rows of the batch / rows of the update, so that the sum of ``share × mean loss`` is the mean over all.
    ``"full"`` takes the whole training set as one update, in chunks. Of several seeds that differ each gives an order;
    their batches lie side by side.
    """
    seeds = [seed] if isinstance(seed, int) else list(seed)
    epoch = 0
    while True:
        group: list[Batch | Several] = []
        for batch in feed.training(batch_size, seeds, epoch):
            group.append(batch)
            del batch  # its memory is free for the next one, which then lies in the cache
            if len(group) == accumulate and batch_size != "full":
                whole, group = _shares(group), []
                yield whole
                del whole
        if group:
            yield _shares(group)
        epoch += 1


def _shares(group: list[Batch | Several]) -> Update:
    if len(group) == 1:
        return [(group[0], 1.0)]
    rows = sum(batch.rows for batch in group)
    return [(batch, batch.rows / rows) for batch in group]


@dataclass(frozen=True)
class Course:
    """How far a member trains, and after which of its updates it is evaluated."""

    steps: int
    evaluations: frozenset[int] = frozenset()


def _by_step(steps: Sequence[AbstractSet[int]]) -> dict[int, list[int]]:
    """The members that have a step, by the step."""
    return {at: [m for m, own in enumerate(steps) if at in own] for at in set().union(*steps)}


def train(
    cohort: Cohort,
    feed: Iterator[Update],
    courses: Sequence[Course],
    splits: Mapping[str, Feed] = MappingProxyType({}),
    *,
    deadline: float = math.inf,
    observe: Observer | None = None,
    read_every: int = 1,
) -> list[tuple[Trace, Outcome]]:
    """Train a cohort: forward, backward, step, until the steps are done, nobody is alive, or the time is over.

    Args:
        cohort: K members.
        feed: the batches of each update with their shares, from `updates`.
        courses: one a member.
        splits: the parts of the data, by name, that are evaluated.
        deadline: on the clock of `time.monotonic`; a run that reaches it is stopped.
        observe: called with the step and the K traces now and then; it looks and changes nothing.
        read_every: steps between two readings of the losses from the device.

    Returns:
        Per member its trace and outcome; a divergence is an outcome, never an exception.
    """
    members, log = range(cohort.members), Log(cohort.members)
    outcomes: list[Outcome | None] = [None for _ in members]
    buffer: list[torch.Tensor] = []
    evaluated = _by_step([course.evaluations for course in courses])
    ending = _by_step([{course.steps} for course in courses])
    clock, samples, step = 0.0, 0, 0

    def end(member: int, outcome: Outcome, last: int) -> None:
        outcomes[member] = outcome
        log.end(member, last)
        cohort.stop(member)

    def attempt(action: Callable[[], T], batch: Batch | Several, last: int) -> T | None:
        """What an action gives; after an error it is tried again without the members behind it, None without any."""
        while not all(outcomes):
            try:
                return action()
            except Unbatchable:
                raise
            except Exception as error:
                alive = [m for m in members if outcomes[m] is None]
                for m, outcome in _failed(cohort, alive, step, batch, error):
                    end(m, outcome, last)
        return None

    def evaluate(data: Feed, due: Sequence[int]) -> dict[int, dict[str, float]]:
        """The metrics of those members that have not ended."""
        chosen = [m for m in due if outcomes[m] is None]
        return dict(zip(chosen, cohort.evaluate(data, chosen) if chosen else [], strict=True))

    def update() -> tuple[torch.Tensor | None, Update]:
        """Forward and backward of the next batches: the losses, None where nobody is left."""
        group, total = next(feed), None
        for batch, share in group:
            losses = attempt(partial(cohort.forward, batch), batch, step - 1)
            if losses is None:
                return None, group
            part = losses.detach() if share == 1 else share * losses.detach()
            total = part if total is None else total + part
            attempt(partial(cohort.backward, losses, share), batch, step - 1)
        return total, group

    try:
        for step in range(1, max(course.steps for course in courses) + 1):
            if time.monotonic() > deadline:
                for m in members:
                    if outcomes[m] is None:
                        end(m, Outcome("stopped", step - 1, reason="budget"), step - 1)
                break
            started = time.perf_counter()
            total, group = update()
            if total is None:
                break
            buffer.append(total)
            batch = group[-1][0]
            due, last = evaluated.get(step, ()), ending.get(step, ())
            if len(buffer) == read_every or due or last:
                for m, outcome in _read(cohort, batch, buffer, step, log, outcomes):
                    end(m, outcome, outcome.step - 1)
                if all(outcomes):
                    break
            rates, norms = cohort.rates(), cohort.step()
            clock += time.perf_counter() - started
            for part, _ in group:
                samples += part.rows
            log.step(step, samples, clock, rates, norms)
            at = {"step": step, "samples": samples, "seconds": clock}
            for split, data in splits.items() if due else ():
                for m, metrics in (attempt(partial(evaluate, data, due), batch, step) or {}).items():
                    log.evaluation(m, at | {"split": split} | metrics)
                    if not math.isfinite(metrics["loss"]):
                        where = cohort.solo(m).first_non_finite(batch.of(m)) or "loss"
                        said = f"non-finite loss on {split}, first in {where}"
                        end(m, Outcome.diverged(step, where, said), step)
            for m in last:
                if outcomes[m] is None:
                    end(m, Outcome("finished", step), step)
            del group, batch
            if observe and (step % REPORT_EVERY == 0 or due):
                observe(step, log.traces())
            if all(outcomes):
                break
    except KeyboardInterrupt:
        for m, trace in enumerate(log.traces()):
            if outcomes[m] is None:
                end(m, Outcome("stopped", len(trace), reason="interrupted"), len(trace))
    return [(t, o) for t, o in zip(log.traces(), outcomes, strict=True) if o is not None]


def _failed(
    cohort: Cohort, alive: Sequence[int], step: int, batch: Batch | Several, error: Exception
) -> list[tuple[int, Outcome]]:
    """The divergences behind an error; without something non-finite the error goes on to the user."""
    _check_inputs(batch, step)
    found = [(m, cohort.solo(m).first_non_finite(batch.of(m))) for m in alive]
    if all(where is None for _, where in found):
        if isinstance(error, ThalwegError):
            raise error
        said = f"training failed at step {step}: {type(error).__name__}: {error}"
        raise BadTask(said, "try the model and the loss on one batch by hand") from error
    reason = f"{type(error).__name__}: {error}; non-finite first in"
    return [(m, Outcome.diverged(step, where, f"{reason} {where}")) for m, where in found if where is not None]


def _check_inputs(batch: Batch | Several, step: int) -> None:
    if any(x.is_floating_point() and not x.isfinite().all() for x in leaves(batch.inputs)):
        said = f"the inputs of the batch of step {step} hold NaN or inf"
        raise BadData(said, "clean the data, or drop such rows", "input-non-finite")


def _read(
    cohort: Cohort,
    batch: Batch | Several,
    buffer: list[torch.Tensor],
    step: int,
    log: Log,
    outcomes: Sequence[Outcome | None],
) -> Iterator[tuple[int, Outcome]]:
    """Move the buffered losses to the log; yields the members that a non-finite one ends, with their outcomes."""
    whole = torch.stack(buffer) if len(buffer) > 1 else buffer[0]
    whole = whole.float() if whole.dtype is torch.bfloat16 else whole
    read = whole.cpu().numpy().astype(np.float64).reshape(len(buffer), -1)
    buffer.clear()
    finite = math.isfinite(np.add.reduce(read, axis=None))
    for at, losses in enumerate(read, step - len(read) + 1):
        log.loss(losses)
        for m in [] if finite else np.flatnonzero(~np.isfinite(losses)).tolist():
            if outcomes[m] is None:
                _check_inputs(batch, at)
                where = cohort.solo(m).first_non_finite(batch.of(m)) or "loss"
                yield m, Outcome.diverged(at, where, f"loss became {losses[m]}, non-finite first in {where}")


def run(
    task: Task,
    recipe: Recipe,
    seed: int,
    *,
    steps: int | None = None,
    evaluations: int | None = None,
    splits: tuple[str, ...] = ("select",),
    deadline: float = math.inf,
    observe: Observer | None = None,
) -> tuple[Run, Solo]:
    """One (task, recipe, seed): the run, and the cohort of one with the trained model.

    Weights, order, dropout and augmentation have a stream of random numbers each, drawn from ``seed``; the caller's
    random state is as before afterwards.

    Args:
        task: what is trained.
        recipe: how; its ``lr`` is known.
        seed: the run's.
        steps: updates; None: the task's own horizon. The schedule spans them.
        evaluations: how many evaluations, evenly spaced and one at the end; None: one an epoch, at most 20.
        splits: which parts of the data are evaluated: ``select``, ``judge``.
        deadline: see `train`.
        observe: see `train`.
    """
    entry = Entry(recipe, seed, steps if steps is not None else lengths.horizon(task, recipe))
    count = lengths.evaluations_of(task, recipe, entry.steps) if evaluations is None else evaluations
    runs, cohort = run_cohort(task, [entry], [count], splits=splits, deadline=deadline, observe=observe)
    return runs[0], cohort.solo(0)


def run_cohort(
    task: Task,
    entries: Sequence[Entry],
    evaluations: Sequence[int],
    *,
    splits: tuple[str, ...] = ("select",),
    deadline: float = math.inf,
    observe: Observer | None = None,
) -> tuple[list[Run], Cohort]:
    """Several recipes and seeds of a task, of one batch size, trained as one program where that is possible.

    Members of the same seed share initial weights and order. A run's losses are those that it has alone, up to the
    rounding of sums; where the model draws random numbers in training, up to these.

    Args:
        task: what is trained.
        entries: the members.
        evaluations: of each, how many, evenly spaced and one at the end.
        splits: which parts of the data all of them are evaluated on.
        deadline: see `train`.
        observe: see `train`.

    Raises:
        TooLarge: fewer members at a time would do.
    """
    data = task.prepare()
    batch_size = entries[0].recipe.batch_size or data.batch_size
    feeds: dict[str, Feed] = {name: getattr(data, name) for name in splits}
    courses = [
        Course(e.steps, frozenset(round(e.steps * (i + 1) / count) for i in range(count)))
        for e, count in zip(entries, evaluations, strict=True)
    ]
    started, read_every = time.perf_counter(), READ_EVERY.get(str(data.device.type), 16)

    def ended(cohort: Cohort) -> list[tuple[Trace, Outcome]]:
        feed = updates(data.train, batch_size, task.accumulate, [entry.seed for entry in entries])
        return train(cohort, feed, courses, feeds, deadline=deadline, observe=observe, read_every=read_every)

    with stream(entries[0].seed, "dropout"):
        cohort, why = make(task, entries)
        try:
            results = ended(cohort)
        except TooLarge:
            raise
        except Unbatchable as late:
            why = str(late)
            with stream(entries[0].seed, "dropout"):
                cohort = Looped(task, entries)
                results = ended(cohort)
    runs = []
    for m, (entry, (trace, outcome)) in enumerate(zip(entries, results, strict=True)):
        if outcome.status == "diverged" and read_every > 1:  # the losses were read late: what was non-finite first?
            outcome = _replayed(task, entry, outcome, data.train, batch_size)
        solo = cohort.solo(m)
        said = solo.finish()
        solo.model.eval()
        notes = (*data.notes, *([said] if said else []), *([f"Trained one by one: {why}."] if why else []))
        seconds = time.perf_counter() - started
        runs.append(Run(task.name, entry.recipe, entry.seed, trace, outcome, seconds, notes, _model=solo.model))
    return runs, cohort


def _replayed(task: Task, entry: Entry, outcome: Outcome, feed: Feed, batch_size: int | str) -> Outcome:
    """A divergence seen again by a run alone whose losses are read at every step."""
    with stream(entry.seed, "dropout"):
        solo = Solo(task, entry.recipe, entry.seed, entry.steps)
        batches = updates(feed, batch_size, task.accumulate, entry.seed)
        [(_, seen)] = train(solo, batches, [Course(outcome.step)])
    return seen if seen.status == "diverged" else outcome
