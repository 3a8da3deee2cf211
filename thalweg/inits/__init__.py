"""Initial weights: schemes by name, put on the user's own model, and trained weights loaded into part of one."""

from .initialization import Initialization, Prior, Row, initialize, output_prior
from .pretrained import Loaded, load
from .schemes import AFTER, SCHEMES, Scheme, gain, read
from .weights import Weights

__all__ = [
    "AFTER",
    "SCHEMES",
    "Initialization",
    "Loaded",
    "Prior",
    "Row",
    "Scheme",
    "Weights",
    "gain",
    "initialize",
    "load",
    "output_prior",
    "read",
]
