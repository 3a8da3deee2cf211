"""How a rule runs on a million numbers."""

ENGINES = ("auto", "reference")

__all__ = ["ENGINES"]
