"""The built-in tasks, by name: functions without arguments, so that figures can be compared."""

from __future__ import annotations

from collections.abc import Callable

from thalweg.errors import unknown
from thalweg.task import Task
from thalweg.tasks.digits import digits
from thalweg.tasks.housing import housing
from thalweg.tasks.images import fashion_cnn, fashion_mlp, mnist_mlp
from thalweg.tasks.quadratic import quadratic_deep
from thalweg.tasks.shakespeare import shakespeare

TABLE: dict[str, Callable[[], Task]] = {
    "digits": digits,
    "fashion-mlp": fashion_mlp,
    "fashion-cnn": fashion_cnn,
    "mnist-mlp": mnist_mlp,
    "shakespeare": shakespeare,
    "housing": housing,
    "quadratic-deep": quadratic_deep,
}


def load(name: str) -> Task:
    """The built-in task of a name; an unknown one is an error that suggests the nearest."""
    if name not in TABLE:
        raise unknown("Task", "built-in task", name, TABLE)
    return TABLE[name]()
