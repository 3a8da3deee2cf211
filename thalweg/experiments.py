"""Experiments on the user's own model: what happens to it over a range of something, with and without normalization."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import lengths, loop
from .console import Progress, columns
from .drawing import look, new_figure, open_axes
from .errors import COUNT, BadOption, check
from .recipe import Recipe
from .stacked import Entry, TooLarge
from .store import plain

if TYPE_CHECKING:
    from .task import Task

SCALES = tuple(float(f"{s:.3g}") for s in np.geomspace(1e-4, 1, 20))
SIZES = (2, 8, 32, 128)
TOGETHER = 64  # runs that are one program
PLAIN = Recipe("adam", lr=1e-3, schedule="constant")


@dataclass(frozen=True)
class Curves:
    """A number for each value of what was varied, a curve for each normalization.

    Attributes:
        task: its name.
        what: what was varied.
        values: of it.
        metric: that was measured on ``select``.
        direction: ``max`` or ``min``.
        scores: normalization → values × seeds; NaN for a run that diverged.
        recipe: how all were trained, but for what was varied.
        chance: the metric of the untrained model.
    """

    task: str
    what: str
    values: tuple[float, ...]
    metric: str
    direction: str
    scores: dict[str, npt.NDArray[np.float64]]
    recipe: Recipe
    chance: float

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        fields = {k: getattr(self, k) for k in ("task", "what", "values", "metric", "direction", "chance")}
        return fields | {
            "recipe": self.recipe.as_dict(),
            "scores": {norm: found.tolist() for norm, found in self.scores.items()},
        }

    def save(self, path: str | Path) -> Path:
        """Write the numbers as JSON."""
        path = Path(path)
        path.write_text(json.dumps(plain(self.as_dict()), indent=1), encoding="utf-8")
        return path

    def best(self, norm: str) -> float:
        """The best mean over the seeds that a normalization reaches."""
        means = self._means(norm)
        return float(np.nanmax(means) if self.direction == "max" else np.nanmin(means))

    def flat(self, norm: str, within: float = 0.05) -> float:
        """Share of the values at which the mean is within ``within`` of the best, as a share of best minus chance."""
        reach = abs(self.best(norm) - self.chance) * within
        means = self._means(norm)
        return float(np.mean(np.abs(means - self.best(norm)) <= reach))  # NaN is not near

    def _means(self, norm: str) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = self.scores[norm].mean(1)
        return found

    def __str__(self) -> str:
        rows = [(self.what, *(f"norm={norm}" for norm in self.scores))]
        for i, value in enumerate(self.values):
            rows.append((f"{value:.3g}", *(_word(found[i]) for found in self.scores.values())))
        said = [
            f"norm={norm}: best {self.best(norm):.4g}, nearly so at {self.flat(norm):.0%} of the values"
            for norm in self.scores
        ]
        head = f"{self.task}: {self.metric} after training, mean ± standard deviation over seeds ({self.recipe})"
        return "\n".join([head, columns(rows), *said])

    def plot(self, path: str | Path | None = None) -> Any:
        """The curves, with the range of the seeds; a matplotlib figure, also written to ``path``."""
        figure = new_figure(6.4, 3.8)
        axes = figure.subplots()
        for k, (norm, found) in enumerate(self.scores.items()):
            style = look(k)
            axes.plot(self.values, found.mean(1), marker="osD^"[k % 4], markersize=4, label=f"norm={norm}", **style)
            low, high = np.fmin.reduce(found, 1), np.fmax.reduce(found, 1)
            axes.fill_between(self.values, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.axhline(self.chance, color="0.5", linewidth=0.8)
        place: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "xytext": (-3, -3),
        }
        axes.annotate("untrained", (1, self.chance), ha="right", va="top", color="0.4", **place)
        axes.set_xscale("log")
        axes.set_xlabel(self.what)
        axes.set_ylabel(f"{self.metric}, select")
        open_axes(axes)
        axes.legend(frameon=False)
        if path is not None:
            figure.savefig(path, dpi=200)
        return figure


def _word(scores: npt.NDArray[np.float64]) -> str:
    if np.isnan(scores).any():
        return f"{int(np.isnan(scores).sum())} of {len(scores)} diverged"
    return f"{scores.mean():.4g} ± {scores.std(ddof=1):.2g}" if len(scores) > 1 else f"{scores.mean():.4g}"


def init_scale(
    task: Task,
    norms: Sequence[str] = ("keep", "batch"),
    values: Sequence[float] = SCALES,
    seeds: int = 2,
    recipe: Recipe = PLAIN,
    quiet: bool = False,
) -> Curves:
    """Train a task's model from weights drawn from N(0, scale²), with several normalizations.

    Args:
        task: with its model.
        norms: normalizations, as `Recipe` takes them.
        values: standard deviations of the weights.
        seeds: runs of each.
        recipe: how.
        quiet: no progress.

    Example:
        >>> import thalweg
        >>> found = init_scale(thalweg.Task.load("digits"), values=(1e-3, 0.1), seeds=1, quiet=True)
        >>> list(found.scores), found.scores["batch"].shape
        (['keep', 'batch'], (2, 1))
    """
    return _curves(
        task, "standard deviation of the initial weights", values, norms, seeds, quiet, recipe,
        lambda scale: {"init": f"normal({scale:g})"},
    )  # fmt: skip


def batch_size(
    task: Task,
    norms: Sequence[str] = ("keep", "batch"),
    values: Sequence[float] = SIZES,
    seeds: int = 2,
    recipe: Recipe = PLAIN,
    quiet: bool = False,
) -> Curves:
    """Train a task's model with several batch sizes and normalizations, for as many epochs, or as many steps, as it has.

    Args:
        task: with its model.
        norms: normalizations, as `Recipe` takes them.
        values: rows a batch.
        seeds: runs of each.
        recipe: how; the rate is that of the task's own batch size, times √(size / own).
        quiet: no progress.
    """
    own = task.prepare().batch_size
    rate = recipe.lr or 1e-3
    return _curves(
        task, "batch size", values, norms, seeds, quiet, recipe,
        lambda size: {"batch_size": int(size), "lr": rate * math.sqrt(size / own)},
    )  # fmt: skip


def _curves(
    task: Task,
    what: str,
    values: Sequence[float],
    norms: Sequence[str],
    seeds: int,
    quiet: bool,
    recipe: Recipe,
    change: Any,
) -> Curves:
    check("experiment", "seeds", seeds, COUNT)
    if not norms or not values:
        raise BadOption(
            "experiment: name at least one normalization and one value", "leave them out for the usual ones"
        )
    data = task.prepare()
    scores = {norm: np.full((len(values), seeds), math.nan) for norm in norms}
    with Progress(quiet) as progress:
        for norm in norms:
            recipes = [recipe.but(norm=norm, **change(value)) for value in values]
            places = [(i, seed) for i in range(len(values)) for seed in range(seeds)]
            for size in dict.fromkeys(r.batch_size for r in recipes):
                mine = [(i, seed) for i, seed in places if recipes[i].batch_size == size]
                for start in range(0, len(mine), TOGETHER):
                    part = mine[start : start + TOGETHER]
                    progress.at(f"norm={norm}, {what}: {len(part)} runs together")
                    for (i, seed), score in zip(
                        part, _scores(task, [(recipes[i], seed) for i, seed in part]), strict=True
                    ):
                        scores[norm][i, seed] = score
            progress.say(f"norm={norm}: {len(places)} runs done.")
    untrained = task.evaluate(task.build(task.seed), data.select)[data.metric]
    return Curves(task.name, what, tuple(values), data.metric, data.direction, scores, recipe, untrained)


def _scores(task: Task, wanted: Sequence[tuple[Recipe, int]]) -> list[float]:
    """The metric on ``select`` after training; NaN for a run that did not finish."""
    entries = [Entry(recipe, seed, lengths.horizon(task, recipe)) for recipe, seed in wanted]
    try:
        runs, _ = loop.run_cohort(task, entries, [1] * len(entries), splits=("select",))
    except TooLarge:
        half = len(wanted) // 2
        return _scores(task, wanted[:half]) + _scores(task, wanted[half:])
    if any(run.outcome.reason == "interrupted" for run in runs):
        raise KeyboardInterrupt
    metric = task.prepare().metric
    return [run.final[metric] if run.outcome.status == "finished" else math.nan for run in runs]
