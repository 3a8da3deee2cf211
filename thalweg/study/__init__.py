"""Comparing recipes: what to try, where, and who won."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import compare, rehearse
    from .plan import Budget
    from .preview import Preview
    from .profile import Profile
    from .several import Studies
    from .standing import Standing
    from .study import Best, Study
    from .verdict import Verdict

_HOME = {
    "Best": "study",
    "Budget": "plan",
    "Preview": "preview",
    "Profile": "profile",
    "Standing": "standing",
    "Studies": "several",
    "Study": "study",
    "Verdict": "verdict",
    "compare": "comparison",
    "rehearse": "comparison",
}

__all__ = ["Best", "Budget", "Preview", "Profile", "Standing", "Studies", "Study", "Verdict", "compare", "rehearse"]


def __getattr__(name: str) -> Any:
    """Load a name on first use: what only reads a study's documents needs no torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
