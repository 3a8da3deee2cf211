"""The figure of a performance profile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..drawing import look, new_figure, open_axes
from .profile import Profile, shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(profile: Profile) -> Figure:
    """The share of tasks against tau: samples to the target on the left, the score on the right.

    Raises:
        Missing: matplotlib is not installed.
    """
    figure = new_figure(11, 4.6)
    from matplotlib.ticker import MaxNLocator

    count = len(profile.tasks)
    below = min(0.6, 25 / (count * max(len(profile.recipes), 1)))  # per cent
    panels = figure.subplots(1, 2, sharey=True)
    sides = (
        (profile.ratios, 1.0, "samples to target, times the fewest"),
        (profile.gaps, 0.0, "δ behind the best score"),
    )
    for axes, (needs, least, label) in zip(panels, sides, strict=True):
        finite = [v for need in needs.values() for v in need if math.isfinite(v)]
        end = max([1.25 * v for v in finite] + [2.0])
        for k, (name, need) in enumerate(needs.items()):
            at = sorted({least, end, *(v for v in need if math.isfinite(v))})
            height = 100 * shares([need], at)[0]
            # Curves that coincide stay visible: each is drawn a little lower than the one before.
            axes.step(at, height - below * k, where="post", label=name, **look(k))
        if least:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}×")
        elif end > 10:
            axes.set_xscale("symlog", linthresh=1)
            axes.xaxis.set_major_formatter("{x:g}")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(least, end)
        axes.set_ylim(-below * len(needs) - 2, 102)
        axes.set_xlabel(label)
        open_axes(axes)
    panels[0].set_ylabel("% of the tasks within")
    panels[0].set_title("Speed", fontsize=10, loc="left")
    panels[1].set_title("Score", fontsize=10, loc="left")
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False, handlelength=3)
    title = f"{count} tasks: how often each recipe is nearly the best"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure
