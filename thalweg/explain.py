"""What an optimizer computes, for ``thalweg explain``."""

from __future__ import annotations

import textwrap
from typing import Any

from . import rules


def document(name: str) -> dict[str, Any]:
    """The keys that programs read.

    Raises:
        BadOption: no such optimizer.

    Example:
        >>> document("adam")["bytes_per_parameter"]
        28
    """
    rule = rules.get(name)
    states = [state for state in rule.active(rule.defaults) if state is not None]
    return {
        "name": rule.title,
        "summary": rule.summary,
        "equation": rule.equation,
        "state": [{"letter": s.letter, "name": s.name} for s in states],
        "optional_state": [{"letter": s.letter, "name": s.name} for s in rule.state if s not in states],
        "bytes_per_parameter": rule.bytes_per_parameter(),
        "defaults": {option.name: option.default for option in rule.options},
        "allowed": {option.name: option.allowed.text for option in rule.options},
        "meaning": {option.name: option.meaning for option in rule.options},
        "rates": list(rule.rates),
        "differs": rule.differs,
        "source": rule.source,
        "kernels": [],
    }


def text(name: str) -> str:
    """The same for a person, at most 80 columns wide."""
    d = document(name)
    state = ", ".join(f"{s['letter']} ({s['name']})" for s in d["state"]) or "none"
    extra = ", ".join(f"{s['letter']} ({s['name']})" for s in d["optional_state"])
    width = max(len(option) for option in d["defaults"])
    lines = [
        f"{d['name']}: {d['summary']}",
        "",
        *(f"  {line}" for line in d["equation"].splitlines()),
        "",
        f"state    {state}" + (f"; by option {extra}" if extra else ""),
        f"memory   {d['bytes_per_parameter']} bytes per parameter and step at least, in float32 (read p, g, state; write p, state)",
        f"rates    searched from {d['rates'][0]:g} to {d['rates'][1]:g}, further when the best lies at an end",
        "options",
        *(f"  {o:<{width}}  {d['defaults'][o]!s:<13} {d['meaning'][o]}; {d['allowed'][o]}" for o in d["defaults"]),
        *_wrapped("differs", d["differs"]),
        *_wrapped("source", d["source"]),
    ]
    return "\n".join(lines)


def _wrapped(head: str, body: str) -> list[str]:
    return textwrap.wrap(body, 71, initial_indent=f"{head:<9}", subsequent_indent=" " * 9) if body else []
