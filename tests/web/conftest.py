"""The studies that several files look at."""

from studies import alone, crossed, shelf, study

__all__ = ["alone", "crossed", "shelf", "study"]
