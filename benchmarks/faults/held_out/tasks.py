"""The tasks of the third set, by a seed: other data, widths, depths, activations and optimizers than those of the first two."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import thalweg as tw

from ..setting import Setting
from ..tasks import curvature

ARMS, FREQUENCIES, SIGNS, PLACES = 4, 5, 9, 20


def rolled(seed: int, rows: int) -> tuple[Tensor, Tensor]:
    """Points of four arms of a spiral, turned into ten numbers, and their arm."""
    random = torch.Generator().manual_seed(4000 + seed)
    arm = torch.randint(ARMS, (rows,), generator=random)
    along = torch.rand(rows, generator=random)
    angle = 2.5 * along + 2 * math.pi * arm / ARMS
    flat = (0.3 + along)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    flat = flat + 0.04 * torch.randn(rows, 2, generator=random)
    x = torch.cat([2 * flat, 0.5 * torch.randn(rows, 8, generator=random)], 1)
    return x @ torch.linalg.qr(torch.randn(10, 10, generator=random)).Q, arm


def gelu_net() -> nn.Module:
    """10-80-40-4 GELU."""
    return nn.Sequential(nn.Linear(10, 80), nn.GELU(), nn.Linear(80, 40), nn.GELU(), nn.Linear(40, ARMS))


def spirals(seed: int) -> Setting:
    """Which arm of a spiral."""
    x, y = rolled(seed, 2600)
    made = tw.Task(
        model=gelu_net, train=(x[:2000], y[:2000]), valid=(x[2000:], y[2000:]), loss=F.cross_entropy, metric="accuracy",
        batch_size=50, epochs=10, seed=seed, name="spirals",
    )  # fmt: skip
    return Setting(made, tw.Recipe("adamw", lr=4e-3))


def strided() -> nn.Module:
    """Two strided convolutions (5×5 with 6 channels, 3×3 with 12), batch norm, ReLU, and a linear head."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2, padding=2), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Flatten(), nn.Linear(12 * 49, 10),
    )  # fmt: skip


