"""Proxies: a large task compared on fewer steps and less data, at two scales, and whether the ranking holds between them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

from ..errors import Allowed, BadOption, check, unknown
from ..store import Store
from ..task import Task
from .horizons import ranking_change, slope
from .plan import Budget
from .statistics import difference, fit_layout
from .study import Study

SHARES = Allowed("a share in (0, 1]", lambda v: isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= 1)
SMALLER = 0.5  # the smaller scale's shares over those that were asked for
LEAST_STEPS, LEAST_ROWS = 20, 2  # of a proxy: updates, and batches
PART = 1 / 3  # of the budget, what the smaller scale may spend
Shares = Mapping[str, float]


def read(proxy: Any) -> dict[str, float] | None:
    """The shares of steps and data that a proxy has; None for none.

    Raises:
        BadOption: not ``{"steps": share, "data": share}``.

    Example:
        >>> read({"steps": 0.1})
        {'steps': 0.1, 'data': 1.0}
    """
    if proxy is None:
        return None
    if not isinstance(proxy, Mapping) or not proxy:
        raise BadOption(f"compare: proxy must be shares, got {proxy!r}", 'write proxy={"steps": 0.1, "data": 0.2}')
    for name, share in proxy.items():
        if name not in ("steps", "data"):
            raise unknown("compare", "proxy", name, ["steps", "data"])
        check("compare", f"proxy {name}", share, SHARES)
    return {"steps": float(proxy.get("steps", 1.0)), "data": float(proxy.get("data", 1.0))}


def scaled(task: Task, shares: Shares) -> Task:
    """The task with a share of its updates, on a share of its training rows drawn once by the task's seed.

    Validation and test data, metric and model stay.

    Args:
        task: the large one.
        shares: of ``steps`` and ``data``, each in (0, 1].

    Raises:
        BadData: rows of the data cannot be chosen.

    Example:
        >>> import thalweg
        >>> small = scaled(thalweg.Task.load("digits"), {"steps": 0.1, "data": 0.5})
        >>> small.prepare().steps, small.prepare().train.rows
        (42, 648)
    """
    data = task.prepare()
    steps, train = max(min(LEAST_STEPS, data.steps), round(data.steps * shares["steps"])), data.train
    if shares["data"] < 1:
        rows = train.count()
        kept = min(rows, max(LEAST_ROWS * int(data.batch_size), round(rows * shares["data"])))
        train = train.split(kept, task.seed)[1] if kept < rows else train
    made = replace(task, steps=steps, epochs=None)
    batches = train.steps_per_epoch(data.batch_size) if train.rows is not None else 0
    an_epoch = math.ceil(batches / task.accumulate) if batches else data.steps_per_epoch
    made._memory["prepared"] = replace(
        data, train=train, steps=steps, batches_per_epoch=batches, steps_per_epoch=an_epoch,
        epochs=math.ceil(steps / an_epoch) if an_epoch else 1,
    )  # fmt: skip
    return made


@dataclass(frozen=True)
class Stability:
    """Whether a ranking holds from one scale to the next.

    Attributes:
        shares: of steps and data, of the smaller scale and of the larger.
        leaders: the best mean at each.
        reversed: pairs, the first surely better at the smaller scale and surely worse at the larger.
        tau: Kendall's, of the two rankings; None for fewer than two recipes in both.
        rates: by tuned entrant, (steps, rate) at each scale.
        slopes: decades of the best rate per decade of steps.
        stable: no pair is reversed, and each scale's leader is not surely worse than the other's at the other scale.
    """

    shares: tuple[Shares, Shares]
    leaders: tuple[str | None, str | None]
    reversed: tuple[tuple[str, str], ...]
    tau: float | None
    rates: dict[str, list[tuple[int, float]]]
    slopes: dict[str, float]
    stable: bool

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {k: getattr(self, k) for k in self.__dataclass_fields__} | {"sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """What it says of the large task."""
        small, large = (f"{s['steps']:.3g} of the steps and {s['data']:.3g} of the data" for s in self.shares)
        where = f"on proxies, {large}, and {small}"
        if self.leaders[0] is None or self.leaders[1] is None:
            return f"Compared {where}: too little ran to compare the rankings."
        if self.stable:
            return f"Compared {where}: the ranking is stable between them."
        pair = next(iter(self.reversed), (self.leaders[0], self.leaders[1]))
        return f"Compared {where}: the ranking is not stable ({pair[0]} before {pair[1]} on the smaller, not on the larger)."


def stability(small: Study, large: Study, shares: tuple[Shares, Shares]) -> Stability:
    """Compare the verdicts of a task's two proxies."""
    rows = [{s.name: s for s in study.finalists} for study in (small, large)]
    common = [name for name in rows[0] if name in rows[1]]
    orders = [[name for name in each if name in common] for each in rows]
    surely = [_sure_pairs(study, common) for study in (small, large)]
    turned = tuple(pair for pair in permutations(common, 2) if pair in surely[0] and pair[::-1] in surely[1])
    first, second = (next(iter(order), None) for order in orders)
    fallen = (second, first) in surely[1] or (first, second) in surely[0]
    rates = {
        name: [
            (study.document["steps"], each[name].recipe.lr or 0.0)
            for study, each in zip((small, large), rows, strict=True)
        ]
        for name in common
        if rows[0][name].rates and rows[1][name].rates
    }
    slopes = {name: found for name, points in rates.items() if (found := slope(points)) is not None}
    tau = ranking_change(*orders)["tau"] if len(common) > 1 else None
    return Stability(shares, (first, second), turned, tau, rates, slopes, not turned and not fallen)


