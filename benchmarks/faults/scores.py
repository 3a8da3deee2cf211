"""How bad a setting is: an error of its task, in which lower is better, cut off at what an answer by chance has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from thalweg import loop
from thalweg.errors import ThalwegError

from .loops import play
from .setting import Setting


def error_of(values: dict[str, Any], metric: str, direction: str) -> float:
    """The deciding metric as an error."""
    value = float(values.get(metric, math.nan))
    return 1 - value if direction == "max" else value


def _of_model(setting: Setting, model: Any) -> dict[str, float]:
    """On both halves of the validation data."""
    data = setting.task.prepare()
    found = [setting.task.evaluate(model, feed) for feed in (data.select, data.judge)]
    return {name: (found[0][name] + found[1][name]) / 2 for name in found[0]}


def trained(setting: Setting, seed: int) -> float:
    """After training from its start, by our loop or its own."""
    data = setting.task.prepare()
    if setting.loop is not None:
        model = play(setting.task, setting.recipe, setting.loop, seed, data.steps // setting.loop.accumulate).model
        return error_of(_of_model(setting, model.eval()), data.metric, data.direction)
    run, _ = loop.run(setting.task, setting.recipe, seed, evaluations=1, splits=("select", "judge"))
    if run.outcome.status == "diverged":
        return math.inf
    found = [error_of(run.trace.last(name) or {}, data.metric, data.direction) for name in ("select", "judge")]
    return sum(found) / 2


def as_it_is(setting: Setting, seed: int) -> float:
    """Of the model that the setting brings."""
    data = setting.task.prepare()
    return error_of(_of_model(setting, setting.model), data.metric, data.direction)


def alone(setting: Setting, seed: int) -> float:
    """After training, with one row at a time, as in use."""
    data = setting.task.prepare()
    run, _ = loop.run(setting.task, setting.recipe, seed, evaluations=1)
    return error_of(setting.task.evaluate(run.model, data.select, 1), data.metric, data.direction)


def flattery(setting: Setting, seed: int) -> float:
    """After training: how much smaller the error on the validation data is than on the test data."""
    data = setting.task.prepare()
    run, _ = loop.run(setting.task, setting.recipe, seed, evaluations=1)
    said = error_of(_of_model(setting, run.model), data.metric, data.direction)
    true = error_of(setting.task.evaluate(run.model, data.test), data.metric, data.direction)
    return abs(true - said)


MEASURES: dict[str, Callable[[Setting, int], float]] = {
    "trained": trained, "as it is": as_it_is, "alone": alone, "flattery": flattery,
}  # fmt: skip


def score(setting: Setting, measure: str, seed: int, chance: float) -> float:
    """A number in [0, chance]; what does not train at all is at chance."""
    try:
        value = MEASURES[measure](setting, seed)
    except ThalwegError:
        return chance
    return min(value, chance) if math.isfinite(value) else chance
