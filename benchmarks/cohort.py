"""Member-steps a second of many small networks that train together: ours, one after the other, JAX, and ModelBatch.

The digits MLP (64-32-10, batch 64, AdamW), 512 members with rates of their own, first with one order of the rows for all
and then with an order each, in the way that ``compare`` chooses by measuring: where, and how many as one program. Alone is
a loop around torch's fused AdamW that indexes prepared rows, on the faster of one and all threads. JAX compiles one scan
over the steps of a vmapped step of optax. ModelBatch takes an order for all only.

Then fashion-mlp and fashion-cnn, where it is less clear: what ``compare`` chooses against alone. For fashion-cnn the choice
is made ten times, and every way timed thoroughly: a choice is right if its way takes at most 1.05 × the time of the best.
``python benchmarks/cohort.py [--json] [--quick]``; a peer that is not installed is left out, with a word.
"""

from __future__ import annotations

import collections
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from harness import Row, arguments, median, report
from torch.nn import functional as F

import thalweg as tw
from thalweg import loop
from thalweg.errors import BadData
from thalweg.stacked import Entry
from thalweg.study import choosing, executors, work
from thalweg.study.executors import Emit, Record
from thalweg.study.jobs import Job

MEMBERS, STEPS, WARM = 512, 100, 3
Way = tuple[str, int]


def steady(task: tw.Task, jobs: Sequence[Job], _: float) -> float:
    """Seconds a member and step of members that train as one program, from when it is warm."""
    entries = [Entry(job.recipe, job.seed, job.steps) for job in jobs]
    [run, *_rest], _cohort = loop.run_cohort(task, entries, [0] * len(jobs), splits=())
    return (run.trace.seconds[-1] - run.trace.seconds[WARM - 1]) / (len(run.trace) - WARM) / len(jobs)


def alone(task: tw.Task, steps: int) -> float:
    """A loop of one's own that leaves out all that can be left out."""
    data = task.prepare().train
    times = []
    threads = torch.get_num_threads()
    for used in {1, threads}:
        torch.set_num_threads(used)
        model = task.build(0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        order = torch.randperm(data.rows)
        began = time.perf_counter()
        for step in range(steps):
            at = step * task.batch_size % (data.rows - task.batch_size)
            rows = order[at : at + task.batch_size]
            loss = F.cross_entropy(model(data.inputs[rows]), data.targets[rows])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        times.append((time.perf_counter() - began) / steps)
    torch.set_num_threads(threads)
    return min(times)


def jax_way(task: tw.Task, own: bool, members: int, steps: int) -> Callable[[], float]:
    """The same work as one compiled program of JAX."""
    import jax
    import jax.numpy as jnp
    import optax

    data = task.prepare().train
    x, y = jnp.asarray(data.inputs.numpy()), jnp.asarray(data.targets.numpy())
    optimizer = optax.scale_by_adam()

    def loss(params: Any, rows: Any) -> Any:
        (w1, b1), (w2, b2) = params
        logits = jnp.maximum(x[rows] @ w1 + b1, 0) @ w2 + b2
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[rows]).mean()

    def step(params: Any, state: Any, rate: Any, rows: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, rows)
        updates, state = optimizer.update(grads, state, params)
        new = jax.tree.map(lambda p, u: p - rate * (u + 0.01 * p), params, updates)
        return new, state, value

    batched = jax.vmap(step, (0, 0, 0, 0 if own else None))

    @jax.jit
    def train(params: Any, state: Any, rates: Any, orders: Any) -> Any:
        def body(carry: Any, rows: Any) -> Any:
            new, state, value = batched(*carry, rates, rows)
            return (new, state), value

        return jax.lax.scan(body, (params, state), orders)

    keys = np.random.default_rng(0)
    shapes = [((64, 32), (32,)), ((32, 10), (10,))]
    params = [tuple(jnp.asarray(keys.normal(0, 0.1, (members, *s)), jnp.float32) for s in pair) for pair in shapes]
    state = jax.vmap(optimizer.init)(params)
    shape = (steps, members, task.batch_size) if own else (steps, task.batch_size)
    orders = jnp.asarray(keys.integers(0, data.rows, shape))
    rates = jnp.asarray(np.logspace(-4, -1, members), jnp.float32)
    jax.block_until_ready(train(params, state, rates, orders))

    def timed() -> float:
        began = time.perf_counter()
        jax.block_until_ready(train(params, state, rates, orders))
        return (time.perf_counter() - began) / steps / members

    return timed


