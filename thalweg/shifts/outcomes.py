"""What a model makes of the rows of a stream: predictions, losses, and the slopes of the losses along eigenvectors.

Legend: M rows, n trained parameters, q eigenvectors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import nn

from ..data import Tensors
from .rows import Rows, drawn
from .surfaces.probed import leading

if TYPE_CHECKING:
    from ..task import Task

Floats = npt.NDArray[np.float64]
READ = 256  # rows a batch
LOSS, PREDICTION = "loss", "prediction"


class Outcomes:
    """A model, and the eigenvectors of the largest curvature on a few rows.

    Args:
        task: gives the loss.
        model: that is watched.
        sample: rows of the reference; without their targets there are neither losses nor slopes.
        seed: of the eigenvectors' start.

    Attributes:
        curvature: eigenvalues, descending.
        bytes: of the eigenvectors.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> outcomes = Outcomes(task, task.build(0), task.prepare().select)
        >>> judge = task.prepare().judge
        >>> [name for name, _, _ in outcomes.columns(judge)], outcomes.slopes(judge).shape
        (['prediction', 'loss'], (250, 2))
    """

    def __init__(self, task: Task, model: nn.Module, sample: Tensors, seed: int = 0) -> None:
        self.task, self.model = task, model
        self.device = next(model.parameters()).device
        self._wants_targets = task.prepare().train.target_sample(1) is not None
        self.curvature, self._directions = list[float](), None
        if self._has_loss(sample):
            surface = Rows(task, model, drawn(sample, sample.rows, device=self.device))
            found = leading(surface.hessian(), surface.n, seed=seed)
            self.curvature, self._directions = found.values_k.tolist(), found.vectors_kn

    @property
    def bytes(self) -> int:
        """Memory of the eigenvectors."""
        return 0 if self._directions is None else self._directions.nbytes

    def columns(self, data: Tensors) -> list[tuple[str, Floats, int | None]]:
        """Prediction and loss of each row, (M,), with their names and numbers of classes; NaN where targets are missing."""
        rows, found = self._rows(data), list[tuple[str, Floats, int | None]]()
        p = rows.predictions()
        if p is not None:
            found.append((PREDICTION, np.where(np.isfinite(p).all(1), p.argmax(1), math.nan), p.shape[1]))
        if self._directions is not None:
            losses = rows.losses() if self._has_loss(data) else np.full(data.rows, math.nan)
            found.append((LOSS, losses, None))
        return found

    def slopes(self, data: Tensors) -> Floats:
        """Of the losses along the eigenvectors, (M, q); NaN where targets are missing."""
        if self._directions is None or not self._has_loss(data):
            return np.full((data.rows, len(self.curvature)), math.nan)
        return self._rows(data).slopes(self._directions)

    def _has_loss(self, data: Tensors) -> bool:
        return data.targets is not None or not self._wants_targets

    def _rows(self, data: Tensors) -> Rows:
        return Rows(self.task, self.model, list(data.to(self.device).batches(READ)))
