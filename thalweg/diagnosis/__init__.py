"""Diagnosis: where a model is, why it does not train, and what helps."""

from .critical import Escape, Place, locate
from .diagnosed import Diagnosis
from .diagnosing import diagnose
from .findings import CODES, FAMILIES, Evidence, Finding, Outcome, Remedy

__all__ = [
    "CODES",
    "FAMILIES",
    "Diagnosis",
    "Escape",
    "Evidence",
    "Finding",
    "Outcome",
    "Place",
    "Remedy",
    "diagnose",
    "locate",
]
