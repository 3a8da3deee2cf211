"""The figure of a study: four panels."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..drawing import STYLES, look, new_figure, open_axes
from ..store import Store
from .words import show, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .study import Study

BASELINE = "#777777"
SHARES = (0, 50, 80, 90, 95, 98, 99, 100)  # ticks of shares in per cent
BEYOND = 101.0  # shares are drawn as -log(BEYOND - share), so that what is near 100 is told apart
Looks = dict[str, dict[str, Any]]


def draw(study: Study) -> Figure:
    """Finals with intervals, curves over the finals, score against learning rate, best so far against budget.

    Raises:
        Missing: matplotlib is not installed.
    """
    figure = new_figure(11, 8.4, padding=0.1)
    panels = figure.subplots(2, 2).ravel()
    metric = study.verdict.metric
    scale = 100.0 if unit(metric) else 1.0
    tuned = [s.name for s in study.finalists if not s.baseline]
    looks = {name: look(i) for i, name in enumerate(tuned)}
    looks |= {s.name: {"color": BASELINE, "linestyle": "-"} for s in study.finalists if s.baseline}
    for axes, draw_on, which in zip(panels, (_finals, _curves, _rates, _best_so_far), "xyyy", strict=True):
        _stretch(axes, which, draw_on(axes, study, scale, looks), scale)
        open_axes(axes)
        if which == "y":
            axes.set_ylabel(f"{metric}{unit(metric)}")
    lines = {line.get_label(): line for line in panels[1].lines}
    shown = {name: lines[name] for name in looks if name in lines}
    if shown:
        figure.legend(shown.values(), shown, loc="outside lower center", ncols=8, frameon=False, handlelength=3)
    sentence = textwrap.fill(study.verdict.sentence, 115)
    figure.suptitle(sentence, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _finals(axes: Axes, study: Study, scale: float, looks: Looks) -> list[float]:
    """A row a finalist; the stripe is what counts as equivalent to the first. Returns what it drew."""
    shown = [s for s in reversed(study.finalists) if math.isfinite(s.mean)]
    delta = study.verdict.smallest_difference
    for y, s in enumerate(shown):
        colour, ends = looks[s.name]["color"], [scale * e for e in s.interval if math.isfinite(e)]
        axes.scatter([scale * v for v in s.scores], [y] * len(s.scores), s=22, color=colour, alpha=0.35, linewidths=0)
        axes.plot(ends, [y] * len(ends), "-", color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot([scale * s.mean], [y], "D", color=colour, markersize=7, markeredgecolor="white")
    if shown:
        first = shown[-1].mean
        axes.axvspan(scale * (first - delta), scale * (first + delta), color="black", alpha=0.06, linewidth=0)
    axes.set_yticks(range(len(shown)), [s.name for s in shown])
    metric = study.verdict.metric
    axes.set_xlabel(f"{metric}{unit(metric)}; stripe: within ±{show(delta, metric)} of the first")
    n = max((len(s.seeds) for s in shown), default=0)
    axes.set_title(f"Finals, {n} fresh seeds: mean, 95 % interval", fontsize=10, loc="left")
    return [scale * v for s in shown for v in (*s.scores, *s.interval)]


def _rates(axes: Axes, study: Study, scale: float, looks: Looks) -> list[float]:
    from matplotlib.ticker import LogLocator

    for s in study.finalists:
        if s.rates:
            rates, scores = np.array(s.rates).T
            axes.plot(rates, scale * scores, marker="o", markersize=4, **looks[s.name])
            lr = s.recipe.lr or rates[0]
            height = np.interp(math.log(lr), np.log(rates), scale * scores)
            axes.plot(
                [lr], [height], "*", color=looks[s.name]["color"], markersize=13, markeredgecolor="white", zorder=5
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("learning rate; star: chosen")
    axes.set_title("Choice of the rate, at full length", fontsize=10, loc="left")
    return [scale * score for s in study.finalists for _, score in s.rates]


def _curves(axes: Axes, study: Study, scale: float, looks: Looks) -> list[float]:
    curves: dict[str, dict[int, list[float]]] = {}
    chosen = {(s.name, seed) for s in study.finalists for seed in s.seeds}
    # A run may have ended twice, where a study was taken up again: the last one counts.
    ends = {record["run"]: record for record in Store(study.folder).records() if record["kind"] == "end"}
    for record in ends.values():
        if record["phase"] == "final" and (record["entrant"], record["seed"]) in chosen:
            for e in record["evaluations"]:
                if e["split"] == "select":
                    points = curves.setdefault(record["entrant"], {}).setdefault(e["samples"], [])
                    points.append(scale * float(e[study.verdict.metric]))
    means: list[float] = []
    for name, points_at in curves.items():
        samples = sorted(points_at)
        mean = np.array([np.mean(points_at[s]) for s in samples])
        band = np.array([np.std(points_at[s], ddof=min(1, len(points_at[s]) - 1)) for s in samples])
        axes.plot(samples, mean, label=name, **looks[name])
        axes.fill_between(samples, mean - band, mean + band, color=looks[name]["color"], alpha=0.1, linewidth=0)
        means += mean.tolist()
    axes.set_xlabel("training rows used")
    axes.set_title("Finals on the selection set: mean ± standard deviation", fontsize=10, loc="left")
    return means


def _best_so_far(axes: Axes, study: Study, scale: float, looks: Looks) -> list[float]:
    """The best of the tuning's runs as it came, over what their random order would give."""
    series, band = (study.document.get(key, []) for key in ("best_so_far", "best_so_far_band"))
    if not series or not band:
        axes.set_title("Best so far: no full run", fontsize=10, loc="left")
        return []
    runs = [e["runs"] for e in band]
    low, median, high = (
        [math.nan if e[key] is None else scale * float(e[key]) for e in band] for key in ("low", "median", "high")
    )
    axes.fill_between(runs, low, high, color="black", alpha=0.1, linewidth=0, label="random order, 10 to 90 %")
    axes.plot(runs, median, color=BASELINE, linewidth=1.5, linestyle=STYLES[1], label="random order, median")
    at = [*(e["full_runs"] for e in series), runs[-1]]
    values = [scale * float(e["value"]) for e in series]
    axes.step(at, [*values, values[-1]], where="post", color="black", linewidth=1.5, label="as it came")
    for x, y, e in zip(at[:-1], values, series, strict=True):
        axes.plot(
            [x], [y], "o", markersize=6, markeredgecolor="white", **{**looks.get(e["entrant"], {}), "linestyle": ""}
        )
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.set_xlabel("full runs that tune; dot: who led from there")
    axes.set_title("Best so far on the selection set", fontsize=10, loc="left")
    return [*median, *values]  # the lower end may begin far below


def _stretch(axes: Axes, which: str, drawn: list[float], scale: float) -> None:
    """More room for what is near the best: shares by what is missing to 100 %, widely spread positive values by logs."""
    finite = [v for v in drawn if math.isfinite(v)]
    set_scale = getattr(axes, f"set_{which}scale")
    if scale == 100 and finite:
        low, high = _place(min(finite)), _place(min(max(finite), 100.0))
        ends = [_share(low - 0.05 * (high - low) - 0.01), _share(high + 0.05 * (high - low) + 0.01)]
        ticks = [t for t in SHARES if ends[0] <= t <= ends[1]]
        set_scale("function", functions=(_place, _share))
        axes.set(**{f"{which}lim": ends, f"{which}ticks": ticks, f"{which}ticklabels": [f"{t}" for t in ticks]})
    elif len(finite) > 1 and 0 < 20 * min(finite) < max(finite):
        set_scale("log")


def _place(share: Any) -> Any:
    return -np.log(np.maximum(BEYOND - np.asarray(share, dtype=float), 0.01))


def _share(place: Any) -> Any:
    return BEYOND - np.exp(-np.asarray(place, dtype=float))