def _sure_pairs(study: Study, names: Sequence[str]) -> set[tuple[str, str]]:
    """The pairs of finalists whose first is better in a paired test at level .05 on their common seeds."""
    sign = 1 if study.verdict.direction == "max" else -1
    values = {s.name: {seed: sign * v for seed, v in zip(s.seeds, s.scores, strict=True)} for s in study.finalists}
    found = set()
    for a, b in permutations(names, 2):
        seeds = sorted(values[a].keys() & values[b].keys())
        if (
            len(seeds) > 1
            and difference(fit_layout([[values[x][s] for s in seeds] for x in (a, b)]), 0, 1).interval[0] > 0
        ):
            found.add((a, b))
    return found


def on_proxies(
    compare: Callable[..., Study],
    task: Task,
    shares: Shares,
    *,
    budget: str | float | None,
    folder: str | Path,
    **options: Any,
) -> Study:
    """The study of the larger proxy, with the `Stability` of its ranking in its document under ``proxy``.

    The smaller one has half the shares, and a third of the budget.

    Args:
        compare: makes a study.
        task: the large task.
        shares: what was asked for.
        budget: for both.
        folder: of the two studies, ``smaller`` and ``larger``.
        options: the others of ``compare``.
    """
    began, limit = time.monotonic(), Budget.of(budget)
    both = ({k: max(v * SMALLER, 1e-9) for k, v in shares.items()}, dict(shares))
    homes = (Path(folder) / "smaller", Path(folder) / "larger")
    small = compare(scaled(task, both[0]), budget=limit.part(1 / PART), folder=homes[0], **options)
    if not Store(homes[0]).head().get("complete"):  # Ctrl-C
        return small
    rest = limit.part(1 / (1 - PART))
    if limit.kind == "seconds":
        rest = max(0.1, limit.amount - (time.monotonic() - began))
    large = compare(scaled(task, both[1]), budget=rest, folder=homes[1], **options)
    found = stability(small, large, both)
    large.document["proxy"] = found.as_dict()
    large.document["notes"] = [*(n for n in large.document["notes"] if n != found.sentence), found.sentence]
    Store(homes[1]).write("verdict.json", large.document)
    return Study.load(homes[1], large.best.task if large.best else None)
