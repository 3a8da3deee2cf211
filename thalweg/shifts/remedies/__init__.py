"""What helps against a shift, tried and measured."""

from .measuring import Tried, recommend, try_remedies
from .trying import REMEDIES

__all__ = ["REMEDIES", "Tried", "recommend", "try_remedies"]
