"""Which shifts are named, whether harmless ones raise an alarm, and whether the recommended remedy is the best one.

Fifteen shifts made from digits, fashion images and house values (`scenarios.py`). Of each: the kind that `thalweg.shift`
names (and the broken features, where there are some); whether it asks for action; the remedy that it recommends. The
remedies are then tried again on other rows of the same shift with another seed: the recommended one is right if it is the
best there or the intervals of the two reach each other; where nothing has to be done, if nothing is recommended.

Then the null: random splits of unchanged rows, of 30 to 100 000, with and without labels, on which nothing should be named
more often than the level; all sizes together, and each.
``python benchmarks/shifts.py [--json] [--quick] [--folder FOLDER]``; a scenario whose data are missing is left out, with a
word; what lies in ``--folder`` is not measured again.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scenarios
from harness import Row, arguments, report
from scenarios import SCENARIOS, Ground, Scenario
from torch import cat

from thalweg.console import columns
from thalweg.data import Tensors
from thalweg.errors import BadData
from thalweg.shifts import shift, try_remedies
from thalweg.shifts.reading import read
from thalweg.store import plain

LEVEL = 0.05
BARS = {"kinds": 13, "remedies": 12}  # of 15
NORM, TUNED = "recalibrate batch norm", "fine-tune everything"
RECOVERED = 0.5  # of the loss that the shift cost
SPLITS = {30: 120, 300: 120, 3000: 80, 10_000: 60, 100_000: 20}  # rows of each side: how many splits
Record = dict[str, Any]


def kept(folder: Path | None, name: str, make: Callable[[], Record]) -> Record:
    """What ``make`` gives, or what a folder holds of it."""
    if folder is None:
        return make()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name.replace(' ', '-').replace(',', '')}.json"
    if not file.exists():
        file.write_text(json.dumps(plain(make())), encoding="utf-8")
    record: Record = json.loads(file.read_text(encoding="utf-8"))
    return record


def record_of(scenario: Scenario) -> Record:
    """What is said of a shift, and what its remedies do on other rows of it."""
    case = scenario.case(0, 0)
    started = time.perf_counter()
    found = shift(case.run, task=case.task, reference=case.reference, incoming=case.incoming, level=LEVEL, quiet=True)
    seconds = time.perf_counter() - started
    chosen = found.recommended.name if found.recommended is not None else "nothing"
    record: Record = {
        "expected": sorted(map(str, scenario.kinds)), "kind": str(found.kind), "confidence": found.named.confidence,
        "named": set(scenario.features) <= set(found.named.features), "alarm": found.matters, "asks": scenario.asks,
        "recommended": chosen, "best": "nothing", "right": chosen == "nothing", "seconds": seconds, "tried": [],
        "rows": found.rows[1],
    }  # fmt: skip
    if not scenario.asks:
        return record
    again = scenario.case(1, 1)
    tried = try_remedies(
        again.task, again.run.model, *(read(rows, again.task, "rows") for rows in (again.reference, again.incoming)),
        kind=found.named, recipe=again.run.recipe, seed=1,
    )  # fmt: skip
    measured = {t.name: t for t in tried if t.measured}
    best, mine = min(measured.values(), key=lambda t: t.change.mean), measured.get(chosen)
    reach = mine is not None and mine.change.mean <= best.interval[1]
    return record | {"best": best.name, "right": reach, "tried": [t.as_dict() for t in tried]}


def kind_right(record: Record) -> bool:
    return record["kind"] in record["expected"] and record["named"]


def rows_of(records: dict[str, Record]) -> list[Row]:
    """The counts against the bars, then a row each shift."""
    n = len(records)
    whole = n == len(SCENARIOS)
    counts = {
        "kinds": sum(map(kind_right, records.values())),
        "remedies": sum(bool(r["right"]) for r in records.values()),
    }
    rows = [
        Row(
            what=f"{name} right, of {n} shifts", ours=count, n=n, bar=BARS[name] if whole else None,
            holds=count >= BARS[name] if whole else None,
        )
        for name, count in counts.items()
    ]  # fmt: skip
    calm = [r for r in records.values() if not r["asks"]]
    alarms = sum(bool(r["alarm"]) for r in calm)
    rows.append(Row(what="alarms where nothing has to be done", ours=alarms, n=len(calm), bar=0, holds=alarms == 0))
    for name, record in records.items():
        rows.append(Row(what=f"{name}: seconds", ours=record["seconds"], n=record["rows"], holds=kind_right(record)))
        tried = {t["name"]: t for t in record["tried"]}
        if isinstance(tried.get(NORM, {}).get("loss"), float):
            rows.append(norm_row(name, tried))
    return rows


def norm_row(name: str, tried: dict[str, Any]) -> Row:
    """Which share of what a shift cost batch norm's recalibration brings back, beside fine-tuning."""
    before, clean = tried["nothing"]["loss"], tried["nothing"]["old_loss"]
    ours, theirs = ((before - tried[which]["loss"]) / (before - clean) for which in (NORM, TUNED))
    low, high = (-end / (before - clean) for end in reversed(tried[NORM]["interval"]))
    return Row(
        what=f"{name}: share of the loss that recalibrating brings back [{low:.2f}, {high:.2f}]", ours=ours, peer=theirs,
        peer_name=TUNED, n=2, bar=RECOVERED, holds=low >= RECOVERED,
    )  # fmt: skip


