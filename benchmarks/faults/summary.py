"""The figures of the bench: shares with Wilson's intervals, confusion, remedies, calibration, cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.harness import Row, median

from .baselines import BASELINES
from .bench import alarms

Record = dict[str, Any]
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
BARS = {"detected": 0.95, "false alarms": 0.05, "top-1": 0.9, "remedy": 0.8}
RESTORED = 0.9  # of the gap


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    if not n:
        return 0.0, 1.0
    found = stats.binomtest(hits, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def share(what: str, hits: Sequence[bool], bar: float | None = None, at_most: bool = False, **peer: Any) -> Row:
    """A row for a share, with its interval as part of its name."""
    n = len(hits)
    value = sum(hits) / n if n else float("nan")
    low, high = wilson(sum(hits), n)
    holds = None if bar is None or not n else value <= bar if at_most else value >= bar
    return Row(what=f"{what} [{low:.3f}, {high:.3f}]", ours=value, n=n, bar=bar, holds=holds, **peer)


def detected(record: Record) -> bool:
    """Whether there is an alarm."""
    return bool(alarms(record["findings"]))


def named(record: Record, first: int) -> bool:
    """Whether a right code is among the first few findings."""
    return any(f["code"] in record["codes"] for f in record["findings"][:first])


def restored(record: Record) -> float | None:
    """The share of the gap that the first remedy takes away; None where it was not tried, or there is no gap."""
    errors = record.get("remedy")
    if not errors or errors["faulty"] <= errors["healthy"]:
        return None
    return float((errors["faulty"] - errors["remedied"]) / (errors["faulty"] - errors["healthy"]))


def rows(records: Sequence[Record]) -> list[Row]:
    """All of it as the harness prints it."""
    faults = [r for r in records if r["family"] != "healthy"]
    controls = [r for r in records if r["family"] == "healthy"]
    tried = [value for r in faults if (value := restored(r)) is not None]
    found = [
        share("faults detected", [detected(r) for r in faults], BARS["detected"]),
        share("false alarms on controls", [detected(r) for r in controls], BARS["false alarms"], True),
        share("top-1 of faults", [named(r, 1) for r in faults], BARS["top-1"]),
        share("top-3 of faults", [named(r, 3) for r in faults]),
        share("first remedies that restore 90 % of the gap", [x >= RESTORED for x in tried], BARS["remedy"]),
        share("first remedies confirmed by verify()", [r["outcome"]["helps"] for r in faults if r.get("outcome")]),
        share("diagnoses that raised", ["error" in r for r in records], 0.0, True),
    ]
    for name in BASELINES:
        found += _baseline(name, faults, controls)
    for family in dict.fromkeys(r["family"] for r in faults):
        own = [r for r in faults if r["family"] == family]
        found.append(share(f"{family}: detected", [detected(r) for r in own]))
        found.append(share(f"{family}: top-1", [named(r, 1) for r in own]))
    found += _calibration(faults, controls)
    evaluations = [r["evaluations"] for r in records if r.get("evaluations") is not None]
    found.append(
        Row(what="seconds of a diagnosis, median", ours=_middle([r["seconds"] for r in records]), n=len(records))
    )
    found.append(Row(what="gradient evaluations of a diagnosis, median", ours=_middle(evaluations), n=len(evaluations)))
    return [row for row in found if row.n]


def _middle(values: Sequence[float]) -> float:
    return median(values) if values else float("nan")


def _baseline(name: str, faults: Sequence[Record], controls: Sequence[Record]) -> Iterable[Row]:
    """A published tool's figures, on the seeds on which it was asked, with ours on the same ones beside them."""
    bad = [r for r in faults if "baselines" in r]
    good = [r for r in controls if "baselines" in r]
    says: Callable[[Record], set[str]] = lambda r: set(r["baselines"][name])  # noqa: E731
    for what, own, ours, theirs in (
        ("faults detected", bad, detected, lambda r: bool(says(r))),
        ("false alarms", good, detected, lambda r: bool(says(r))),
        ("a right code named", bad, lambda r: named(r, 3), lambda r: bool(says(r) & set(r["codes"]))),
    ):
        peer = sum(map(theirs, own)) / len(own) if own else float("nan")
        low, high = wilson(sum(map(theirs, own)), len(own))
        yield share(
            f"{what}, against {name}", list(map(ours, own)), peer=peer, peer_name=f"{name} [{low:.3f}, {high:.3f}]"
        )


def _calibration(faults: Sequence[Record], controls: Sequence[Record]) -> list[Row]:
    """Of the first alarm, how often it is right where it says to be so sure; and Brier's score."""
    pairs = []
    for record in (*faults, *controls):
        if first := alarms(record["findings"])[:1]:
            pairs.append((first[0]["confidence"], first[0]["code"] in record["codes"]))
    found = []
    for low, high in pairwise(BINS):
        own = [(c, right) for c, right in pairs if low <= c < high or (c == high == 1.0)]
        if own:
            said = float(np.mean([c for c, _ in own]))
            found.append(
                share(f"right where sure by {low:g} to {high:g}, said {said:.3f}", [right for _, right in own])
            )
    brier = float(np.mean([(c - right) ** 2 for c, right in pairs])) if pairs else float("nan")
    return [*found, Row(what="Brier score of the first alarm's confidence", ours=brier, n=len(pairs))]


def confusion(records: Sequence[Record], family_of: Callable[[str], str]) -> dict[str, Counter[str]]:
    """For each family of faults, and for the controls, how often the first alarm was of which family."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        first = alarms(record["findings"])[:1]
        found[record["family"]][family_of(first[0]["code"]) if first else "silent"] += 1
    return dict(found)


def missed(records: Sequence[Record]) -> dict[str, Counter[str]]:
    """For each case that was not named first, or control with an alarm, what was said first, and how often."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        wrong = detected(record) if record["family"] == "healthy" else not named(record, 1)
        if wrong:
            first = record["findings"][:1]
            found[record["case"]][record.get("error", "silent")[:60] if not first else first[0]["code"]] += 1
    return dict(found)
