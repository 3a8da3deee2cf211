"""Handwritten digits, 8×8: the task that needs no data folder.

Data: Optical Recognition of Handwritten Digits (test part), E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning
Repository, https://doi.org/10.24432/C50P49, CC BY 4.0; as in scikit-learn's ``load_digits``, stored as
bytes in ``digits.npz``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from thalweg.order import order
from thalweg.task import Task

VALID_ROWS = 500


def mlp(width: int = 32) -> nn.Module:
    """64-32-10 with ReLU, or of another width."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def digits() -> Task:
    """1 797 images of 64 grey values in [0, 1], 10 classes: 1 297 to train, 250 + 250 to validate; 20 epochs of 64.

    Example:
        >>> digits().prepare().train.rows
        1297
    """
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        x, y = torch.from_numpy(file["x"]).float() / 16, torch.from_numpy(file["y"]).long()
    rows = order(len(x), seed=0, epoch=0)
    train, valid = rows[:-VALID_ROWS], rows[-VALID_ROWS:]
    return Task(
        model=mlp, train=(x[train], y[train]), valid=(x[valid], y[valid]), batch_size=64, epochs=20, name="digits"
    )
