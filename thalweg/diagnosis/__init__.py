"""Why a model does not train, and what helps."""

from .critical import Escape, Place, locate

__all__ = ["Escape", "Place", "locate"]
