"""A task in a file, for the command line: ``thalweg compare examples/my_task.py:task --budget 30s``."""

import torch
from torch import nn

import thalweg as tw

generator = torch.Generator().manual_seed(0)
x = torch.randn(2000, 3, generator=generator)
y = (x[:, :1] * x[:, 1:2]).sin() + 0.1 * torch.randn(2000, 1, generator=generator)

task = tw.Task(
    model=lambda: nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1)),
    train=(x[:1500], y[:1500]),
    valid=(x[1500:], y[1500:]),
    epochs=10,
    name="sine-of-a-product",
)

if __name__ == "__main__":
    print(tw.train(task, tw.Recipe("adamw", lr=1e-2), quiet=True))
