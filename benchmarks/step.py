"""Time of an optimizer's step against torch's fused and foreach steps, other libraries, and an in-place multiplication.

Rows, each from steps that take turns with the peer's:

- AdamW in float32 against torch's fused AdamW: few and many, large and small tensors (11 M in 62 are ResNet-18's, 124 M
  in 148 are GPT-2's), also directly after a backward;
- its share of the bandwidth of an in-place multiplication, from 64 K numbers to 124 M, in four tensors and in 256;
- other rules at 124 M numbers against the fastest eager peer (torch, pytorch_optimizer, torch-optimi), each in trainings
  of its own (trainings.py), and their floor: the bytes they must move at the bandwidth of an in-place multiplication;
  Lion with the decay that its algorithm has, and without;
- bfloat16 with stochastic rounding against torch's fused AdamW in float32;
- links: the time of a step with them against one without;
- the overhead of a step in Python, the first step of a process, and the import.

``python benchmarks/step.py [--json] [--quick]``; the peers come with ``pip install thalweg[bench]``.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import quantiles
from typing import Any

import torch
import trainings
from harness import Row, arguments, median, report
from torch.nn import functional as F
from trainings import PLACES, WARM, WIDTH

from thalweg import optim

Params = list[torch.nn.Parameter]
Step = Callable[[], Any]
Turn = dict[str, float]
BLOCK = [WIDTH * n for n in (1, 1, 3 * WIDTH, 3, WIDTH, 1, 1, 1, 4 * WIDTH, 4, 4 * WIDTH, 1)]


def gpt2(blocks: int, words: int) -> list[int]:
    """The tensors of GPT-2."""
    return [words * WIDTH, PLACES * WIDTH, *blocks * BLOCK, WIDTH, WIDTH]


LARGE = gpt2(12, 50_257)  # 148, 124 M numbers


def stage(inputs: int, outputs: int) -> list[int]:
    """The tensors of two blocks of ResNet-18; the first has a projection where its width changes."""
    first, other = 9 * inputs * outputs, 9 * outputs**2
    projection = [] if inputs == outputs else [inputs * outputs]
    return [n for weight in (first, other, *projection, other, other) for n in (weight, outputs, outputs)]


STAGES = [n for sizes in ((64, 64), (64, 128), (128, 256), (256, 512)) for n in stage(*sizes)]
MIDDLE = [64 * 3 * 49, 64, 64, *STAGES, 512 * 1000, 1000]  # ResNet-18's: 62, 11.7 M
PEERS = {
    "rmsprop": [("torch", "RMSprop")],
    "nadam": [("torch", "NAdam"), ("pytorch_optimizer", "NAdam")],
    "radam": [("torch", "RAdam"), ("optimi", "RAdam"), ("pytorch_optimizer", "RAdam")],
    "adadelta": [("torch", "Adadelta")],
    "lion": [("optimi", "Lion"), ("pytorch_optimizer", "Lion")],
    "ademamix": [("pytorch_optimizer", "AdEMAMix")],
    "schedulefreeadamw": [("pytorch_optimizer", "ScheduleFreeAdamW")],
    "adan": [("optimi", "Adan"), ("pytorch_optimizer", "Adan")],
}
RULES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in PEERS]
RULES.insert(1 + RULES.index(("lion", {})), ("lion", {"weight_decay": 0.1}))
ENOUGH = 5  # turns
DISTURBED = 1.4  # × the lower quartile of the multiplication's times: others on the machine halve its memory's speed


def params(sizes: list[int], dtype: torch.dtype = torch.float32) -> Params:
    made = [torch.nn.Parameter(torch.randn(n).to(dtype)) for n in sizes]
    for p in made:
        p.grad = torch.randn_like(p)
    return made


def turns(steps: dict[str, Step], n: int, before: Step | None = None) -> dict[str, list[float]]:
    """Seconds of the steps, which take turns; the first turns are not counted."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(n + WARM):
        for name, step in steps.items():
            if before is not None:
                before()
            began = time.perf_counter()
            step()
            if turn >= WARM:
                times[name].append(time.perf_counter() - began)
    return times


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median over the turns of ours / theirs."""
    return median([a / b for a, b in zip(ours, theirs, strict=True)])


def multiply(numbers: int) -> Step:
    x = torch.ones(numbers)
    return lambda: x.mul_(1.0001)


def below(what: str, bar: float, n: int, step: Step, peer: Step, peer_name: str, before: Step | None = None) -> Row:
    """A row that asks for a time of at most ``bar`` × the peer's."""
    times = turns({"ours": step, "peer": peer}, n, before)
    found = ratio(times["ours"], times["peer"])
    medians = {"ours": median(times["ours"]), "peer": median(times["peer"])}
    return Row(what=what, **medians, peer_name=peer_name, ratio=found, n=n, bar=bar, holds=found <= bar)


