"""Prior correction: a classifier's outputs under other proportions of the classes. Legend: N rows, C classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ... import trial
from ...errors import BadTask

if TYPE_CHECKING:
    from ...task import Task

Floats = npt.NDArray[np.float64]


class Corrected(nn.Module):
    """A classifier whose probabilities are those under other class priors: p'(y|x) ∝ p(y|x) · π'(y)/π(y).

    Its outputs are log-probabilities, which cross-entropy takes as logits; of a model with one output, the logit.

    Args:
        model: gives logits (N, C), or (N,) or (N, 1) of two classes.
        before: π, the classes' shares where the model was trained, (C,).
        after: π', where it is used.

    Example:
        >>> net = nn.Identity()
        >>> even = torch.zeros(1, 2)
        >>> [round(p, 3) for p in Corrected(net, [0.5, 0.5], [0.9, 0.1])(even).exp()[0].tolist()]
        [0.9, 0.1]

    Source: M. Saerens, P. Latinne, C. Decaestecker, Neural Computation 14, 2002.
    """

    ratio: Tensor

    def __init__(self, model: nn.Module, before: npt.ArrayLike, after: npt.ArrayLike) -> None:
        super().__init__()
        self.model = model
        ratio_C = np.log(np.asarray(after, float)) - np.log(np.asarray(before, float))
        self.register_buffer("ratio", torch.as_tensor(ratio_C, dtype=torch.float32))

    def forward(self, *args: Any, **named: Any) -> Tensor:
        """The corrected outputs, in the shape of the model's."""
        output: Tensor = trial.output_tensor(self.model(*args, **named))
        ratio_C = self.ratio.to(output)
        if output.ndim < 2 or output.shape[-1] == 1:
            return output + (ratio_C[1] - ratio_C[0])
        return torch.log_softmax(output + ratio_C, -1)


def applies(task: Task) -> str | None:
    """Why prior correction does not fit a task, or None where it does."""
    data = task.prepare()
    if data.kind not in ("classification", "binary"):
        return "not a classification"
    if data.fit.loss is None:
        return "the loss is not a function of the outputs"
    if trial.takes_probabilities(task.loss):
        return "the model gives probabilities, not logits"
    return None


def shares(labels: Tensor, classes: int) -> Floats:
    """The classes' shares with half a row more of each, so that none is zero, (C,).

    Raises:
        BadTask: the labels are not one number a row.

    Example:
        >>> shares(torch.tensor([0, 0, 0]), 2).tolist()
        [0.875, 0.125]
    """
    flat = labels.detach().cpu().reshape(len(labels), -1)
    if flat.shape[1] != 1:
        raise BadTask("prior correction needs one label a row", "leave it out")
    counts_C = np.bincount(flat[:, 0].long().numpy(), minlength=classes)[:classes] + 0.5
    return np.asarray(counts_C / counts_C.sum(), dtype=np.float64)
