"""The playground: optimizers that race on classic surfaces, and on the plane of a model of one's own."""

from .catalogue import playground, race

__all__ = ["playground", "race"]
