"""The figure of a shift: both surfaces side by side, along lines, and what the remedies did."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..drawing import COLOURS, contours, look, new_figure, open_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .shifted import Shift
    from .surfaces.sections import Line, Plane

Floats = npt.NDArray[np.float64]
PANEL = (4.2, 3.5)  # inches
LABEL = 36  # letters a line
MARKS = {"start": ("o", "θ*"), "trained on reference": ("s", "trained on the old data"),
         "trained on incoming": ("*", "trained on the new data")}  # fmt: skip


def draw(found: Shift) -> Figure:
    """The surface over old and over new data in the same plane, slices of both, and the remedies with their intervals.

    Args:
        found: what `thalweg.shift` gave.

    Raises:
        Missing: matplotlib is not installed.
    """
    surface, tried = found.surface, [t for t in found.remedies[1:] if t.measured]
    panels: list[Any] = []
    if surface is not None and surface.plane is not None:
        values = [surface.plane.reference_pq, surface.plane.incoming_pq]
        panels += [(_plane, surface.plane, values[side], side) for side in (0, 1)]
    if surface is not None:
        panels += [(_line, one) for one in surface.slices]
    if tried:
        panels.append((_remedies, tried))
    across = min(3, max(len(panels), 1))
    down = -(-max(len(panels), 1) // across)
    figure = new_figure(PANEL[0] * across, PANEL[1] * down)
    axes = list(figure.subplots(down, across, squeeze=False).ravel())
    for panel, (function, *given) in zip(axes, panels, strict=False):
        function(panel, *given)
    for rest in axes[len(panels) :]:
        rest.set_axis_off()
    return figure


def _plane(axes: Axes, plane: Plane, values_pq: Floats, side: int) -> None:
    contours(axes, plane.first_p, plane.second_q, values_pq.T, np.concatenate([plane.reference_pq, plane.incoming_pq]))
    for point in plane.points:
        marker, label = MARKS[point.name]
        path = np.asarray(point.path_t2)
        if len(path) > 1:
            axes.plot(path[:, 0], path[:, 1], color="black", linewidth=1)
        colour = COLOURS[1] if point.name == "trained on incoming" else "white"
        axes.plot(
            *point.at, marker=marker, markersize=9, color=colour, markeredgecolor="black", linestyle="", label=label
        )
    axes.legend(fontsize=7, framealpha=0.85)
    name = ("old data", "new data")[side]
    across, up = (textwrap.fill(name, LABEL) for name in plane.axes)
    axes.set(xlabel=across, ylabel=up, title=f"{name} · {plane.rows[side]} rows")


def _line(axes: Axes, one: Line) -> None:
    for k, (name, values) in enumerate({"old data": one.reference_s, "new data": one.incoming_s}.items()):
        axes.plot(one.at_s, values, label=name, **look(k))
    axes.axvline(0, color="black", linewidth=0.8, alpha=0.5)
    open_axes(axes)
    axes.set(xlabel=textwrap.fill(one.axis, LABEL), ylabel="loss", title=f"along the {one.name}")
    axes.legend(fontsize=8)


def _remedies(axes: Axes, tried: list[Any]) -> None:
    for row, one in enumerate(tried):
        low, high = one.interval
        axes.plot([low, high], [row, row], color=COLOURS[0], linewidth=2)
        axes.plot(one.change.mean, row, marker="o", color=COLOURS[0])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(tried)), [one.name for one in tried])
    axes.invert_yaxis()
    open_axes(axes)
    axes.set(xlabel="loss on new rows, less that of doing nothing", title="remedies")
