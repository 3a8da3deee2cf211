"""What kind of shift it is, and where it is: everything that is measured on both sides, and the name that follows."""

from .kinds import CODES, Kind, name_kind
from .looking import Look
from .subgroups import Subgroup, find_subgroup

__all__ = ["CODES", "Kind", "Look", "Subgroup", "find_subgroup", "name_kind"]
