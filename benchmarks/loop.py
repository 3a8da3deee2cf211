"""Seconds of an epoch of fashion-mlp: our loop, an ordinary loop, and forward + backward alone as the floor.

The ordinary loop is the one of the tutorials: a DataLoader over a TensorDataset, batch 128, torch.optim.Adam at its
defaults. All three train the same 784-128-10 network on the same rows, in alternating rounds in one process.
``python benchmarks/loop.py [--json] [--quick]``; without THALWEG_DATA the images are random numbers of the same shape.
"""

from __future__ import annotations

import os
import time

import torch
from harness import Row, arguments, median, report
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import thalweg as tw
from thalweg import loop

BATCH = 128


def task(rows: int) -> tw.Task:
    if os.environ.get("THALWEG_DATA"):
        train = tw.Task.load("fashion-mlp").prepare().train
        x, y = train.inputs[:rows], train.targets[:rows]
    else:
        x, y = torch.rand(rows, 1, 28, 28), torch.randint(10, (rows,))
    valid = (x[:1000], y[:1000])
    return tw.Task(model=network, train=(x, y), valid=valid, batch_size=BATCH, epochs=1, name="fashion-mlp")


def network() -> torch.nn.Sequential:
    layers = (torch.nn.Flatten(), torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    return torch.nn.Sequential(*layers)


def ours(task: tw.Task, seed: int) -> float:
    cohort = loop.Solo(task, tw.Recipe("adam", lr=1e-3), seed, 1000)
    data = task.prepare()
    steps = data.steps_per_epoch
    began = time.perf_counter()
    loop.train(cohort, loop.updates(data.train, BATCH, 1, seed), [loop.Course(steps)])
    return time.perf_counter() - began


def ordinary(task: tw.Task, seed: int) -> float:
    torch.manual_seed(seed)
    rows = task.prepare().train
    loader = DataLoader(TensorDataset(rows.inputs, rows.targets), batch_size=BATCH, shuffle=True)
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    began = time.perf_counter()
    for x, y in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def floor(task: tw.Task, seed: int) -> float:
    torch.manual_seed(seed)
    rows = task.prepare().train
    model = network()
    x, y = rows.inputs[:BATCH], rows.targets[:BATCH]
    began = time.perf_counter()
    for _ in range(task.prepare().steps_per_epoch):
        F.cross_entropy(model(x), y).backward()
        for parameter in model.parameters():
            parameter.grad = None
    return time.perf_counter() - began


def main() -> None:
    options = arguments(__doc__)
    subject = task(10_000 if options.quick else 50_000)
    rounds = 3 if options.quick else 31
    times: dict[str, list[float]] = {"ours": [], "ordinary": [], "floor": []}
    for way in (ours, ordinary, floor):
        way(subject, 0)  # warm
    for seed in range(rounds):
        for way in (ours, ordinary, floor):
            times[way.__name__].append(way(subject, seed))
    ratios = [b / a for a, b in zip(times["ours"], times["ordinary"], strict=True)]
    shares = [c / a for a, c in zip(times["ours"], times["floor"], strict=True)]
    report(
        options,
        [
            Row(
                what=f"seconds per epoch of fashion-mlp, batch {BATCH}, Adam",
                ours=median(times["ours"]),
                peer=median(times["ordinary"]),
                peer_name="DataLoader and torch.optim.Adam",
                ratio=median(ratios),
                limit_share=median(shares),
                n=rounds,
                bar=1.8,
                holds=median(ratios) >= 1.8,
            )
        ],
    )


if __name__ == "__main__":
    main()
