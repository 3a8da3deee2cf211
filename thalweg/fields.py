"""The fields of a recipe: their defaults, and what they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import schedules
from .errors import COUNT, FRACTION, NOT_NEGATIVE, POSITIVE, Allowed, one_of, optional
from .inits import schemes
from .norms import kinds


def _warmup(value: Any) -> bool:
    return FRACTION.test(value) or COUNT.test(value)


def _groups(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Mapping) for k, v in value.items())


def _patterns(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(p, str) for p in value)


FIELDS: dict[str, tuple[Any, Allowed]] = {
    "optimizer": ("adamw", Allowed("a name of the rules' table", lambda v: isinstance(v, str))),
    "lr": (None, optional(NOT_NEGATIVE)),
    "schedule": ("linear", one_of(*schedules.SCHEDULES)),
    "warmup": (None, Allowed("steps (int) or a share of them (float < 1), or None", lambda v: v is None or _warmup(v))),
    "clip_norm": (None, optional(POSITIVE)),
    "weight_decay": (0.0, NOT_NEGATIVE),
    "batch_size": (
        None,
        Allowed("a whole number >= 1, 'full', or None", lambda v: v in (None, "full") or COUNT.test(v)),
    ),
    "init": ("torch", Allowed("schemes joined by +", schemes.check)),
    "norm": ("keep", Allowed("a kind of normalization", kinds.check)),
    "groups": (None, Allowed("a table from name pattern to options, or None", lambda v: v is None or _groups(v))),
    "freeze": (None, Allowed("a list of name patterns, or None", lambda v: v is None or _patterns(v))),
    "layer_decay": (None, Allowed("a number in (0, 1], or None", lambda v: v is None or (POSITIVE.test(v) and v <= 1))),
    "average": (None, optional(FRACTION)),
}
FLOATS = ("lr", "clip_norm", "weight_decay", "layer_decay", "average")
