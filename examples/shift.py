"""The data moved: a column of new rows comes in another unit. What is it, and what helps?"""

import torch

import thalweg as tw

generator = torch.Generator().manual_seed(0)


def rows(count):
    """Age, income and distance; the answer depends on all three."""
    x = torch.rand(count, 3, generator=generator) * torch.tensor([60.0, 5.0, 20.0]) + torch.tensor([18.0, 1.0, 0.0])
    y = (x[:, 0] / 60 + x[:, 1] - x[:, 2] / 10 + 0.3 * torch.randn(count, generator=generator) > 3).long()
    return x, y


task = tw.Task(
    model=lambda: torch.nn.Sequential(
        torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)
    ),
    train=rows(2000),
    valid=rows(1000),
    epochs=5,
    name="three-numbers",
)
run = tw.train(task, tw.Recipe("adamw", lr=1e-2), quiet=True)

x, y = rows(500)
x[:, 1] *= 1000  # somebody changed the unit
found = tw.shift(run, task=task, incoming=(x, y), quiet=True)
print(found)
print("kind:", found.kind, "· columns:", *found.named.features)
print("recommended:", found.recommended.name)
