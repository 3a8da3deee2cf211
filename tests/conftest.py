"""Shared by all tests: one thread a process, and no study left in the checkout."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import nn

import thalweg as tw

torch.set_num_threads(1)
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toy():
    """A task of three classes that trains in a few milliseconds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(240, 4, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()
    return tw.Task(
        model=lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)),
        train=(x[:160], y[:160]),
        valid=(x[160:], y[160:]),
        batch_size=16,
        epochs=4,
        name="toy",
    )