def modelbatch_way(task: tw.Task, members: int, steps: int) -> Callable[[], float]:
    """The same work by ModelBatch; it has one optimizer over tensors of all members' rates."""
    from modelbatch import ModelBatch
    from modelbatch.optimizer import OptimizerFactory

    data = task.prepare().train
    batch = ModelBatch([task.build(0) for _ in range(members)])
    rates = [{"lr": float(r)} for r in np.logspace(-4, -1, members)]
    optimizer = OptimizerFactory(torch.optim.AdamW).create_optimizer(batch, rates)
    order = torch.randperm(data.rows)

    def timed() -> float:
        began = time.perf_counter()
        for step in range(steps):
            at = step * task.batch_size % (data.rows - task.batch_size)
            rows = order[at : at + task.batch_size]
            optimizer.zero_grad()
            batch.compute_loss(batch(data.inputs[rows]), data.targets[rows], F.cross_entropy).backward()
            optimizer.step()
        return (time.perf_counter() - began) / steps / members

    return timed


def peer(make: Callable[..., Callable[[], float]], *args: Any) -> Callable[[], float] | None:
    """A peer's way; None where it is not installed."""
    try:
        return make(*args)
    except ImportError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None


class Ways:
    """The ways that ``compare`` chooses from: in this process and one a core, several sizes of cohorts."""

    def __init__(
        self,
        task: tw.Task,
        seconds: float,
        measure: Callable[[tw.Task, Sequence[Job], float], float] = work.seconds_per_step,
    ) -> None:
        self.task, self.recipe = task, tw.Recipe("adamw", lr=1e-3)

        def thorough(jobs: Sequence[Job], emit: Emit, deadline: float) -> list[Record]:
            return [{"seconds": measure(task, jobs, seconds)}] * len(jobs)

        names = ["sequential"] if executors.can_fork("cpu") else ["processes", "sequential"]
        self.quick = [executors.make(name, work.of_task(task, None), alike=work.alike) for name in names]
        self.slow = {name: executors.make(name, thorough, alike=work.alike) for name in names}

    def choose(self) -> tuple[Way, set[Way]]:
        """The way that ``compare`` would choose now, and those that it tries for that."""
        found = choosing.measure(self.task, self.recipe, self.quick, choosing.SIZES, lambda _: None, lambda _: None)
        tried = {(name, int(size)) for name, size in (way.split(" × ") for way in found["tried"])}
        return (found["name"], found["size"]), tried

    def seconds(self, way: Way, members: int | None = None, own: bool = True, steps: int = 60) -> float:
        """Seconds a run and step, of all workers together; their runs' rates differ, and their orders if they are own."""
        executor = self.slow[way[0]]
        executor.size = way[1]
        rates = np.logspace(-4, -1, members or way[1] * executor.workers)
        jobs = [Job("time", "way", self.recipe.but(lr=float(r)), k * own, steps) for k, r in enumerate(rates)]
        ends = [end for _, part in executor.run(executor.units(jobs), lambda _: None, math.inf) for end in part]
        return float(max(end["seconds"] for end in ends)) / executor.workers

    def close(self) -> None:
        """End the workers."""
        for each in (*self.quick, *self.slow.values()):
            each.close()


