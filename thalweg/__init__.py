"""Thalweg gets neural networks trained: which optimizer, rate and schedule, proved with honest statistics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import (
        curvature,
        diagnosis,
        errors,
        experiments,
        features,
        inits,
        landscapes,
        loop,
        norms,
        optim,
        rules,
        schedules,
        seeds,
        shifts,
    )
    from .diagnosis import Diagnosis, Finding, Watch, diagnose, watch
    from .landscapes import Landscape, landscape
    from .layering import Layers, layers
    from .minimization import MinimizeResult, minimize
    from .propagation import Signal, signal
    from .recipe import Recipe
    from .run import Outcome, Run, Trace
    from .shifts import Shift, shift
    from .study import Studies, Study, Verdict, compare
    from .task import Task
    from .training import train

_HOME = {
    "Diagnosis": "diagnosis",
    "Finding": "diagnosis",
    "Landscape": "landscapes",
    "Layers": "layering",
    "MinimizeResult": "minimization",
    "Outcome": "run",
    "Recipe": "recipe",
    "Run": "run",
    "Shift": "shifts",
    "Signal": "propagation",
    "Studies": "study",
    "Study": "study",
    "Task": "task",
    "Trace": "run",
    "Verdict": "study",
    "Watch": "diagnosis",
    "compare": "study",
    "curvature": "",
    "diagnose": "diagnosis",
    "diagnosis": "",
    "errors": "",
    "experiments": "",
    "features": "",
    "inits": "",
    "landscape": "landscapes",
    "landscapes": "",
    "layers": "layering",
    "loop": "",
    "minimize": "minimization",
    "norms": "",
    "optim": "",
    "rules": "",
    "schedules": "",
    "seeds": "",
    "shift": "shifts",
    "shifts": "",
    "signal": "propagation",
    "train": "training",
    "watch": "diagnosis",
}

__all__ = [
    "Diagnosis",
    "Finding",
    "Landscape",
    "Layers",
    "MinimizeResult",
    "Outcome",
    "Recipe",
    "Run",
    "Shift",
    "Signal",
    "Studies",
    "Study",
    "Task",
    "Trace",
    "Verdict",
    "Watch",
    "__version__",
    "compare",
    "curvature",
    "diagnose",
    "diagnosis",
    "errors",
    "experiments",
    "features",
    "inits",
    "landscape",
    "landscapes",
    "layers",
    "loop",
    "minimize",
    "norms",
    "optim",
    "rules",
    "schedules",
    "seeds",
    "shift",
    "shifts",
    "signal",
    "train",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Load a name on first use, so that ``import thalweg`` costs next to nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
    module = importlib.import_module(f".{_HOME[name] or name}", __name__)
    value = getattr(module, name) if _HOME[name] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
