"""Comparing recipes: what to try, where, and who won."""

from .comparison import compare
from .plan import Budget
from .study import Best, Study
from .verdict import Standing, Verdict

__all__ = ["Best", "Budget", "Standing", "Study", "Verdict", "compare"]
