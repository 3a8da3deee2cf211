"""The faults, a file a family."""

from __future__ import annotations

from . import architecture, data, fit, initialization, loop, normalization, place, precision, rate

FAULTS = [
    *data.FAULTS,
    *loop.FAULTS,
    *architecture.FAULTS,
    *initialization.FAULTS,
    *normalization.FAULTS,
    *precision.FAULTS,
    *rate.FAULTS,
    *place.FAULTS,
    *fit.FAULTS,
]
