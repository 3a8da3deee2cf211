"""What thalweg says of injected faults and of healthy controls, beside what published rules say of the same cases.

Each case is diagnosed on some seeds: by `thalweg.diagnose`, or, where the fault is in a loop of one's own, by `thalweg.watch`
inside it. *Detected*: an error or a warning among the first five findings; on a control that is a false alarm. *Top-1*: the
first finding's code is one of the case's right ones. The first remedy is tried on a few seeds wherever it can be applied;
it restores when at least 90 % of the gap between the faulty and the healthy setting is gone. Thresholds are chosen on the
first half of the cases, by a hash of their names. ``--half held-out`` is a third set, of other tasks, that only runs when it
is asked for: it is to be opened once, with the probes frozen, and the report says whether it was (``held_out/opened.jsonl``).
Faults that `benchmarks.faults.check`, which only trains, found idle on other seeds (``--first 100``, same folder) are left out.

``python -m benchmarks.faults [--quick] [--half first|second|held-out] [--only PATTERN] [--jobs 2] [--seeds 10] [--folder FOLDER]
[--misses] [--json]``; what lies in the folder is not measured again, so that it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.harness import report
from thalweg.diagnosis.findings import FAMILIES

from .bench import record_of
from .cases import CASES, HALVES, HELD_OUT, THIRD
from .check import judgements
from .held_out.opened import opened
from .kept import Kept, spread
from .summary import confusion, missed, rows

QUICK, FULL = 270.0, 3500.0  # seconds


def family_of(code: str) -> str:
    """Of a code."""
    return next(family for family, codes in FAMILIES.items() if code in codes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="every fourth case, one seed, five minutes at most")
    parser.add_argument("--half", choices=(*HALVES, HELD_OUT), help="of the cases; nothing: the first two")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where the results are kept; nothing: nowhere")
    parser.add_argument("--misses", action="store_true", help="also what was said where it was wrong")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    of = THIRD if options.half == HELD_OUT else [c for c in CASES if options.half in (None, c.half)]
    cases = [c for c in of if options.only in c.name]
    if options.half == HELD_OUT:
        checked = judgements(cases, Kept(options.folder and options.folder / "check.jsonl"))
        idle = {row["case"] for row in checked if not row["holds"]}
        cases = [c for c in cases if c.name not in idle]
        print(opened(len(cases)), file=sys.stderr)
        print(
            f"{len(checked)} faults were checked; {len(idle)} do not hurt or are not mended, and are out",
            file=sys.stderr,
        )
    if options.quick:
        cases = cases[::4]
    kept = Kept(options.folder and options.folder / "bench.jsonl")
    keys = [(case.name, seed) for seed in range(1 if options.quick else options.seeds) for case in cases]
    deadline = time.monotonic() + (QUICK if options.quick else FULL)
    spread(record_of, [key for key in keys if key not in kept], options.jobs, kept, deadline)
    records = [kept[key] for key in keys if key in kept]
    if len(records) < len(keys):
        print(f"{len(keys) - len(records)} of {len(keys)} not measured: the time is over", file=sys.stderr)
    report(options, rows(records))
    if options.json:
        return
    for family, counts in confusion(records, family_of).items():
        print(f"{family}: {', '.join(f'{name} {n}' for name, n in counts.most_common())}")
    if options.misses:
        for name, said in missed(records).items():
            print(f"wrong: {name}: {', '.join(f'{code} {n}' for code, n in said.most_common())}")


if __name__ == "__main__":
    main()
