"""Whether each fault hurts and its remedy helps: a case in which one does not is none.

Over some seeds the error of the healthy setting, of the faulty one and of that with the remedy. *Hurts*: the gap between
the first two is above zero at the 5 % level (one-sided paired t), and at least 2 % of what separates chance from perfect.
*Restores*: the remedy takes away at least 90 % of it. The bench's table holds the cases in which both hold.
``python -m benchmarks.faults.check [--half HALF] [--only PATTERN] [--jobs 2] [--seeds 3] [--first 0] [--folder FOLDER]
[--json]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from .cases import CASES, HALVES, HELD_OUT, THIRD, Case, named
from .kept import Kept, spread
from .scores import score
from .setting import Fault

LEVEL, LEAST, RESTORED = 0.05, 0.02, 0.9


def measured(case: Case, seed: int) -> dict[str, Any]:
    """The three errors."""
    assert isinstance(case.what, Fault)
    warnings.simplefilter("ignore")
    base, chance = case.start(seed), case.chance
    made = {"healthy": case.what.healthy, "faulty": case.what.inject}
    if case.what.remedy:
        made["remedied"] = case.what.remedy
    found = {name: score(make(base, seed), case.what.measure, seed, chance) for name, make in made.items()}
    return {"case": case.name, "seed": seed} | {"remedied": found["healthy"]} | found


def judged(records: list[dict[str, Any]], chance: float) -> dict[str, Any]:
    """Whether the fault of some records hurts, and how much of the gap the remedy takes away."""
    healthy, faulty, remedied = (np.array([r[name] for r in records]) for name in ("healthy", "faulty", "remedied"))
    gap = faulty - healthy
    error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.inf
    surely = error == 0 or stats.t.sf(gap.mean() / error, len(gap) - 1) < LEVEL
    hurts = bool(gap.mean() > LEAST * chance and surely)
    restored = float((faulty - remedied).mean() / gap.mean()) if gap.mean() > 0 else float("nan")
    return {
        "healthy": float(healthy.mean()), "faulty": float(faulty.mean()), "remedied": float(remedied.mean()),
        "hurts": hurts, "restored": restored, "holds": hurts and restored >= RESTORED, "n": len(gap),
    }  # fmt: skip


def judgements(cases: Iterable[Case], kept: Kept) -> list[dict[str, Any]]:
    """Of every case of which there are records."""
    known = [(case, kept.of(case.name)) for case in cases]
    return [{"case": c.name, "half": c.half} | judged(records, c.chance) for c, records in known if records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=(*HALVES, HELD_OUT), help="of the cases; nothing: the first two")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--folder", type=Path, help="where the results are kept; those that are there are not made again"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    cases = [c for c in (*CASES, *THIRD) if options.half in (None, c.half) and (options.half or c.half in HALVES)]
    chosen = [case for case in cases if isinstance(case.what, Fault) and options.only in case.name]
    kept = Kept(options.folder and options.folder / "check.jsonl")
    seeds = range(options.first, options.first + options.seeds)
    todo = [(case.name, seed) for seed in seeds for case in chosen if (case.name, seed) not in kept]
    spread(_one, todo, options.jobs, kept)
    rows = judgements(chosen, kept)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        said = "holds" if row["holds"] else "does not restore" if row["hurts"] else "does not hurt"
        print(
            f"{said:16}  {row['case']:45} {row['healthy']:.3g} → {row['faulty']:.3g} → {row['remedied']:.3g}"
            f"  restored {row['restored']:.2f}"
        )
    print(f"{sum(row['holds'] for row in rows)} of {len(rows)} hold", file=sys.stderr)


def _one(key: tuple[str, int]) -> dict[str, Any]:
    return measured(named(key[0]), key[1])


if __name__ == "__main__":
    main()
