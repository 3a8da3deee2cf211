"""What the benchmark scripts share: their options, the machine, the table."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from thalweg.store import cores, plain


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison: medians of ours and of the peer, the median of the ratios of the pairs (peer / ours for times).

    ``limit_share`` is the share of the physical limit that ours reaches (1: at the limit), ``bar`` the ratio asked for.
    ``interval`` is that of the paired difference in favour of ours, and ``delta`` the smallest difference of interest.
    ``gb_per_s`` is what ours moves.
    """

    what: str
    ours: float
    peer: float | None = None
    peer_name: str | None = None
    ratio: float | None = None
    limit_share: float | None = None
    n: int
    bar: float | None = None
    holds: bool | None = None
    interval: tuple[float, float] | None = None
    delta: float | None = None
    gb_per_s: float | None = None


def arguments(doc: str | None, folder: str | None = None) -> argparse.Namespace:
    """``--json`` and ``--quick``; ``--folder``, where there is something to keep in one, with a word on what."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    if folder is not None:
        parser.add_argument("--folder", type=Path, help=folder)
    return parser.parse_args()


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        name = platform.processor()
    return {
        "processor": name or platform.machine(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def report(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Print the rows as a table, or as the JSON that programs read."""
    here = machine()
    if options.json:
        print(json.dumps(plain({"machine": here, "rows": [asdict(row) for row in rows]}), indent=1))
        return
    print(" · ".join(f"{k} {v}" for k, v in here.items()))
    for row in rows:
        print(f"{row.what} (n {row.n}): {row.ours:.4g}")
        if row.peer is not None:
            ratio = "" if row.ratio is None else f", ratio {row.ratio:.2f}"
            print(f"  {row.peer_name}: {row.peer:.4g}{ratio}")
        if row.interval is not None and row.delta is not None:
            low, high = row.interval
            print(f"  difference in [{low:.4g}, {high:.4g}] (95 %), of interest from {row.delta:.4g}")
        if row.limit_share is not None:
            speed = "" if row.gb_per_s is None else f", {row.gb_per_s:.0f} GB/s"
            print(f"  share of the limit {row.limit_share:.2f}{speed}")
        if row.bar is not None:
            print(f"  bar {row.bar:g}: {'holds' if row.holds else 'missed'}")