def null_pool(rows: int) -> tuple[Ground, Any]:
    """Unchanged rows enough for two sides."""
    if rows <= 300:
        ground = scenarios.digits()
        return ground, tuple(cat(part) for part in zip(ground.reference, *ground.pool, strict=True))
    if rows <= 3000:
        ground = scenarios.fashion()
        return ground, tuple(cat(part) for part in zip(ground.reference, *ground.pool, strict=True))
    return scenarios.housing(), None


def null_of(rows: int, seed: int) -> Record:
    """What is said of a random split."""
    ground, pool = null_pool(rows)
    random = np.random.default_rng([rows, seed])
    if pool is None:
        sides = [scenarios.many(ground, random, rows=rows) for _ in range(2)]
    else:
        drawn = random.permutation(len(pool[0]))[: 2 * rows]
        sides = [tuple(part[index] for part in pool) for index in (drawn[:rows], drawn[rows:])]
    bare = Tensors(sides[1].inputs, None) if isinstance(sides[1], Tensors) else sides[1][0]
    found, unlabeled = (
        shift(
            ground.run, task=ground.task, reference=sides[0], incoming=incoming, remedies=False, seed=seed, level=LEVEL,
            quiet=True,
        )
        for incoming in (sides[1], bare)
    )  # fmt: skip
    assert found.inputs is not None
    least = min(test.adjusted for test in found.inputs.features)
    return {
        "rows": rows, "kind": str(found.kind), "alarm": found.matters, "joint": found.inputs.joint.p, "features": least,
        "unlabeled": unlabeled.matters, "unlabeled kind": str(unlabeled.kind),
    }  # fmt: skip


def null_rows(records: list[Record]) -> list[Row]:
    """How often the tests' p-values lie below the level, which is how often they should; alarms ask for an effect too."""
    n = len(records)
    spread = 3 * math.sqrt(LEVEL * (1 - LEVEL) / n)
    found = []
    for which, name in (("alarm", "with labels"), ("unlabeled", "without labels")):
        for size in (None, *sorted({r["rows"] for r in records})):
            some = [bool(r[which]) for r in records if size in (None, r["rows"])]
            most = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / len(some))
            rate, of = sum(some) / len(some), "all sizes" if size is None else f"{size} rows of each side"
            what = f"alarm rate under no shift, {name}, {of}"
            found.append(Row(what=what, ours=rate, n=len(some), bar=most, holds=rate <= most))
    for which, name in (("joint", "joint p"), ("features", "least adjusted p of the features")):
        low = sum(r[which] < LEVEL for r in records) / n
        holds = abs(low - LEVEL) <= spread
        found.append(
            Row(what=f"{name} below {LEVEL} under no shift, ± {spread:.3f}", ours=low, n=n, bar=LEVEL, holds=holds)
        )
    return found


def main() -> None:
    options = arguments(__doc__, "where the results are kept; nothing: nowhere")
    records: dict[str, Record] = {}
    for scenario in SCENARIOS:
        if scenario.quick or not options.quick:
            try:
                records[scenario.name] = kept(options.folder, scenario.name, functools.partial(record_of, scenario))
                print(f"{scenario.name}: {records[scenario.name]['kind']}", file=sys.stderr, flush=True)
            except BadData as error:
                print(f"{scenario.name}: left out: {error}", file=sys.stderr)
    nulls: list[Record] = []
    for rows, count in ({30: 20, 300: 10} if options.quick else SPLITS).items():
        try:
            for seed in range(count):
                nulls.append(kept(options.folder, f"split {rows} {seed}", functools.partial(null_of, rows, seed)))
        except BadData as error:
            print(f"splits of {rows} rows: left out: {error}", file=sys.stderr)
        counts = [sum(bool(r[which]) for r in nulls if r["rows"] == rows) for which in ("alarm", "unlabeled")]
        said = f"{rows} rows: {counts[0]} alarms with labels and {counts[1]} without, of {count}"
        print(said, file=sys.stderr, flush=True)
    if not options.json:
        table = [("shift", "kind", "right", "alarm", "recommended", "best again", "right", "seconds")]
        for name, r in records.items():
            marks = [("no", "yes")[bool(x)] for x in (kind_right(r), r["alarm"], r["right"])]
            table.append(
                (name, r["kind"], marks[0], marks[1], r["recommended"], r["best"], marks[2], f"{r['seconds']:.1f}")
            )
        print(columns(table))
    report(options, rows_of(records) + null_rows(nulls))


if __name__ == "__main__":
    main()
