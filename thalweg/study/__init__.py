"""Comparing recipes: what to try, where, and who won."""

from .comparison import compare, rehearse
from .plan import Budget
from .preview import Preview
from .profile import Profile
from .several import Studies
from .standing import Standing
from .study import Best, Study
from .verdict import Verdict

__all__ = ["Best", "Budget", "Preview", "Profile", "Standing", "Studies", "Study", "Verdict", "compare", "rehearse"]
