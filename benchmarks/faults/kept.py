"""Results that are made once: a file of JSON lines that only grows, keyed by case and seed, and processes that fill it."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from thalweg.store import plain

Key = tuple[str, int]


class Kept:
    """Records by case and seed.

    Args:
        file: where they lie; None: nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self.file, self._records = file, dict[Key, dict[str, Any]]()
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the last line of a run that was killed
                self._records[record["case"], record["seed"]] = record

    def __contains__(self, key: Key) -> bool:
        return key in self._records

    def __getitem__(self, key: Key) -> dict[str, Any]:
        return self._records[key]

    def of(self, case: str) -> list[dict[str, Any]]:
        """All records of a case."""
        return [record for (name, _), record in self._records.items() if name == case]

    def add(self, record: dict[str, Any]) -> None:
        """Keep one more."""
        record = plain(record)
        self._records[record["case"], record["seed"]] = record
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


def _alone() -> None:
    torch.set_num_threads(1)


def spread(
    work: Callable[[Key], dict[str, Any]], keys: Sequence[Key], jobs: int, kept: Kept, deadline: float = float("inf")
) -> None:
    """Do the work of every key in some processes of one thread each, until a deadline of `time.monotonic`."""
    queue, done = list(keys), 0
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _alone) as pool:
        waiting = {pool.submit(work, key): key for key in queue[: 2 * jobs]}
        queue = queue[2 * jobs :]
        while waiting:
            future = next(as_completed(waiting))
            key = waiting.pop(future)
            kept.add(future.result())
            done += 1
            print(f"\r{done}/{len(keys)} {key[0]:60.60}", end="", file=sys.stderr, flush=True)
            if queue and time.monotonic() < deadline:
                following = queue.pop(0)
                waiting[pool.submit(work, following)] = following
    print(file=sys.stderr)
