"""Diagnosis: where a model is, why it does not train, and what helps."""

from .critical import Escape, Place, locate
from .diagnosed import Diagnosis
from .diagnosing import diagnose
from .findings import CODES, FAMILIES, Evidence, Finding, Outcome, Remedy
from .script import run_script
from .watching import Watch, watch

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
    "Watch",
    "diagnose",
    "locate",
    "run_script",
    "watch",
]
