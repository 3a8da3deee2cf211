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
        *_wrapped(
            "memory",
            f"{d['bytes_per_parameter']} bytes per parameter and step in float32 (p, g, state read; p, state written)",
        ),
        *_wrapped(
            "rates", f"searched from {d['rates'][0]:g} to {d['rates'][1]:g}, further when the best lies at an end"
        ),
        "options",
        *(line for o in d["defaults"] for line in _option(o, width, d)),
        *_wrapped("differs", d["differs"]),
        *_wrapped("source", d["source"]),
    ]
    return "\n".join(lines)


def _option(name: str, width: int, d: dict[str, Any]) -> list[str]:
    head = f"  {name:<{width}}  {d['defaults'][name]!s:<13} "
    body = f"{d['meaning'][name]}; {d['allowed'][name]}"
    return textwrap.wrap(body, 80, initial_indent=head, subsequent_indent=" " * len(head))


def _wrapped(head: str, body: str) -> list[str]:
    return textwrap.wrap(body, 71, initial_indent=f"{head:<9}", subsequent_indent=" " * 9) if body else []
