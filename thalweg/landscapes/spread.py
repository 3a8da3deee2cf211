"""How far apart training ends from many starts, against the width of the network.

Legend: W values of what is varied, S starts of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .. import lengths, loop, variants
from ..console import columns
from ..errors import COUNT, BadOption, check, optional
from ..experiments import PLAIN, TOGETHER
from ..stacked import Entry, TooLarge
from .rounding import EPSILON

if TYPE_CHECKING:
    from ..recipe import Recipe
    from ..task import Task

Floats: TypeAlias = npt.NDArray[np.float64]
SPLITS = ("train", "select")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
FEWEST = 5  # losses of either side from which on an interval of a ratio is given


@dataclass(frozen=True)
class Endings:
    """The final losses of the starts of one value on one part of the data.

    Attributes:
        value: of what was varied.
        n: runs that finished.
        lost: runs that did not, which are left out of the numbers.
        mean: of the n losses.
        sd: their standard deviation.
        quantiles: lowest, lower quartile, median, upper quartile, highest.
        losses: the losses themselves, in the order of the seeds.
    """

    value: Any
    n: int
    lost: int
    mean: float
    sd: float
    quantiles: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Ratio:
    """The standard deviation at one value over that at another.

    Attributes:
        value: of what was varied.
        reference: the other value.
        ratio: of the two standard deviations.
        interval: where the true ratio lies.
    """

    value: Any
    reference: Any
    ratio: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """Final losses over many starts, for each value of an argument of the model's factory.

    Attributes:
        task: its name.
        axis: the argument that was varied.
        starts: runs of each value; their seeds all differ.
        steps: of the runs of each value.
        recipe: how all were trained.
        endings: ``train`` or ``select`` → one for each value.
        ratios: likewise, each value's standard deviation over that of the last; joint intervals of 95 %.
    """

    task: str
    axis: str
    starts: int
    steps: tuple[int, ...]
    recipe: Recipe
    endings: dict[str, tuple[Endings, ...]]
    ratios: dict[str, tuple[Ratio, ...]]

    @property
    def sentence(self) -> str:
        """What the standard deviations of the final training losses say."""
        parts = []
        for r in self.ratios["train"]:
            low, high = r.interval
            known = "narrower" if high < 1 else "wider" if low > 1 else "not shown to differ"
            parts.append(
                f"{self.axis} {r.value} over {r.reference}: {r.ratio:.3g} (95 %: {low:.3g} to {high:.3g}), {known}"
            )
        return "Spread of the final training loss, ratio of standard deviations: " + "; ".join(parts) + "."

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        found = {name: getattr(self, name) for name in ("task", "axis", "starts", "steps", "sentence")}
        return found | {
            "recipe": self.recipe.as_dict(),
            "endings": {split: [vars(e) for e in endings] for split, endings in self.endings.items()},
            "ratios": {split: [vars(r) for r in ratios] for split, ratios in self.ratios.items()},
        }

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [(self.axis, "loss", "n", "mean", "sd", "lowest", "median", "highest")]
        for split, endings in self.endings.items():
            for e in endings:
                shown = (e.mean, e.sd, e.quantiles[0], e.quantiles[2], e.quantiles[-1])
                rows.append((str(e.value), split, str(e.n), *(f"{x:.4g}" for x in shown)))
        lost = [f"{e.lost} of {self.starts} runs of {self.axis} {e.value} did not finish and are left out."
                for e in self.endings["train"] if e.lost]  # fmt: skip
        head = f"{self.task}: final loss over {self.starts} starts ({self.recipe})"
        return "\n".join([head, columns(rows), *lost, self.sentence])


def spread(
    task: Task,
    axis: str = "width",
    values: Sequence[Any] = (4, 16, 64),
    starts: int = 20,
    recipe: Recipe | None = None,
    steps: int | None = None,
    seed: int = 0,
    observe: Callable[[str], None] | None = None,
) -> Spread:
    """Train from many starts at each value of an argument of the model's factory, and compare where the runs end.

    A start is a seed of its own: initial weights, order of the batches, dropout. The losses are means over all rows of
    ``train`` and of ``select``, after the last step, in evaluation mode.

    Args:
        task: whose model is a factory with the argument ``axis``.
        axis: the argument.
        values: of it, at least two; all but the last are compared with the last.
        starts: of each value, at least 2.
        recipe: how, with its learning rate; None: Adam at a constant 0.001.
        steps: of each run; None: the task's own.
        seed: of the first run; the others count on from it.
        observe: called with a sentence before each part of the work.

    Raises:
        BadOption: an argument outside what is allowed, or a factory that does not take ``axis``.
        BadTask: the factory fails with a value.

    Example:
        >>> import thalweg
        >>> found = spread(thalweg.Task.load("digits"), values=(2, 8), starts=5, steps=3)
        >>> [e.n for e in found.endings["train"]], len(found.ratios["select"])
        ([5, 5], 1)
    """
    check("spread", "starts", starts, COUNT)
    check("spread", "steps", steps, optional(COUNT))
    if len(values) < 2 or starts < 2:
        raise BadOption(f"spread: {len(values)} values and {starts} starts", "give at least two of both")
    recipe = recipe or PLAIN
    if recipe.lr is None:
        raise BadOption("spread: the recipe has no learning rate", "give one: Recipe(..., lr=1e-3)")
    variants.check(task, axis)
    found: dict[str, list[Endings]] = {split: [] for split in SPLITS}
    taken = []
    for i, value in enumerate(values):
        variant = variants.of(task, {axis: value})
        taken.append(steps or lengths.horizon(variant, recipe))
        entries = [Entry(recipe, seed + i * starts + k, taken[-1]) for k in range(starts)]
        rows: list[tuple[float, ...]] = []
        for first in range(0, starts, TOGETHER):
            part = entries[first : first + TOGETHER]
            if observe is not None:
                observe(f"{axis} {value}: {len(part)} starts together, {taken[-1]} steps")
            rows += _final(variant, part)
        for split, losses in zip(SPLITS, np.array(rows, dtype=float).T, strict=True):
            found[split].append(_endings(value, losses))
    level = 1 - 0.05 / (len(values) - 1)  # Bonferroni: the intervals hold jointly
    ratios = {
        split: tuple(
            Ratio(e.value, endings[-1].value, *sd_ratio(e.losses, endings[-1].losses, level)) for e in endings[:-1]
        )
        for split, endings in found.items()
    }
    endings = {split: tuple(endings) for split, endings in found.items()}
    return Spread(task.name, axis, starts, tuple(taken), recipe, endings, ratios)


def _final(task: Task, entries: Sequence[Entry]) -> list[tuple[float, ...]]:
    """The losses of each run on both splits; NaN for one that did not finish."""
    try:
        runs, _ = loop.run_cohort(task, entries, [1] * len(entries), splits=SPLITS)
    except TooLarge:
        half = len(entries) // 2
        return _final(task, entries[:half]) + _final(task, entries[half:])
    if any(run.outcome.reason == "interrupted" for run in runs):
        raise KeyboardInterrupt
    rows = []
    for run in runs:
        last = [run.trace.last(split) if run.outcome.status == "finished" else None for split in SPLITS]
        rows.append(tuple(math.nan if x is None else float(x["loss"]) for x in last))
    return rows


def _endings(value: Any, losses: Floats) -> Endings:
    ended = losses[np.isfinite(losses)]
    n = len(ended)
    mean, sd = float(ended.mean()) if n else math.nan, float(ended.std(ddof=1)) if n > 1 else math.nan
    quantiles = np.quantile(ended, SHARES).tolist() if n else [math.nan] * len(SHARES)
    return Endings(value, n, len(losses) - n, mean, sd, tuple(quantiles), tuple(ended.tolist()))


def sd_ratio(x: npt.ArrayLike, y: npt.ArrayLike, level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The ratio of two standard deviations, and an interval by the jackknife of their logarithms.

    For each sample the pseudo-values n ln s − (n−1) ln s₍₋ᵢ₎ have a mean and a standard error; the interval is exp(difference
    of the means ± t · both errors), t with Welch's degrees of freedom. No distribution is assumed. Intervals of 95 % cover
    95 % of the time for normal samples of 20 and 91 % for exponential ones; those of the F distribution 95 % and 74 %.

    Args:
        x: a sample.
        y: another, drawn independently.
        level: the confidence.

    Returns:
        The ratio and the interval; from 0 to infinity where a sample is smaller than 5, or its values are all the same.

    Example:
        >>> ratio, (low, high) = sd_ratio([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 4.0, 6.0, 8.0, 10.0, 12.0])
        >>> round(ratio, 6), low < 0.5 < high
        (0.5, True)

    Source: R. Miller, Jackknifing Variances, Annals of Mathematical Statistics 39, 1968.
    """
    from scipy import special

    samples = [np.asarray(sample, dtype=float) for sample in (x, y)]
    sds = [float(sample.std(ddof=1)) if len(sample) > 1 else math.nan for sample in samples]
    ratio = sds[0] / sds[1] if sds[1] > 0 else math.nan
    if min(map(len, samples)) < FEWEST or not ratio > 0:
        return ratio, (0.0, math.inf)
    (a, va, na), (b, vb, nb) = (_jackknifed(sample) for sample in samples)
    df = (va + vb) ** 2 / (va**2 / (na - 1) + vb**2 / (nb - 1)) if va + vb > 0 else math.inf
    half = float(special.stdtrit(df, (1 + level) / 2)) * math.sqrt(va + vb)
    return ratio, (math.exp(a - b - half), math.exp(min(a - b + half, 700.0)))


def _jackknifed(sample: Floats) -> tuple[float, float, int]:
    """The mean of the pseudo-values of ln s, the square of its standard error, and n."""
    n, centred = len(sample), sample - sample.mean()
    squares = float(centred @ centred)
    without = (squares - centred**2 * n / (n - 1)) / (n - 2)  # the variance of all but each
    # All but one being the same would give −∞: rounding is the least that they differ by.
    least = (EPSILON * max(float(np.abs(sample).max()), 1e-300)) ** 2
    pseudo = n * 0.5 * math.log(squares / (n - 1)) - (n - 1) * 0.5 * np.log(np.maximum(without, least))
    return float(pseudo.mean()), float(pseudo.var(ddof=1)) / n, n
