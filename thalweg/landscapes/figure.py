"""The figure of a landscape: planes with the runs on them, slices, ways to other solutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..drawing import COLOURS, contours, look, new_figure, open_axes
from .result import Landscape
from .slice import Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
COLUMNS = 3
PANEL = (4.2, 3.5)  # inches
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def draw(found: Landscape) -> Figure:
    """All surfaces that were measured, a panel each.

    Args:
        found: what `thalweg.landscape` gave.

    Raises:
        Missing: matplotlib is not installed.
    """
    planes, slices = list(found.planes.values()), list(found.slices.values())
    count = len(planes) + len(slices) + bool(found.connections)
    columns = min(COLUMNS, max(count, 1))
    rows = -(-max(count, 1) // columns)
    figure = new_figure(PANEL[0] * columns, PANEL[1] * rows)
    panels = iter(figure.subplots(rows, columns, squeeze=False).ravel())
    for one in planes:
        plane(next(panels), one, found.task)
    for one in slices:
        line(next(panels), one)
    if found.connections:
        _connections(next(panels), found)
    for rest in panels:
        rest.set_axis_off()
    return figure


def plane(axes: Axes, one: Slice, title: str = "") -> None:
    """A plane: contours of the loss, evenly apart in its logarithm, and what lies on it.

    Args:
        axes: to draw on.
        one: the plane.
        title: of the panel, before the plane's kind.
    """
    x, y = one.coordinates
    contours(axes, x, y, one.losses)
    for k, (run, marks) in enumerate(_runs(one).items()):
        at = np.array([mark.at for mark in marks])
        style: dict[str, Any] = {
            "marker": MARKERS[k % len(MARKERS)],
            "markersize": 3.2,
            "linewidth": 1.4,
            **look(k + 1),
        }
        axes.plot(at[:, 0], at[:, 1], label=run, markeredgecolor="white", markeredgewidth=0.4, **style)
        axes.plot(*at[-1], marker="*", markersize=11, color=COLOURS[(k + 1) % len(COLOURS)], markeredgecolor="white")
    single = [mark for mark in one.marks if not mark.run]
    for mark in single:
        axes.plot(*mark.at, marker="*", markersize=11, color=COLOURS[1], markeredgecolor="white")
        if len(single) > 1:
            axes.annotate(mark.name, (mark.at[0], mark.at[1]), xytext=(5, 5), textcoords="offset points", fontsize=8)
    if any(mark.run for mark in one.marks):
        axes.legend(fontsize=8, framealpha=0.85)
    axes.set(xlabel=one.names[0], ylabel=one.names[1], title=f"{title} · {one.kind}" if title else one.kind)


def line(axes: Axes, one: Slice) -> None:
    """A slice: the loss on training and on other rows along one direction.

    Args:
        axes: to draw on.
        one: the slice.
    """
    [x] = one.coordinates
    for k, (name, values) in enumerate({"training rows": one.losses, **one.others}.items()):
        axes.plot(x, values, label=name, **look(k))
    for mark in one.marks:
        axes.plot(mark.at[0], mark.loss, marker="*", markersize=10, color=COLOURS[1], markeredgecolor="white", zorder=3)
    _logarithmic(axes, one.losses)
    open_axes(axes)
    axes.set(xlabel=one.names[0], ylabel="loss", title=one.kind)
    axes.legend(fontsize=8)


def _connections(axes: Axes, found: Landscape) -> None:
    for k, (name, one) in enumerate(found.connections.items()):
        axes.plot(one.t, one.losses, label=f"{name}: barrier {one.barrier:.3g}", **look(k))
    _logarithmic(axes, np.concatenate([one.losses for one in found.connections.values()]))
    open_axes(axes)
    axes.set(xlabel="share of the way to the other solution", ylabel="loss", title="between solutions")
    axes.legend(fontsize=8)


def _runs(one: Slice) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for mark in one.marks:
        if mark.run:
            found.setdefault(mark.run, []).append(mark)
    return found


def _logarithmic(axes: Axes, values: Floats) -> None:
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        axes.set_yscale("log")
