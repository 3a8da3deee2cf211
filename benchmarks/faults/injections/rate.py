"""Faults of the learning rate, the momentum and the schedule."""

from __future__ import annotations

from typing import Any

from ..setting import Change, Fault, Setting, codes
from ..tasks import curvature


def times(factor: float) -> Change:
    """The rate times a number."""

    def inject(setting: Setting, seed: int) -> Setting:
        assert setting.recipe.lr is not None
        return setting.with_recipe(lr=setting.recipe.lr * factor)

    return inject


def recipe(**changes: Any) -> Change:
    """Fields of the recipe changed."""
    return lambda setting, seed: setting.with_recipe(**changes)


def descent(limit: float) -> Change:
    """The rate that many times one over the largest curvature."""
    return lambda setting, seed: setting.with_recipe(lr=limit / curvature(setting.task.train[0]))


def heavy_ball(limit: float) -> Change:
    """The same with momentum .9."""
    return lambda setting, seed: setting.with_recipe(optimizer="momentum", lr=limit / curvature(setting.task.train[0]))


ADAM = ("cnn", "regression", "sequences")
HIGH, LOW = codes("lr-too-high", "lr-unstable"), codes("lr-too-low")
FAMILY = "learning rate"
FAULTS = [
    Fault("lr × 100", FAMILY, HIGH, ("digits", "regression", "sequences", "residual"), times(100)),
    Fault("lr × 1e-4", FAMILY, LOW, ("digits", "cnn", "sequences", "linear"), times(1e-4)),
    Fault("lr × 1e-3", FAMILY, LOW, ("regression", "residual"), times(1e-3)),
    Fault("lr 2.05/λmax", FAMILY, HIGH, ("linear", "wide"), descent(2.05), descent(1.0)),
    Fault("heavy ball 3.9/λmax", FAMILY, HIGH, ("linear", "wide"), heavy_ball(3.9), heavy_ball(1.0)),
    Fault(
        "Adam at .1",
        FAMILY,
        HIGH,
        ("sequences",),
        recipe(optimizer="adam", lr=0.1),
        recipe(optimizer="adam", lr=3e-3),
    ),
    Fault("Adam eps 1", FAMILY, codes("adam-epsilon"), ADAM, recipe(eps=1.0)),
    Fault("Adam β .999, .9", FAMILY, codes("adam-betas"), ADAM, recipe(betas=(0.999, 0.9))),
    Fault(
        "momentum .999",
        FAMILY,
        codes("momentum-too-high"),
        ("digits", "residual", "linear"),
        recipe(optimizer="momentum", momentum=0.999),
    ),
    Fault(
        "rate falls as 1/t",
        FAMILY,
        codes("schedule-collapsed"),
        ("digits", "regression", "residual"),
        recipe(schedule="1/t", warmup=0),
    ),
    Fault(
        "warm-up longer than the run",
        FAMILY,
        codes("schedule-collapsed", "lr-too-low"),
        ("digits", "cnn", "sequences"),
        recipe(warmup=100_000),
    ),
]
