"""Get a classifier of spirals trained in a few epochs with SGD and momentum."""

import math

import torch
from torch import nn

import thalweg as tw


def spirals(rows, seed):
    """Three arms in the plane, a class each."""
    generator = torch.Generator().manual_seed(seed)
    arm = torch.randint(3, (rows,), generator=generator)
    radius = torch.rand(rows, generator=generator).sqrt()
    angle = 2 * math.pi * (arm / 3 + radius * 0.6) + 0.15 * torch.randn(rows, generator=generator)
    return 2 * torch.stack([radius * angle.cos(), radius * angle.sin()], 1), arm


def make_net():
    return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


task = tw.Task(
    model=make_net,
    train=spirals(3000, seed=1),
    valid=spirals(1000, seed=2),
    loss=nn.functional.cross_entropy,
    metric="accuracy",
    batch_size=64,
    epochs=10,
    name="spirals",
)
recipe = tw.Recipe("momentum", lr=5.0, momentum=0.9)

if __name__ == "__main__":
    print(tw.train(task, recipe, quiet=True))
