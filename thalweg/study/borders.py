"""Rates at the end of those tried: further on may be better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ..recipe import Recipe
    from .jobs import Finalist

ENDS = {"low": ("lowest", "lower"), "high": ("highest", "higher")}
REASONS = {
    "budget": "the budget ended the search",
    "limit": "the search has a limit",
    "given": "the rates were given",
}
MARKS = {"low": "↓", "high": "↑"}


@dataclass(frozen=True)
class Border:
    """At which end of the tried rates a chosen one lies, and why none was tried beyond."""

    side: Literal["low", "high"]
    why: Literal["budget", "limit", "given"]

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {"side": self.side, "why": self.why}

    def sentence(self, name: str, lr: float) -> str:
        """The warning in words.

        Example:
            >>> Border("high", "budget").sentence("sgd", 0.3)
            'sgd: its rate, 0.3, is the highest tried (the budget ended the search); a higher one may be better.'
        """
        end, further = ENDS[self.side]
        return f"{name}: its rate, {lr:.3g}, is the {end} tried ({REASONS[self.why]}); a {further} one may be better."


def borders(finalists: Sequence[Finalist]) -> dict[str, Border]:
    """The finalists whose rate lies at the end of those tried, by name.

    A found rate is one where `rates.choose` says so, unless the finals have led away from that end since. Fixed rates
    of recipes that are the same otherwise are a grid of the user's: its best, on ``select``, is held against its ends.
    A single fixed rate has no neighbours and says nothing.

    Args:
        finalists: with their results.
    """
    found: dict[str, Border] = {}
    grids: dict[Recipe, list[Finalist]] = {}
    for f in finalists:
        grids.setdefault(f.recipe.but(lr=None), []).append(f)
        if f.choice and (side := f.choice.at_border) and (side == "low" or f.recipe.lr == f.choice.lr):
            found[f.entrant.name] = Border(side, "budget" if f.cut else "limit")
    for grid in grids.values():
        if len(grid) > 1 and not any(f.choice for f in grid):
            best = max(grid, key=_select)
            ends = [extreme(f.recipe.lr or 0.0 for f in grid) for extreme in (min, max)]
            if best.recipe.lr in ends and math.isfinite(_select(best)):
                found[best.entrant.name] = Border("low" if best.recipe.lr == ends[0] else "high", "given")
    return found


def _select(f: Finalist) -> float:
    """The mean on ``select`` over the finals; a recipe that ever diverged there has none."""
    values = [r.select for r in f.results.values()]
    return sum(values) / len(values) if values and all(map(math.isfinite, values)) else -math.inf
