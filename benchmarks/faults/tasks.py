"""Small tasks that train well within a second or two, by a seed, into which faults are injected; no data to fetch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg as tw

from .setting import Setting

SYMBOLS, LENGTH = 6, 16


def digits(seed: int) -> Setting:
    """The built-in digits: 64-32-10 ReLU."""
    task = tw.Task.load("digits")
    return Setting(replace(task, metric="accuracy", loss=F.cross_entropy, seed=seed), tw.Recipe("momentum", lr=0.1))


def conv() -> nn.Module:
    """Two blocks of 3×3 convolution (8, 16 channels), batch norm, ReLU and 2×2 max pool, and a linear head."""

    def block(before: int, after: int) -> list[nn.Module]:
        return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 8), *block(8, 16), nn.Flatten(), nn.Linear(64, 10))


def cnn(seed: int) -> Setting:
    """The digits as 8×8 images, with batch norm."""
    task = tw.Task.load("digits")
    (x, y), (u, v) = task.train, task.valid
    given = {"train": (x.view(-1, 1, 8, 8), y), "valid": (u.view(-1, 1, 8, 8), v)}
    made = tw.Task(
        model=conv, **given, loss=F.cross_entropy, metric="accuracy", batch_size=32, epochs=4, seed=seed, name="cnn"
    )
    return Setting(made, tw.Recipe("adam", lr=3e-3))


def smooth(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    """8 standardized numbers and a smooth function of them, standardized, with a little noise."""
    random = torch.Generator().manual_seed(1000 + seed)
    x = torch.randn(rows, 8, generator=random)
    y = torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3].square() + x[:, 4:].sum(1) / 2
    y = (y - y.mean()) / y.std()
    return x, (y + 0.05 * torch.randn(rows, generator=random))[:, None]


def perceptron() -> nn.Module:
    """8-64-64-1 ReLU."""
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def regression(seed: int) -> Setting:
    """A smooth function of 8 numbers."""
    x, y = smooth(seed, 2500)
    made = tw.Task(
        model=perceptron, train=(x[:2000], y[:2000]), valid=(x[2000:], y[2000:]), loss=F.mse_loss, metric="mse",
        batch_size=64, epochs=12, seed=seed, name="regression",
    )  # fmt: skip
    return Setting(made, tw.Recipe("adamw", lr=5e-3))


class Attention(nn.Module):
    """Causal self-attention; ``scale`` multiplies the scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(width // heads)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_ntw: Tensor) -> Tensor:
        """Of N sequences of T vectors of width W."""
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.mix(x_ntw).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) * self.scale
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x_ntw.device).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Attention and a two-layer net, each behind a layer norm and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Of sequences of vectors."""
        x = x + self.attention(self.first(x))
        return x + self.net(self.second(x))


class Decoder(nn.Module):
    """A small transformer over symbols."""

    def __init__(self, width: int = 32, heads: int = 2, depth: int = 2) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(SYMBOLS, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, SYMBOLS)

    def forward(self, x_nt: Tensor) -> Tensor:
        """Logits of the next symbol, (N, T, symbols)."""
        return self.head(self.norm(self.blocks(self.symbol(x_nt) + self.place.weight[: x_nt.shape[1]])))


def next_symbol(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over all places."""
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def sequences(seed: int) -> Setting:
    """The next symbol, which four times in five is the one two places ago plus one, else a random one."""
    random = np.random.default_rng(seed)
    rows = random.integers(SYMBOLS, size=(1200, LENGTH + 1))
    for t in range(2, LENGTH + 1):
        known = random.random(len(rows)) < 0.8
        rows[known, t] = (rows[known, t - 2] + 1) % SYMBOLS
    x, y = torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())
    made = tw.Task(
        model=Decoder, train=(x[:1000], y[:1000]), valid=(x[1000:], y[1000:]), loss=next_symbol, metric="nll",
        batch_size=32, steps=250, seed=seed, name="sequences",
    )  # fmt: skip
    return Setting(made, tw.Recipe("adamw", lr=3e-3))


class Residual(nn.Module):
    """x + two layers of it, behind a layer norm unless ``norm`` is False."""

    def __init__(self, width: int, norm: bool = True) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width) if norm else nn.Identity(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Of rows of numbers."""
        return x + self.net(x)


def residual_net(blocks: int = 4, norm: bool = True, inputs: int = 64, outputs: int = 10) -> nn.Module:
    """A linear layer, residual blocks, a linear head."""
    last = nn.LayerNorm(32) if norm else nn.Identity()
    inner = [Residual(32, norm) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(inputs, 32), *inner, last, nn.Linear(32, outputs))


def residual(seed: int) -> Setting:
    """The digits with four residual blocks."""
    base = digits(seed)
    return Setting(replace(base.task, model=residual_net, epochs=10, name="residual"), tw.Recipe("momentum", lr=0.05))


def _linear(seed: int, width: int, decay: float, name: str) -> Setting:
    """A linear regression whose inputs' standard deviations fall as ``decay`` to the power of their number, rotated."""
    random = torch.Generator().manual_seed(2000 + seed)
    x = torch.randn(400, width, generator=random) * decay ** torch.arange(width)
    weights = torch.randn(width, 1, generator=random) / decay ** torch.arange(width)[:, None] / math.sqrt(width)
    turn = torch.linalg.qr(torch.randn(width, width, generator=random)).Q
    y = x @ weights
    y = y / y.std() + 0.1 * torch.randn(len(y), 1, generator=random)
    x = x @ turn
    made = tw.Task(
        model=lambda: nn.Linear(width, 1), train=(x[:300], y[:300]), valid=(x[300:], y[300:]), loss=F.mse_loss,
        metric="mse", batch_size=60, steps=200, seed=seed, name=name,
    )  # fmt: skip
    rate = 1 / curvature(x[:300])
    return Setting(made, tw.Recipe("sgd", lr=rate, schedule="constant", batch_size="full"))


def curvature(x: Tensor) -> float:
    """The largest eigenvalue of the Hessian of a linear regression on x, with a bias: that of 2/N XᵀX."""
    wide = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    return float(torch.linalg.eigvalsh(2 / len(x) * wide.T @ wide)[-1])


def linear(seed: int) -> Setting:
    """Linear regression on 8 numbers by descent on the whole set."""
    return _linear(seed, 8, 0.9, "linear")


def wide(seed: int) -> Setting:
    """Linear regression on 30 numbers by descent on the whole set."""
    return _linear(seed, 30, 0.97, "wide")


BASES: dict[str, Callable[[int], Setting]] = {
    "digits": digits, "cnn": cnn, "regression": regression, "sequences": sequences, "residual": residual,
    "linear": linear, "wide": wide,
}  # fmt: skip
# The error of an answer that knows nothing: where a score is cut off, and what a divergence counts.
CHANCE = {
    "digits": 0.9, "cnn": 0.9, "residual": 0.9, "regression": 1.0, "sequences": math.log(SYMBOLS), "linear": 1.0, "wide": 1.0,
}  # fmt: skip
