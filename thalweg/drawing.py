"""What the figures share: colours, lines, and matplotlib, which is optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import Missing

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
LEVELS = 14
# Okabe and Ito's palette: told apart by colour-blind readers; line styles tell the lines apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))


def new_figure(width: float, height: float, padding: float | None = None) -> Figure:
    """An empty figure, in inches, that lays itself out.

    Raises:
        Missing: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise Missing("plot needs matplotlib", "pip install 'thalweg[plot]'") from None
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=padding, w_pad=padding))


def saved(figure: Figure, path: str | Path | None, dpi: int) -> Figure:
    """The figure, written to a file (``.png``, ``.svg``, ``.pdf``) where one is named."""
    if path is not None:
        figure.savefig(path, dpi=dpi, bbox_inches="tight")
    return figure


def open_axes(axes: Axes) -> None:
    """No frame above and to the right, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def look(k: int) -> dict[str, Any]:
    """Colour and line of the k-th curve."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": STYLES[k % len(STYLES)]}


def contours(axes: Axes, x: Floats, y: Floats, losses: Floats, like: Floats | None = None) -> None:
    """A surface as filled contours with a bar: evenly apart in the loss's logarithm, where it spans much.

    Args:
        axes: to draw on.
        x: coordinates.
        y: coordinates.
        losses: ``losses[y, x]``; what is not finite stays empty.
        like: values that decide the levels, so that two surfaces have the same; None: these.
    """
    values = np.where(np.isfinite(losses), losses, np.nan)
    levels = _levels(values if like is None else like)
    logarithmic = levels[0] > 0 and levels[-1] > 3 * levels[0]
    filled = axes.contourf(
        x, y, values, levels=levels, cmap="Blues", norm="log" if logarithmic else None, extend="both"
    )
    axes.contour(x, y, values, levels=levels, colors="black", linewidths=0.4, alpha=0.45)
    bar = axes.figure.colorbar(filled, ax=axes, label="loss", shrink=0.9)
    ticks = levels[:: max(1, len(levels) // 5)].tolist()
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    bar.ax.minorticks_off()


def _levels(losses: Floats) -> Floats:
    finite = losses[np.isfinite(losses)]
    if finite.size == 0 or np.ptp(finite) == 0:
        middle = float(finite[0]) if finite.size else 1.0
        return np.linspace(middle - 0.5, middle + 0.5, 3)
    low, high = np.percentile(finite, [0, 98])
    if low > 0 and high > 3 * low:
        return np.geomspace(low, high, LEVELS)
    return np.linspace(low, max(high, low + 1e-9), LEVELS)