def rows_of(cohorts: Ways, own: bool, members: int, steps: int, rounds: int) -> list[Row]:
    """One order for all, or an order each."""
    task, (chosen, _) = cohorts.task, cohorts.choose()
    ways: dict[str, Callable[[], float] | None] = {
        "ours": lambda: cohorts.seconds(chosen, members, own, steps),
        "alone": lambda: alone(task, 10 * steps),
        "JAX": peer(jax_way, task, own, members, steps),
    }
    if not own:
        ways["ModelBatch"] = peer(modelbatch_way, task, members, max(3, steps // 10))
    times: dict[str, list[float]] = {name: [] for name, way in ways.items() if way is not None}
    for _ in range(rounds):
        for name, values in times.items():
            way = ways[name]
            values.append(way() if way else 0.0)
    how = f"{chosen[0]} × {chosen[1]}, {'an order each' if own else 'one order'}"
    what = f"digits MLP, {members} members, {how}: seconds a member and step"
    bars = {"alone": 7.0 if own else 9.0, "JAX": 1 / 1.3, "ModelBatch": None}
    found = []
    for name, values in times.items():
        if name != "ours":
            ratio = median([b / a for a, b in zip(times["ours"], values, strict=True)])
            bar = bars[name]
            found.append(
                Row(
                    what=what, ours=median(times["ours"]), peer=median(values), peer_name=name, ratio=ratio, n=rounds,
                    bar=bar, holds=None if bar is None else ratio >= bar,
                )
            )  # fmt: skip
    return found


def chosen_row(ways: Ways, rounds: int) -> Row:
    """The chosen way against alone, in turns."""
    way, _ = ways.choose()
    times = [(ways.seconds(way), alone(ways.task, 200)) for _ in range(rounds)]
    mine, theirs = (median(column) for column in zip(*times, strict=True))
    ratio = median([b / a for a, b in times])
    what = f"{ways.task.name}, {way[0]} × {way[1]}: seconds a run and step"
    return Row(what=what, ours=mine, peer=theirs, peer_name="alone", ratio=ratio, n=rounds, bar=1.4, holds=ratio >= 1.4)


def choice_rows(ways: Ways, trials: int, rounds: int) -> list[Row]:
    """How often the choice is right, and its time against the best other way's."""
    choices = [ways.choose() for _ in range(trials)]
    every = sorted(set[Way]().union(*(tried for _, tried in choices)))
    times = [{way: ways.seconds(way) for way in every} for _ in range(rounds)]
    middle = {way: median([each[way] for each in times]) for way in every}
    right = sum(middle[way] <= 1.05 * min(middle.values()) for way, _ in choices)
    usual = collections.Counter(way for way, _ in choices).most_common(1)[0][0]
    best = min((way for way in every if way != usual), key=middle.__getitem__)
    ratio = median([each[best] / each[usual] for each in times])
    said = f"{ways.task.name}: choices that are right of {trials}, each between " + ", ".join(
        f"{n} × {k}" for n, k in every
    )
    return [
        Row(what=said, ours=right, n=trials, bar=0.9 * trials, holds=right >= 0.9 * trials),
        Row(
            what=f"{ways.task.name}, {usual[0]} × {usual[1]}: seconds a run and step", ours=middle[usual],
            peer=middle[best], peer_name=f"the best other way, {best[0]} × {best[1]}", ratio=ratio, n=rounds,
            bar=1 / 1.05, holds=ratio >= 1 / 1.05,
        ),
    ]  # fmt: skip


def fashion(quick: bool) -> list[Row]:
    """The rows of fashion-mlp and fashion-cnn; none without their data."""
    rows = []
    seconds, trials, rounds = (0.3, 2, 1) if quick else (2.0, 10, 5)
    for name in ("fashion-mlp", "fashion-cnn"):
        try:
            ways = Ways(tw.Task.load(name), seconds)
        except BadData as error:
            print(f"left out: {error}", file=sys.stderr)
            return []
        try:
            rows += [chosen_row(ways, rounds)] if name == "fashion-mlp" else choice_rows(ways, trials, rounds)
        finally:
            ways.close()
    return rows


def main() -> None:
    options = arguments(__doc__)
    cohorts = Ways(tw.Task.load("digits"), 0.0, steady)  # first: workers are forked before this process calculates
    try:
        rows = fashion(options.quick)
        members, steps, rounds = (64, 30, 2) if options.quick else (MEMBERS, STEPS, 7)
        rows += [row for own in (False, True) for row in rows_of(cohorts, own, members, steps, rounds)]
    finally:
        cohorts.close()
    report(options, rows)


if __name__ == "__main__":
    main()
