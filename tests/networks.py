"""Small networks of several kinds, for the tests of what changes or looks into models."""

import torch
import torch.nn.functional as F
from torch import nn

import thalweg as tw


class Residual(nn.Module):
    """Convolutions, batch norm and a residual branch, with functions instead of modules for the non-linearities."""

    def __init__(self, norm=True):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.a, self.b = (nn.Conv2d(8, 8, 3, padding=1, bias=not norm) for _ in range(2))
        self.n1, self.n2 = (nn.BatchNorm2d(8) if norm else nn.Identity() for _ in range(2))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.stem(x)
        x = F.relu(x + self.n2(self.b(F.relu(self.n1(self.a(x))))))
        return self.head(x.mean((2, 3)))


class Deep(nn.Module):
    """Residual branches of two layers without normalization, as many as asked for."""

    def __init__(self, width=32, blocks=100):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class Shared(nn.Module):
    """One block that is used three times."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = self.block(x)
        return self.head(x)


class Tied(nn.Module):
    """A decoder whose head is its embedding."""

    def __init__(self):
        super().__init__()
        self.token, self.place = nn.Embedding(11, 8), nn.Parameter(torch.zeros(5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.token.weight

    def forward(self, x):
        return self.head(self.layer(self.token(x) + self.place))


class Point(nn.Module):
    """A place on a surface in a few dimensions."""

    def __init__(self, at):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(at, dtype=torch.float64))

    def forward(self, x):
        return self.theta


def task_at(function, at):
    """The task whose loss is a function of a point's coordinates, whatever the rows."""
    return tw.Task(
        model=lambda: Point(at), train=torch.zeros(64, 1), batch_loss=lambda m, b: function(*m(b)), batch_size=4, steps=1,
        metric="loss",
    )  # fmt: skip


def himmelblau(x, y):
    """Four minima, four saddles, a maximum."""
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def plain_cnn():
    """Two convolutions without normalization."""
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))


def mlp(act=nn.Tanh, width=8, depth=2, inputs=4, outputs=3, std=None):
    """Linear layers and non-linearities; weights N(0, std²) where it is given."""
    layers = []
    for i in range(depth):
        layers += [nn.Linear(width if i else inputs, width), act()]
        if std is not None:
            nn.init.normal_(layers[-2].weight, std=std)
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def transformer():
    """Two layers of an encoder with layer norm."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3))


PICTURES = (6, 1, 8, 8)
KINDS = {  # a factory, and the shape of its input
    "plain cnn": (plain_cnn, PICTURES),
    "residual": (Residual, PICTURES),
    "mlp": (mlp, (6, 4)),
    "transformer": (transformer, (6, 5, 8)),
    "shared": (Shared, (6, 4)),
}
