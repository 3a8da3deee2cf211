"""What initialization and normalization do: 20 plain ReLU layers on MNIST, the scale of the weights, the report's time.

``compare`` with the axis ``init`` on 20 layers of width 128, two epochs, momentum: the accuracy of each initialization on the
judge half and the paired difference to the model as it is built. Then 8 layers over 20 scales of N(0, scale²), with and
without batch norm. Then seconds of ``tw.signal`` on 50 layers of width 512 (`examples/deep_tanh.py`).
``python benchmarks/initialization.py [--json] [--quick] [--folder FOLDER]``; without MNIST the digits take its place.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from harness import Row, arguments, median, report
from torch import nn

import thalweg as tw
from thalweg import experiments
from thalweg.errors import BadData

CHANCE = 0.15  # accuracy of ten classes that nothing was learned about; the largest one has 12 %


def plain(depth: int, width: int, inputs: int) -> nn.Module:
    """Linear layers and ReLU, as torch builds them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(depth):
        layers += [nn.Linear(width if i else inputs, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def base(quick: bool) -> tuple[tw.Task, int]:
    """MNIST or the digits, and how many numbers a picture has."""
    if not quick:
        try:
            task = tw.Task.load("mnist-mlp")
            task.prepare()
            return task, 784
        except BadData as error:
            print(f"the digits instead: {error}", file=sys.stderr)
    return tw.Task.load("digits"), 64


def initializations(task: tw.Task, inputs: int, quick: bool) -> list[Row]:
    """The finalists of a comparison, each against the model as it is built."""
    deep = replace(
        task, model=lambda: plain(20, 128 if inputs == 784 else 64, inputs), epochs=2, steps=None, name="20 layers"
    )
    with tempfile.TemporaryDirectory() as folder:
        study = tw.compare(
            deep, field=["momentum"], baseline=tw.Recipe("momentum", lr=0.01), axes={"init": ["torch", "he_normal", "lsuv"]},
            budget="60 runs" if quick else "90 runs", folder=f"{folder}/study", quiet=True,
        )  # fmt: skip
    built = next(s for s in study.finalists if s.baseline)
    rows = [
        Row(
            what=f"20 ReLU layers on {task.name}: accuracy as torch builds them", ours=built.mean, n=len(built.scores),
            bar=CHANCE, holds=built.mean < CHANCE,
        )
    ]  # fmt: skip
    for s in study.finalists:
        if not s.baseline:
            rows.append(
                Row(
                    what=f"20 ReLU layers on {task.name}: accuracy of {s.name} at {s.recipe.lr:.2g}", ours=s.mean,
                    peer=built.mean, peer_name="as torch builds them, momentum at .01", n=len(s.scores),
                    interval=s.difference.interval, delta=study.verdict.smallest_difference,
                    **({} if s.recipe.init == "torch" else {"bar": 0.0, "holds": s.difference.interval[0] > 0}),
                )
            )  # fmt: skip
    return rows


def scales(task: tw.Task, inputs: int, folder: Path | None, quick: bool) -> list[Row]:
    """Best accuracy, and the share of the scales that are nearly as good, with and without batch norm."""
    eight = replace(
        task, model=lambda: plain(8, 50, inputs), epochs=1 if inputs == 784 else 5, name=f"8 layers, {task.name}"
    )
    found = experiments.init_scale(eight, seeds=1 if quick else 3, quiet=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        found.save(folder / "init_scale.json")
        found.plot(folder / "init_scale.png")
    n, said = found.scores["batch"].shape[1], f"8 ReLU layers on {task.name}"
    keep, batch = (found.flat(norm, 0.1) for norm in ("keep", "batch"))
    return [
        Row(
            what=f"{said}, with batch norm: share of 20 scales within a tenth of the best accuracy", ours=batch, peer=keep,
            peer_name="without: a peak", ratio=batch / keep, n=n, bar=2.0, holds=batch >= 2 * keep,
        ),
        Row(
            what=f"{said}, with batch norm: the best accuracy", ours=found.best("batch"), peer=found.best("keep"),
            peer_name="without", n=n,
        ),
    ]  # fmt: skip


def report_time(n: int) -> Row:
    """Seconds of the signal report, with preparing the task."""
    deep = tw.Task.load(f"{Path(__file__).resolve().parents[1] / 'examples' / 'deep_tanh.py'}:task")
    times = []
    for _ in range(n):
        task = replace(deep)
        began = time.perf_counter()
        tw.signal(task)
        times.append(time.perf_counter() - began)
    what = "seconds of tw.signal on 50 layers of width 512"
    return Row(what=what, ours=median(times), n=n, bar=5.0, holds=median(times) <= 5)


def main() -> None:
    options = arguments(__doc__, "where the curves and their picture are written; nothing: nowhere")
    task, inputs = base(options.quick)
    rows = [report_time(2 if options.quick else 5)]
    rows += initializations(task, inputs, options.quick)
    rows += scales(task, inputs, options.folder, options.quick)
    report(options, rows)


if __name__ == "__main__":
    main()
