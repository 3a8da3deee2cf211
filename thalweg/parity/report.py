"""Parity for programs and for a person: all rows, the worst of each rule, what is out of bounds, and notes."""

from __future__ import annotations

import math
import multiprocessing
import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from thalweg import optim
from thalweg.console import Progress
from thalweg.parity.cases import DTYPES, Case, cover, everything, large
from thalweg.parity.measure import ENGINES, INTERPRETER, SLACK, interpretable, measure
from thalweg.store import cores

Rows = list[dict[str, Any]]
SHORT = {"float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16"}
MOVED = (16, 17, 64, 1000)


def document(*, full: bool = False, workers: int | None = None, quiet: bool = False) -> dict[str, Any]:
    """Measure parity.

    Triton's interpreter takes hours for all combinations, and is asked then only if ``TRITON_INTERPRET=1`` is set.

    Args:
        full: all combinations, not a pairwise cover of them.
        workers: processes; None: one a core; 1: none but this one, and no interpreter.
        quiet: no progress on standard error.

    Returns:
        "rows", "engines" with the reason why one is missing, "moved" by low-precision SGD, and "holds".
    """
    cases = everything() if full else cover()
    rows: Rows = []
    interpret = not full and workers != 1 and interpretable()
    with Progress(quiet) as progress:
        for done, found in enumerate(_measured(cases, workers or cores(), interpret), 1):
            rows += found
            progress.at(f"{done} of {len(cases)} cases")
        for found in _measured(large(), 1, interpret):
            rows += found
            progress.at(f"{found[0]['rule']}, {found[0]['size']:,} numbers")
    asked = {INTERPRETER} if interpret else set()
    engines = [{"engine": one.name, "why_not": None if one.name in asked else one.why_not()} for one in ENGINES]
    held = moved()
    holds = all(row["holds"] is not False for row in rows) and all(row["ours"] == row["size"] for row in held)
    return {"rows": rows, "engines": engines, "moved": held, "holds": holds}


def _measured(cases: Sequence[Case], workers: int, interpret: bool = False) -> Iterator[Rows]:
    """The rows of each case: in processes of one thread each, or in this one, or one other, with all threads."""
    if not cases or (workers == 1 and not interpret):
        yield from map(measure, cases)
        return
    by_kernel = [list(group) for _, group in groupby(sorted(cases, key=lambda c: c.kernel), lambda c: c.kernel)]
    begin = (torch.get_num_threads() if workers == 1 else 1, interpret)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, begin) as pool:
        for found in pool.map(_together, by_kernel):
            yield from found


def _begin(threads: int, interpret: bool) -> None:
    torch.set_num_threads(threads)
    if interpret:
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported


def _together(cases: Sequence[Case]) -> list[Rows]:
    return [measure(case) for case in cases]


def moved(sizes: Sequence[int] = MOVED) -> Rows:
    """How many of n bfloat16 numbers a step of SGD moves: torch's fused one, and ours."""
    found = []
    for size in sizes:
        counts = {"size": size}
        for name, cls, options in (("torch", torch.optim.SGD, {"fused": True}), ("ours", optim.SGD, {})):
            p = nn.Parameter(torch.ones(size, dtype=torch.bfloat16))
            p.grad = torch.ones_like(p)
            try:
                cls([p], lr=0.5, **options).step()
            except RuntimeError:
                continue  # a torch without it
            counts[name] = _differs(p)
        found.append(counts)
    return found


def _differs(p: Tensor) -> int:
    return int((p.detach() != 1).sum())


def number(x: float) -> str:
    """At most seven characters.

    Example:
        >>> number(4.25), number(158.0), number(343943621.0), number(math.inf)
        ('4.2', '158', '3.4e8', 'inf')
    """
    if not math.isfinite(x):
        return str(x)
    if x >= 9999.5:
        mantissa, exponent = f"{x:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{x:.0f}" if x >= 10 or x == round(x) else f"{x:.1f}"


def text(found: dict[str, Any]) -> str:
    """The same for a person: 80 columns."""
    rows: Rows = [row for row in found["rows"] if "why" not in row]
    here = [one["engine"] for one in found["engines"] if not one["why_not"]]
    lines = ["The largest distance from an oracle in exact arithmetic over 20 steps, in ulp of"]
    lines += ["max(|p before|, |p after|, |step|):", ""]
    for start in range(0, len(here), 2):
        lines += [*_table(rows, here[start : start + 2]), ""]
    out = [row for row in rows if row["holds"] is False]
    lines += [f"Out of bounds: {len(out)} of {len(rows)} rows" + (":" if out else "")]
    for row in out:
        what = f"{row['rule']} + {row['link']}, {row['engine']}, {row['dtype']} × {row['size']}"
        lines += [f"  {what}, {row['layout']}, {row['gradients']}:"]
        lines += [f"    {number(row['ulp'])} ulp, bound {number(row['bound'])}, {row['flips']} flips"]
    return "\n".join([*lines, "", *_notes(found, rows)])


def _table(rows: Rows, engines: Sequence[str]) -> list[str]:
    lines = [f"{'':18}" + "".join(f"{name:^30} " for name in engines).rstrip()]
    lines += [f"{'rule':18}" + " ".join("".join(f"{SHORT[d]:>7}" for d in DTYPES) + "  " for _ in engines).rstrip()]
    for rule in dict.fromkeys(row["rule"] for row in rows):
        cells = []
        for engine in engines:
            for dtype in DTYPES:
                known = [r for r in rows if (r["rule"], r["engine"], r["dtype"]) == (rule, engine, dtype)]
                worst = [r["ulp"] for r in known if r["gradients"] != "huge"]
                cells.append(f"{number(max(worst)) if worst else '-':>7}")
            cells.append("   ")
        lines.append(f"{rule:18}" + "".join(cells).rstrip())
    return lines


def _notes(found: dict[str, Any], rows: Rows) -> list[str]:
    flips: Counter[str] = Counter()
    for row in rows:
        flips[row["engine"]] += row["flips"]
    lines = [f"Bound: the reference's own maximum in the same case + {SLACK:.0f}. The table leaves out"]
    lines += ["gradients of ±1e30, where numbers overflow within a step; their rows have", "bounds all the same."]
    counted = ", ".join(f"{name} {flips[name]}" for name in flips)
    lines += textwrap.wrap(f"Flips of sign, counted apart: {counted}.", 80, break_on_hyphens=False)
    reasons = Counter(row["why"] for row in found["rows"] if "why" in row)
    lines += [f"Not run: {why} (rows: {count})." for why, count in reasons.items()]
    lines += [f"Not here: {one['engine']}: {one['why_not']}." for one in found["engines"] if one["why_not"]]
    sizes = ", ".join(str(row["size"]) for row in found["moved"])
    lines += [f"A step of bfloat16 SGD on tensors of {sizes} elements moves"]
    for name, whose in (("torch", "torch's fused one"), ("ours", "this one")):
        lines += [f"  {', '.join(str(row.get(name, '-')) for row in found['moved'])} of them: {whose}."]
    return lines
