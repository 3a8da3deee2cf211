"""Comparing recipes: what to try, where, and who won."""

from .comparison import compare
from .plan import Budget
from .profile import Profile
from .several import Studies
from .standing import Standing
from .study import Best, Study
from .verdict import Verdict

__all__ = ["Best", "Budget", "Profile", "Standing", "Studies", "Study", "Verdict", "compare"]