@cache
def known(name: str, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of a built-in task's training data, drawn by the seed."""
    found = tw.Task.load(name).prepare().train
    assert found.inputs is not None and found.targets is not None
    order = torch.randperm(len(found.targets), generator=torch.Generator().manual_seed(seed))[:rows]
    return found.inputs[order].float(), found.targets[order]


def fashion(seed: int) -> Setting:
    """3 000 images of Fashion-MNIST."""
    x, y = known("fashion-cnn", 3000, seed)
    x = (x if x.ndim == 4 else x[:, None]) / max(1.0, float(x.max()))
    made = tw.Task(
        model=strided, train=(x[:2400], y[:2400]), valid=(x[2400:], y[2400:]), loss=F.cross_entropy, metric="accuracy",
        batch_size=48, epochs=4, seed=seed, name="fashion",
    )  # fmt: skip
    return Setting(made, tw.Recipe("momentum", lr=0.02))


def silu_net() -> nn.Module:
    """14-48-48-48-1 SiLU."""
    inner = [[nn.Linear(48, 48), nn.SiLU()] for _ in range(2)]
    return nn.Sequential(nn.Linear(14, 48), nn.SiLU(), *(m for pair in inner for m in pair), nn.Linear(48, 1))


def housing(seed: int) -> Setting:
    """The prices of 2 500 districts of California, standardized."""
    x, y = known("housing", 2500, seed)
    y = y.float().view(-1, 1)
    y = (y - y.mean()) / y.std()
    made = tw.Task(
        model=silu_net, train=(x[:2000], y[:2000]), valid=(x[2000:], y[2000:]), loss=F.mse_loss, metric="mse",
        batch_size=40, epochs=8, seed=seed, name="housing",
    )  # fmt: skip
    return Setting(made, tw.Recipe("adam", lr=3e-3))


def conv1d() -> nn.Module:
    """Two convolutions along time (12, 16 channels), the mean over time, a linear head."""
    return nn.Sequential(
        nn.Conv1d(2, 12, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(12, 16, 5, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(64, FREQUENCIES),
    )  # fmt: skip


def waves(seed: int) -> Setting:
    """Which of five frequencies two noisy channels carry."""
    random = np.random.default_rng(5000 + seed)
    label = random.integers(FREQUENCIES, size=1800)
    time = np.arange(32)[None, None]
    phase = random.uniform(0, 2 * np.pi, size=(1800, 2, 1))
    wave = np.sin(2 * np.pi * (2 + 2 * label[:, None, None]) / 32 * time + phase)
    x = torch.from_numpy((wave + 0.6 * random.standard_normal((1800, 2, 32))).astype(np.float32))
    y = torch.from_numpy(label)
    made = tw.Task(
        model=conv1d, train=(x[:1500], y[:1500]), valid=(x[1500:], y[1500:]), loss=F.cross_entropy, metric="accuracy",
        batch_size=30, epochs=6, seed=seed, name="waves",
    )  # fmt: skip
    return Setting(made, tw.Recipe("rmsprop", lr=2e-3))


class Reader(nn.Module):
    """A GRU over a sequence of numbers, and a linear head on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.head = nn.GRU(3, 40, batch_first=True), nn.Linear(40, 4)

    def forward(self, x_ntd: Tensor) -> Tensor:
        """Of N sequences of T rows of three numbers."""
        return self.head(self.memory(x_ntd)[0][:, -1])


def memory(seed: int) -> Setting:
    """The signs of the first number and of the sum of all second ones: four classes."""
    random = torch.Generator().manual_seed(6000 + seed)
    x = torch.randn(2000, 6, 3, generator=random)
    y = 2 * (x[:, 0, 0] > 0).long() + (x[:, :, 1].sum(1) > 0).long()
    made = tw.Task(
        model=Reader, train=(x[:1600], y[:1600]), valid=(x[1600:], y[1600:]), loss=F.cross_entropy, metric="accuracy",
        batch_size=40, epochs=8, seed=seed, name="memory",
    )  # fmt: skip
    return Setting(made, tw.Recipe("adam", lr=1e-2))


class Heads(nn.Module):
    """Causal self-attention by torch's function; ``scale`` multiplies the scores."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(width // heads)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x_ntw: Tensor) -> Tensor:
        """Of N sequences of T vectors of width W."""
        parts = (
            part(x_ntw).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(*parts, is_causal=True, scale=self.scale)
        return self.out(seen.transpose(1, 2).flatten(-2))


class Layer(nn.Module):
    """Attention and a two-layer ReLU net, each behind a layer norm and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Heads(width, heads)
        self.net = nn.Sequential(nn.Linear(width, 3 * width), nn.ReLU(), nn.Linear(3 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Of sequences of vectors."""
        x = x + self.attention(self.first(x))
        return x + self.net(self.second(x))


class Writer(nn.Module):
    """A transformer of three layers and four heads over nine signs."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(SIGNS, width), nn.Embedding(PLACES, width)
        self.blocks = nn.Sequential(*(Layer(width, 4) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, SIGNS)

    def forward(self, x_nt: Tensor) -> Tensor:
        """Logits of the next sign, (N, T, signs)."""
        return self.head(self.norm(self.blocks(self.symbol(x_nt) + self.place.weight[: x_nt.shape[1]])))


def next_sign(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy over all places."""
    return F.cross_entropy(output.transpose(1, 2), target)


def chains(seed: int) -> Setting:
    """The next sign, which five times in six is that of three places ago moved by a fixed permutation."""
    random = np.random.default_rng(7000 + seed)
    moved, rows = random.permutation(SIGNS), random.integers(SIGNS, size=(1500, PLACES + 1))
    for t in range(3, PLACES + 1):
        known = random.random(len(rows)) < 5 / 6
        rows[known, t] = moved[rows[known, t - 3]]
    x, y = torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())
    made = tw.Task(
        model=Writer, train=(x[:1250], y[:1250]), valid=(x[1250:], y[1250:]), loss=next_sign, metric="nll",
        batch_size=40, steps=240, seed=seed, name="chains",
    )  # fmt: skip
    return Setting(made, tw.Recipe("adam", lr=3e-3))


def leaky_net() -> nn.Module:
    """12-64-32-1 leaky ReLU."""
    return nn.Sequential(nn.Linear(12, 64), nn.LeakyReLU(0.1), nn.Linear(64, 32), nn.LeakyReLU(0.1), nn.Linear(32, 1))


def twins(seed: int) -> Setting:
    """Whether a product of two numbers exceeds a third; yes or no by one logit."""
    random = torch.Generator().manual_seed(8000 + seed)
    x = torch.randn(3000, 12, generator=random)
    y = (x[:, 0] * x[:, 1] + 0.7 * x[:, 2] > 0).float()[:, None]
    made = tw.Task(
        model=leaky_net, train=(x[:2400], y[:2400]), valid=(x[2400:], y[2400:]), loss=F.binary_cross_entropy_with_logits,
        metric="accuracy", batch_size=64, epochs=10, seed=seed, name="twins",
    )  # fmt: skip
    return Setting(made, tw.Recipe("nesterov", lr=0.05))


def plane(seed: int) -> Setting:
    """Linear regression on 20 numbers by descent on the whole set."""
    random = torch.Generator().manual_seed(9000 + seed)
    scales = torch.linspace(1.0, 0.35, 20)
    x = torch.randn(500, 20, generator=random) * scales
    y = x @ (torch.randn(20, 1, generator=random) / scales[:, None])
    y = y / y.std() + 0.15 * torch.randn(500, 1, generator=random)
    x = x @ torch.linalg.qr(torch.randn(20, 20, generator=random)).Q
    made = tw.Task(
        model=lambda: nn.Linear(20, 1), train=(x[:400], y[:400]), valid=(x[400:], y[400:]), loss=F.mse_loss, metric="mse",
        batch_size=50, steps=160, seed=seed, name="plane",
    )  # fmt: skip
    return Setting(made, tw.Recipe("sgd", lr=1 / curvature(x[:400]), schedule="constant", batch_size="full"))


BASES: dict[str, Callable[[int], Setting]] = {
    "spirals": spirals, "fashion": fashion, "housing": housing, "waves": waves, "memory": memory, "chains": chains,
    "twins": twins, "plane": plane,
}  # fmt: skip
# The error of an answer that knows nothing.
CHANCE = {
    "spirals": 0.75, "fashion": 0.9, "housing": 1.0, "waves": 0.8, "memory": 0.75, "chains": math.log(SIGNS), "twins": 0.5,
    "plane": 1.0,
}  # fmt: skip
