"""The remedy of weights that start badly: a scheme that fits the non-linearities, tried in a short run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ThalwegError
from .findings import Remedy
from .miniature import Mini

if TYPE_CHECKING:
    from .examination import Examination

FLAT = {"tanh", "sigmoid", "hardtanh", "hardsigmoid", "softplus"}


def scheme(exam: Examination) -> str:
    """The initialization for a model's non-linearities; branches without normalization start at zero."""
    kinds = {layer.activation for layer in exam.layers if layer.activation}
    name = "xavier_normal" if kinds and kinds <= FLAT | {"_softmax", "softmax"} else "he_normal"
    branches = any(layer.branch for layer in exam.layers)
    return name + ("+zero_residual" if branches else "")


def redraw(exam: Examination) -> Remedy:
    """Draw all weights by `scheme`."""
    name = scheme(exam)
    return Remedy(f'init="{name}"', {"init": name})


def redrawn(exam: Examination) -> Mini | None:
    """A short run from such weights; None where the scheme does not fit the model."""
    try:
        return exam.mini(exam.recipe.but(init=scheme(exam)), what="short run with other initial weights")
    except ThalwegError:
        return None


def hurts(exam: Examination) -> bool:
    """Whether other weights train surely and materially better in a short run."""
    if exam.trained:
        return not exam.learns
    other = redrawn(exam)
    return other is not None and exam.better(other)
