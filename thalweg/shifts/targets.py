"""Which rows have a target that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    from ..task import Task

IGNORED = -100  # cross-entropy's own number for "not asked"


def ignored(task: Task) -> int:
    """The class number that the loss leaves out."""
    return int(getattr(task.loss, "ignore_index", IGNORED))


def asked(task: Task, targets: Tensor, classes: int | None) -> npt.NDArray[np.bool_]:
    """Which rows have a loss, (N,): something is asked of them, and nothing that the model has no output for.

    Args:
        task: what its loss ignores is not asked.
        targets: class numbers (N, ...); others count always.
        classes: outputs of the model; None: unknown.

    Example:
        >>> import torch, thalweg
        >>> asked(thalweg.Task.load("digits"), torch.tensor([3, -100, 12, -1]), 10).tolist()
        [True, False, False, False]
    """
    kind = task.prepare().kind
    if kind not in ("classification", "language-model") or targets.is_floating_point():
        return np.ones(len(targets), dtype=np.bool_)
    flat = targets.detach().cpu().reshape(len(targets), -1)
    none = flat == ignored(task)
    beyond = (flat < 0) if classes is None else (flat < 0) | (flat >= classes)
    found: npt.NDArray[np.bool_] = (~(beyond & ~none).any(1) & ~none.all(1)).numpy()
    return found
