"""A loop of your own: two networks that play against each other, compared through ``fit(recipe, seed, report)``."""

import torch
from torch import nn
from torch.nn.functional import softplus

import thalweg as tw


def ring(rows: int) -> torch.Tensor:
    """Points on a noisy circle: the data that the generator must learn."""
    angle = 2 * torch.pi * torch.rand(rows, 1)
    return torch.cat([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(rows, 2)


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outputs))


def energy_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """2 E|a − b| − E|a − a'| − E|b − b'|: zero for equal distributions."""
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def fit(recipe, seed, report, steps=300):
    generator, critic = network(4, 2), network(2, 1)
    g_optimizer, g_schedule = recipe.build(generator)
    c_optimizer, c_schedule = recipe.build(critic)
    for step in range(1, steps + 1):
        real, fake = ring(64), generator(torch.randn(64, 4))
        c_optimizer.zero_grad()
        (softplus(-critic(real)).mean() + softplus(critic(fake.detach())).mean()).backward()
        c_optimizer.step()
        c_schedule.step()
        g_optimizer.zero_grad()
        softplus(-critic(fake)).mean().backward()
        g_optimizer.step()
        g_schedule.step()
        if step % 100 == 0:
            with torch.no_grad():
                report(step, energy_distance=energy_distance(generator(torch.randn(512, 4)), ring(512)))


if __name__ == "__main__":
    baseline = tw.Recipe("adam", lr=2e-4, betas=(0.5, 0.999), schedule="constant")
    print(tw.compare(fit, baseline=baseline, field=["adam", "rmsprop", "sgd"], budget="60s"))
