"""The loss surface before and after: its slope, its curvature, sections through it, and an optimizer on it."""

from .edge import Edge, edge
from .moved import SurfaceMoved, surface_moved
from .sections import Line, Plane, Point

__all__ = ["Edge", "Line", "Plane", "Point", "SurfaceMoved", "edge", "surface_moved"]