def against_fused(quick: bool) -> list[Row]:
    cases = [
        ("100 k in 4 tensors", [25_000] * 4, 0.75, 400),
        ("10 M in 2 000 tensors", [5_000] * 2_000, 0.5, 30),
        ("11 M in 62 tensors", MIDDLE, 1.03, 30),
        *([] if quick else [("124 M in 148 tensors", LARGE, 1.03, 11)]),
    ]
    rows = []
    for what, sizes, bar, n in cases:
        ours, theirs = optim.AdamW(params(sizes)), torch.optim.AdamW(params(sizes), fused=True)
        rows.append(below(f"seconds, AdamW, {what}", bar, n, ours.step, theirs.step, "torch fused"))
        gc.collect()
    return [*rows, after_backward()]


def after_backward() -> Row:
    """Both optimizers step directly after a backward of the same kind of network."""
    x, y = torch.randn(128, 784), torch.randint(10, (128,))
    nets = [torch.nn.Sequential(torch.nn.Linear(784, 125), torch.nn.ReLU(), torch.nn.Linear(125, 10)) for _ in range(2)]
    ours, theirs = optim.AdamW(nets[0].parameters()), torch.optim.AdamW(nets[1].parameters(), fused=True)

    def backward() -> None:
        for net in nets:
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()

    what = "seconds, AdamW, 100 k in 4 tensors, directly after a backward"
    return below(what, 1.0, 400, ours.step, theirs.step, "torch fused", backward)


