"""Inputs: transforms fitted on training rows alone, and a look at whether the inputs are in order."""

from .inspection import InputReport, condition, knows_validation, look
from .transforms import KINDS, Features, Transformed, add, fit

__all__ = ["KINDS", "Features", "InputReport", "Transformed", "add", "condition", "fit", "knows_validation", "look"]
