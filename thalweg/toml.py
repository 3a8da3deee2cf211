"""Plain data as TOML text (the standard library only reads it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """``value`` with lists for tuples and dicts for mappings."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def text(value: Any) -> str:
    """A number, text, flag or list as TOML.

    Example:
        >>> text([0.9, 1e-8, "a"]), text(True)
        ('[0.9, 1e-08, "a"]', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, list):
        return "[" + ", ".join(map(text, value)) + "]"
    return repr(value)