def bandwidth(quick: bool) -> list[Row]:
    """The share of an in-place multiplication's bandwidth that AdamW reaches: as asked, then from small to large."""
    sizes, n = (MIDDLE, 21) if quick else (LARGE, 11)
    rows = [floor_row("adamw", sizes, n, 0.9)]
    for numbers, n in ((2**16, 400), (2**20, 200), (sum(MIDDLE), 30), *([] if quick else [(sum(LARGE), 11)])):
        for tensors in (4, 256):
            rows.append(floor_row("adamw", [numbers // tensors] * tensors, n))
            gc.collect()
    return rows


def passes(opt: Any) -> float:
    """The bytes of a step over those of an in-place multiplication."""
    moved = opt.explain(measure=False).parts[0].bytes_per_parameter
    assert moved is not None
    return float(moved) / 8


def amount(numbers: int) -> str:
    return f"{numbers // 10**6} M" if numbers >= 10**6 else f"{numbers // 2**10} K"


def floor_row(name: str, sizes: list[int], n: int, bar: float | None = None) -> Row:
    """The time of a rule's step, its bandwidth, and the share of that of an in-place multiplication."""
    opt = optim.optimizer_class(name)(params(sizes))
    times = turns({"ours": opt.step, "floor": multiply(sum(sizes))}, n)
    share = median([b * passes(opt) / a for a, b in zip(times["ours"], times["floor"], strict=True)])
    ours = median(times["ours"])
    what = f"seconds, {opt.rule.title} beside an in-place multiplication, {amount(sum(sizes))} in {len(sizes)} tensors"
    held = {"bar": bar, "holds": None if bar is None else share >= bar}
    speed = 8e-9 * passes(opt) * sum(sizes) / ours
    return Row(what=what, ours=ours, limit_share=share, gb_per_s=speed, n=n, **held)


def against_eager(
    name: str, options: dict[str, Any], sizes: list[int], every: list[Turn], calm: list[Turn]
) -> Row | None:
    """The fastest peer's time over ours, in the calm turns and in all; None where no peer is installed."""
    peers = every[0].keys() - {"thalweg", "floor"}
    if not peers:
        return None
    times = {who: [turn[who] for turn in calm] for who in every[0]}
    ours, best = times["thalweg"], min(peers, key=lambda who: median(times[who]))
    faster = ratio(times[best], ours)
    small = optim.optimizer_class(name)(params([1_000]), **options)
    small.step()
    most = ratio(times[best], times["floor"]) / passes(small)
    all_turns = median([turn[best] / turn["thalweg"] for turn in every])
    rule = small.rule.title + (" with decay" if options else "")
    what = f"seconds, {rule}, {amount(sum(sizes))} in {len(sizes)} tensors"
    what += f"; the floor's ratio {most:.2f}; of all {len(every)} turns {all_turns:.2f}"
    kept = {"ours": median(ours), "peer": median(times[best]), "n": len(ours)}
    return Row(what=what, **kept, peer_name=best, ratio=faster, bar=2.5, holds=faster >= 2.5)


def rules(quick: bool) -> list[Row]:
    """Other rules against eager peers, each in a training of its own: several trainings, spread over the benchmark.

    Two trainings of one optimizer differ more than two of its steps: by the memory that the system had for it, and by what
    else the machine did then. Turns whose multiplication took far longer than most are left out: others on the machine had
    its memory then, and a peer's steps, tensor by tensor out of the cache, feel that less.
    """
    visits, blocks, words, n = (1, 1, 5_000, 11) if quick else (7, 12, 50_257, 3)
    sizes = gpt2(blocks, words)
    taken: list[list[Turn]] = [[] for _ in RULES]
    for _ in range(visits):
        for every, (name, options) in zip(taken, RULES, strict=True):
            entries = [("thalweg", name), *PEERS[name]]
            made = {library: trainings.Training(library, title, blocks, words, options) for library, title in entries}
            every += trainings.turns({**made, "floor": trainings.Floor(sum(sizes))}, n)
    most = DISTURBED * quantiles([turn["floor"] for every in taken for turn in every], n=4)[0]
    rows = []
    for every, (name, options) in zip(taken, RULES, strict=True):
        calm = [turn for turn in every if turn["floor"] <= most]
        rows.append(against_eager(name, options, sizes, every, calm if len(calm) >= ENOUGH else every))
        rows.append(None if options else floor_row(name, sizes, visits * n, 0.8))
        gc.collect()
    return [row for row in rows if row is not None]


def low_precision(quick: bool) -> list[Row]:
    sizes, n = (MIDDLE, 21) if quick else (LARGE, 9)
    ours = optim.AdamW(params(sizes, torch.bfloat16), rounding="stochastic")
    theirs = torch.optim.AdamW(params(sizes), fused=True)
    what = f"seconds, AdamW, all bfloat16, stochastic rounding, {sum(sizes) // 10**6} M"
    return [below(what, 0.8, n, ours.step, theirs.step, "torch fused, float32")]


def link(what: str, options: dict[str, Any], share: float, quick: bool) -> Row:
    """A step with a link against one without: the bar is the share of the bytes and 10 %."""
    sizes, n = (MIDDLE, 31) if quick else (LARGE, 61)
    plain = optim.AdamW(params(sizes), weight_decay=0.0)
    linked = optim.AdamW(params(sizes), **{"weight_decay": 0.0, **options})
    plain.track_norm = "clip_norm" in options
    without = "without, the norm found on the way" if plain.track_norm else "without"
    name = f"seconds, AdamW with {what}, {sum(sizes) // 10**6} M"
    return below(name, 1.1 * share, n, linked.step, plain.step, without)


def links(quick: bool) -> list[Row]:
    """Each link in a process of its own, whose memory is as the system gave it.

    Clipping must know the norm before the step, so that it reads the gradient once more; a step without it finds the norm
    on its way.
    """
    kinds: list[tuple[str, dict[str, Any], float]] = [
        ("cautious", {"cautious": True}, 28 / 28),
        ("decoupled decay", {"weight_decay": 0.01}, 28 / 28),
        ("norm clipping", {"clip_norm": 1.0}, 32 / 28),
        ("EMA", {"ema": 0.999}, 36 / 28),
    ]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        return [pool.submit(link, *kind, quick).result() for kind in kinds]


def overhead(n: int) -> list[Row]:
    """Microseconds of a step of tensors of one number."""
    found = {}
    for tensors in (4, 148):
        opt = optim.AdamW(params([1] * tensors))
        found[tensors] = 1e6 * median(turns({"ours": opt.step}, n)["ours"])
    each = (found[148] - found[4]) / 144
    base = found[4] - 4 * each
    return [
        Row(what="µs of a step in Python, whatever the tensors", ours=base, n=n, bar=25, holds=base <= 25),
        Row(what="µs of a step in Python for each tensor", ours=each, n=n, bar=0.5, holds=each <= 0.5),
    ]


FIRST = """
import time, torch
from thalweg import optim
p = [torch.nn.Parameter(torch.randn(25_000)) for _ in range(4)]
for x in p: x.grad = torch.randn_like(x)
began = time.perf_counter()
optim.AdamW(p).step()
print(time.perf_counter() - began)
"""
IMPORT = "import time, torch; began = time.perf_counter(); import thalweg; print(time.perf_counter() - began)"


def run(script: str, cache: str) -> float:
    here = {**os.environ, "THALWEG_CACHE": cache}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=here)
    return float(done.stdout)


def beginning(n: int) -> list[Row]:
    cold, warm, imports = [], [], []
    for _ in range(n):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(run(FIRST, folder))
            warm.append(run(FIRST, folder))
            imports.append(1e3 * run(IMPORT, folder))
    kinds = [
        ("seconds of the first step, cold", cold, 1.6),
        ("seconds of the first step, from the cache", warm, 0.65),
        ("ms that import thalweg adds to torch", imports, 50.0),
    ]
    return [Row(what=what, ours=median(t), n=n, bar=bar, holds=median(t) <= bar) for what, t, bar in kinds]


def main() -> None:
    options = arguments(__doc__)
    quick = options.quick
    fused = against_fused(quick)
    large = [*bandwidth(quick), *rules(quick), *low_precision(quick), *links(quick)]
    if quick:  # the bars are for 124 M numbers
        large = [replace(row, bar=None, holds=None) for row in large]
    report(options, [*fused, *large, *overhead(200 if quick else 1000), *beginning(2 if quick else 5)])


if __name__ == "__main__":
    main()
