"""The loss surface: planes and slices of it with the runs on it, what joins solutions, and classic surfaces."""

from .classic import CLASSIC, Classic
from .connecting import Connection, bezier, curve, line
from .convexity import Convexity, convexity
from .escape import Escape, escape
from .field import Field, Function, ModelField
from .matching import Matched, match, permute
from .result import Landscape
from .slice import Mark, Slice
from .spread import Spread, spread
from .stationary import barriers, critical_points
from .trajectories import Trajectory, replay
from .units import Group, groups
from .viewing import landscape
from .walls import Walls, walls

__all__ = [
    "CLASSIC",
    "Classic",
    "Connection",
    "Convexity",
    "Escape",
    "Field",
    "Function",
    "Group",
    "Landscape",
    "Mark",
    "Matched",
    "ModelField",
    "Slice",
    "Spread",
    "Trajectory",
    "Walls",
    "barriers",
    "bezier",
    "convexity",
    "critical_points",
    "curve",
    "escape",
    "groups",
    "landscape",
    "line",
    "match",
    "permute",
    "replay",
    "spread",
    "walls",
]
