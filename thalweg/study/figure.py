"""The figure of a study."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Missing
from ..store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .study import Study

# Okabe and Ito's palette: told apart by colour-blind readers; line styles tell the lines apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
STYLES = ("-", "--", "-.", ":")


def draw(study: Study) -> Figure:
    """Finals with intervals, score against learning rate, curves over the finals with bands.

    Raises:
        Missing: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Missing("plot needs matplotlib", "pip install 'thalweg[plot]'") from None
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    scale = 100 if study.verdict.metric in ("accuracy", "f1", "auc") else 1
    label = f"{study.verdict.metric}{' (%)' if scale == 100 else ''}"
    look = {s.name: {"color": COLOURS[i % 8], "linestyle": STYLES[i // 2 % 4]} for i, s in enumerate(study.finalists)}
    _finals(left, study, scale, label)
    _rates(middle, study, scale, label, look)
    _curves(right, study, scale, label, look)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    handles, labels = middle.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(8, len(labels)), frameon=False, fontsize=9)
    return figure


def _finals(axes: Axes, study: Study, scale: float, label: str) -> None:
    shown = [s for s in reversed(study.finalists) if math.isfinite(s.mean)]
    for y, s in enumerate(shown):
        colour = COLOURS[study.finalists.index(s) % 8]
        axes.plot([scale * v for v in s.scores], [y] * len(s.scores), "o", color=colour, alpha=0.3, markersize=4, markeredgewidth=0)
        if math.isfinite(s.interval[0]):
            axes.plot([scale * e for e in s.interval], [y, y], "-", color=colour, linewidth=2.5)
        axes.plot([scale * s.mean], [y], "D", color=colour, markersize=6)
    axes.set_yticks(range(len(shown)), [s.name for s in shown])
    axes.set_xlabel(label)
    axes.set_title(f"Finals on fresh seeds: mean, 95 % interval, n = {max((len(s.seeds) for s in shown), default=0)}", fontsize=10)


def _rates(axes: Axes, study: Study, scale: float, label: str, look: dict[str, dict[str, Any]]) -> None:
    for s in study.finalists:
        if s.rates:
            rates, scores = zip(*s.rates, strict=True)
            axes.plot(rates, [scale * v for v in scores], marker="o", markersize=4, label=s.name, **look[s.name])
            nearest = min(s.rates, key=lambda p: abs(math.log(p[0] / (s.recipe.lr or p[0]))))
            axes.plot([s.recipe.lr], [scale * nearest[1]], "*", color=look[s.name]["color"], markersize=12)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate (star: chosen)")
    axes.set_ylabel(label)
    axes.set_title("Choice of the rate, at the full horizon", fontsize=10)


def _curves(axes: Axes, study: Study, scale: float, label: str, look: dict[str, dict[str, Any]]) -> None:
    metric = study.verdict.metric
    curves: dict[str, dict[int, list[float]]] = {}
    chosen = {(s.name, seed) for s in study.finalists for seed in s.seeds}
    for record in Store(study.folder).records():
        if record["kind"] == "end" and record["phase"] == "final" and (record["entrant"], record["seed"]) in chosen:
            for e in record["evaluations"]:
                if e["split"] == "select":
                    curves.setdefault(record["entrant"], {}).setdefault(e["samples"], []).append(scale * float(e[metric]))
    for name, points in curves.items():
        samples = sorted(points)
        values = [np.array(points[s]) for s in samples]
        mean = np.array([v.mean() for v in values])
        band = np.array([v.std(ddof=1) if len(v) > 1 else 0.0 for v in values])
        axes.plot(samples, mean, **look[name])
        axes.fill_between(samples, mean - band, mean + band, color=look[name]["color"], alpha=0.12, linewidth=0)
    axes.set_xlabel("training rows used")
    axes.set_ylabel(label)
    axes.set_title("Finals on the selection set: mean ± one standard deviation", fontsize=10)
