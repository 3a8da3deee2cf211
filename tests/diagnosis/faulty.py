"""Tasks on the built-in digits and on made-up numbers, each with one fault, and healthy ones."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw

ADAM, SGD = tw.Recipe("adamw", lr=3e-3), tw.Recipe("sgd", lr=0.1)


@functools.cache
def digits():
    feed = tw.Task.load("digits").prepare().train
    return feed.inputs, feed.targets


@functools.cache
def numbers(rows=2000):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 8, generator=generator)
    return x, x[:, :1].sin() + x[:, 1:2] * x[:, 2:3] + 2


def mlp(*behind, act=nn.ReLU):
    return lambda: nn.Sequential(nn.Linear(64, 64), act(), nn.Linear(64, 32), act(), nn.Linear(32, 10), *behind)


def regressor(*behind):
    return lambda: nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), *behind)


def deep(layers, act=nn.ReLU, width=64):
    def make():
        inner = [part for _ in range(layers - 2) for part in (nn.Linear(width, width), act())]
        return nn.Sequential(nn.Linear(64, width), act(), *inner, nn.Linear(width, 10))

    return make


def started(make, change):
    def made():
        model = make()
        with torch.no_grad():
            change(model)
        return model

    return made


def every(change):
    return lambda model: [change(p) for p in model.parameters()]


def task(model=None, train=None, **rest):
    return tw.Task(model=model or mlp(), train=train or digits(), epochs=20, name="faulty", **rest)


class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)).detach())


class Unused(Cut):
    def forward(self, x):
        return self.b(x)


class OverTheBatch(Cut):
    def forward(self, x):
        return F.log_softmax(self.b(torch.relu(self.a(x))), 0)


class Probabilities(Cut):
    def forward(self, x):
        return self.b(torch.relu(self.a(x))).softmax(1)


class Noisy(Cut):
    def forward(self, x):
        return self.b(F.dropout(torch.relu(self.a(x)), 0.5))


class FrozenNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 10)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x):
        return self.b(torch.relu(self.norm(self.a(x))))


class Residual(nn.Module):
    def __init__(self, blocks, zero):
        super().__init__()
        self.stem, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(blocks)
        )
        for block in self.blocks:
            nn.init.kaiming_normal_(block[0].weight)
            nn.init.zeros_(block[2].weight) if zero else nn.init.kaiming_normal_(block[2].weight)
            nn.init.zeros_(block[2].bias)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Attention(nn.Module):
    """Which symbol stood fourth: one layer of attention over 16 places."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale
        self.table, self.places = nn.Embedding(16, 64), nn.Parameter(torch.randn(16, 64) * 0.5)
        self.norm, self.head = nn.LayerNorm(64), nn.Linear(64, 16)
        self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))
        for layer in (self.q, self.k, self.v):
            nn.init.normal_(layer.weight, std=64**-0.5)

    def forward(self, x):
        h = self.norm(self.table(x) + self.places)
        weights = (self.q(h) @ self.k(h).transpose(1, 2) * self.scale).softmax(-1)
        return self.head((h + weights @ self.v(h))[:, -1])


def clone(model):
    model[0].weight[32:], model[0].bias[32:] = model[0].weight[:32], model[0].bias[:32]
    model[2].weight[:, 32:] = model[2].weight[:, :32]


def with_norm(momentum=0.1):
    return lambda: nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64, momentum=momentum), nn.ReLU(), nn.Linear(64, 10))


def frozen():
    model = mlp()()
    model[0].requires_grad_(False)
    return model


@functools.cache
def line(scales=0.0, rows=512):
    """Linear regression of 20 numbers with scales down to 10^-scales in turned axes: the data, and the largest eigenvalue."""
    generator = torch.Generator().manual_seed(1)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=generator))[0]
    x = torch.randn(rows, 20, generator=generator) @ turn @ torch.diag(torch.logspace(0, -scales, 20)) @ turn.T
    w = turn @ torch.diag(torch.logspace(0, scales, 20)) @ turn.T @ torch.randn(20, 1, generator=generator)
    y = x @ w + 0.1 * torch.randn(rows, 1, generator=generator)
    wide = torch.cat([x, torch.ones(rows, 1)], 1)
    return x, y, float(torch.linalg.eigvalsh(2 * wide.T @ wide / rows)[-1])


def straight(scales=0.0):
    x, y, _ = line(scales)
    valid = (x[:100] * 1.0001, y[:100])
    return tw.Task(
        model=lambda: nn.Linear(20, 1),
        train=(x, y),
        valid=valid,
        loss=F.mse_loss,
        steps=300,
        batch_size=512,
        name="line",
    )


def places():
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(0, 16, (2000, 16), generator=generator)
    return x, x[:, 3]
