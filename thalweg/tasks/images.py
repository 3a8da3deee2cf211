"""Fashion-MNIST and MNIST: small fully connected and convolutional nets on 28×28 grey images.

Data (not part of the package): Fashion-MNIST, H. Xiao, K. Rasul and R. Vollgraf, 2017, MIT licence; MNIST, Y. LeCun,
C. Cortes and C. Burges, CC BY-SA 3.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from thalweg.data import Halves
from thalweg.order import order
from thalweg.readers import read_images
from thalweg.task import Task
from thalweg.tasks.folder import find

HALF = 5_000
ORIGIN = {
    "fashion-mnist": "Fashion-MNIST: https://github.com/zalandoresearch/fashion-mnist (MIT)",
    "mnist": "MNIST: http://yann.lecun.com/exdb/mnist (CC BY-SA 3.0)",
}


def mlp(width: int = 128) -> nn.Module:
    """784-128-10 with ReLU, or of another width."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, 10))


def cnn() -> nn.Module:
    """Two blocks of 3×3 convolution (16, 32 channels), batch norm, ReLU and 2×2 max pool, and a linear head."""

    def block(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Linear(32 * 7 * 7, 10))


def _images(folder: str, model: Callable[[], nn.Module], **settings: Any) -> Task:
    x, y = read_images(find(f"{folder}/train-images-idx3-ubyte.gz", ORIGIN[folder]))
    assert y is not None
    rows = order(len(x), seed=0, epoch=0)
    train, select, judge = rows[: -2 * HALF], rows[-2 * HALF : -HALF], rows[-HALF:]
    return Task(
        model=model,
        train=(x[train], y[train]),
        valid=Halves((x[select], y[select]), (x[judge], y[judge])),
        test=read_images(find(f"{folder}/t10k-images-idx3-ubyte.gz", ORIGIN[folder])),
        **settings,
    )


def fashion_mlp() -> Task:
    """Fashion-MNIST, 784-128-10, 5 epochs of batches of 128; 50 000 to train, 5 000 + 5 000, 10 000 to test."""
    return _images("fashion-mnist", mlp, batch_size=128, epochs=5, name="fashion-mlp")


def fashion_cnn() -> Task:
    """Fashion-MNIST, two convolutional blocks, 2 epochs of batches of 64."""
    return _images("fashion-mnist", cnn, batch_size=64, epochs=2, name="fashion-cnn")


def mnist_mlp() -> Task:
    """MNIST, 784-128-10, 5 epochs of batches of 128."""
    return _images("mnist", mlp, batch_size=128, epochs=5, name="mnist-mlp")
