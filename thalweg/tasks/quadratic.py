"""DeepOBS's quadratic-deep: the mean over a batch of ½(θ − x)ᵀQ(θ − x) in 100 dimensions.

Source: Schneider, Balles and Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019; the rotation by the
subgroup algorithm of Diaconis and Shahshahani, 1987.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.data import Halves
from thalweg.task import Task

SIZE, BATCH = 100, 128


def rotation(random: np.random.RandomState, size: int) -> np.ndarray:
    """A Haar-distributed rotation: a plane rotation, bordered and reflected once for each further dimension."""
    t = 2 * math.pi * random.uniform()
    R = np.array([[math.cos(t), math.sin(t)], [-math.sin(t), math.cos(t)]])
    for d in range(2, size):
        v = random.normal(size=(d + 1, 1))
        x = np.eye(d + 1)[:, :1] - v / np.linalg.norm(v)
        x /= np.linalg.norm(x)
        B = np.eye(d + 1)
        B[1:, 1:] = R
        R = B - 2 * x @ (x.T @ B)
    return -R


@functools.cache
def hessian() -> np.ndarray:
    """Q = RᵀDR with 90 eigenvalues in (0, 1) and 10 in (30, 60), float64.

    Example:
        >>> round(float(np.trace(hessian())), 4)
        477.6123
    """
    random = np.random.RandomState(42)
    eigenvalues = np.concatenate([random.uniform(0, 1, SIZE - 10), random.uniform(30, 60, 10)])
    R = rotation(random, SIZE)
    Q: np.ndarray = R.T @ np.diag(eigenvalues) @ R
    return Q


def rows(seed: int) -> Tensor:
    """The x of the training set (seed 42) or the test set (43), (1000, 100) float32."""
    return torch.from_numpy(np.random.RandomState(seed).normal(0, 0.6, (1000, SIZE)).astype(np.float32))


class Quadratic(nn.Module):
    """θ, which starts at ones whatever the seed, and the loss ½(θ − x)ᵀQ(θ − x) = ½θᵀQθ − xᵀQθ + ½xᵀQx of each row.

    Expanded, what takes long, xᵀQ, does not depend on θ: members of a cohort that share a batch share it.
    """

    Q: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(SIZE))
        self.register_buffer("Q", torch.from_numpy(hessian().astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 100) rows to (N,) losses."""
        xQ = x @ self.Q
        return 0.5 * (self.theta @ self.Q @ self.theta) - xQ @ self.theta + 0.5 * (xQ * x).sum(-1)


def mean_loss(model: Any, x: Tensor) -> Tensor:
    """The mean of the rows' losses."""
    loss: Tensor = model(x).mean()
    return loss


def quadratic_deep() -> Task:
    """1 000 rows through a shuffle buffer of 100, 7 batches of 128 an epoch, 100 epochs; judged on 896 test rows.

    Example:
        >>> quadratic_deep().prepare().steps
        700
    """
    tested = rows(43)[: 7 * BATCH]
    return Task(
        model=Quadratic,
        train=rows(42),
        valid=Halves(tested, tested),
        test=tested,
        batch_loss=mean_loss,
        metric="loss",
        batch_size=BATCH,
        epochs=100,
        shuffle=100,
        name="quadratic-deep",
    )
