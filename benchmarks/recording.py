"""A step of a cohort, played from a recording and run through vmap and autograd, in turns: what the recording saves.

The digits MLP (64-32-10, batch 64, AdamW) on one thread, as a worker of ``compare`` trains it, with several numbers of
members, with one order of the rows for all and with an order each. Both give the same bits (tests/test_recording.py).
``python benchmarks/recording.py [--json] [--quick]``
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from harness import Row, arguments, median, report

import thalweg as tw
from thalweg import recording
from thalweg.batch import Batch, Several
from thalweg.stacked import Entry, Stacked

MEMBERS, TURN, WARM = (2, 16, 64, 256), 8, 2


def batches(task: tw.Task, seeds: list[int]) -> Iterator[Batch | Several]:
    """Whole batches, without end."""
    while True:
        for batch in task.prepare().train.training(task.batch_size, seeds):
            if batch.rows == task.batch_size:
                yield batch


def row(task: tw.Task, members: int, own: bool, turns: int) -> Row:
    """Seconds of a step, both ways."""
    entries = [Entry(tw.Recipe("adamw", lr=1e-3 * (1 + k)), k * own, turns * TURN * 3) for k in range(members)]
    cohort, feed = Stacked(task, entries), batches(task, [entry.seed for entry in entries])
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(turns):
        for recorded, taken in times.items():
            recording.OFTEN = 1 if recorded else 10**9
            recording._recordings.clear()  # making one is warming up, and is not timed
            for k in range(TURN):
                batch = next(feed)
                began = time.perf_counter()
                cohort.backward(cohort.forward(batch), 1.0)
                cohort.step()
                if k >= WARM:
                    taken.append(time.perf_counter() - began)
    ratio = median([b / a for a, b in zip(times[True], times[False], strict=True)])
    how = f"digits MLP, {members} members, {'an order each' if own else 'one order'}: seconds of a step, recorded"
    mine, other = median(times[True]), median(times[False])
    return Row(what=how, ours=mine, peer=other, peer_name="run", ratio=ratio, n=len(times[True]))


def main() -> None:
    options = arguments(__doc__)
    torch.set_num_threads(1)
    members, turns = (MEMBERS[:2], 2) if options.quick else (MEMBERS, 30)
    task = tw.Task.load("digits")
    report(options, [row(task, k, own, turns) for k in members for own in (False, True)])


if __name__ == "__main__":
    main()
