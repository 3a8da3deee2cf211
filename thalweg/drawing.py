"""What the figures share: colours, lines, and matplotlib, which is optional."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import Missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def open_axes(axes: Axes) -> None:
    """No frame above and to the right, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def look(k: int) -> dict[str, Any]:
    """Colour and line of the k-th curve."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": STYLES[k % len(STYLES)]}
