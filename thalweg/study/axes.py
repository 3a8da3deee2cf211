"""Axes of a comparison: fields of the recipe and arguments of the model's factory, whose values enter side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import building, rules, variants
from ..errors import BadOption, BadTask, unknown
from ..fields import FIELDS
from ..recipe import Recipe
from ..rules.rule import spread
from . import halving, spaces
from .plan import Entrant

if TYPE_CHECKING:
    from ..task import Task

MODEL = "model."
POINTS = 5  # of a range in a grid
GRID = 2  # axes of which every combination enters
CELLS = 16  # combinations of more axes
HINT = "write axes={'schedule': ['linear', 'cosine'], 'weight_decay': (1e-5, 1e-1), 'model.width': [32, 64]}"


@dataclass(frozen=True)
class Axis:
    """What varies, and over which values; a range (``low``, ``high``) is logarithmic."""

    name: str
    values: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan

    @property
    def label(self) -> str:
        """Its short name: ``width`` for ``model.width``."""
        return self.name.removeprefix(MODEL)

    def at(self, u: float) -> Any:
        """The value at the share ``u`` of the axis."""
        if self.values:
            return self.values[min(int(u * len(self.values)), len(self.values) - 1)]
        value = self.low * (self.high / self.low) ** u
        return round(value) if isinstance(self.low, int) and isinstance(self.high, int) else float(f"{value:.3g}")

    def grid(self) -> tuple[Any, ...]:
        """All values; of a range five, evenly in the logarithm."""
        return self.values or tuple(dict.fromkeys(self.at(i / (POINTS - 1)) for i in range(POINTS)))


def read(axes: Any) -> list[Axis]:
    """Axes as a user writes them: a list is its values, a pair of numbers the ends of a logarithmic range.

    Raises:
        BadOption: not a table of axes, or an axis that has not two different values.

    Example:
        >>> [axis.grid() for axis in read({"schedule": ["linear", "cosine"], "weight_decay": (1e-5, 1e-1)})]
        [('linear', 'cosine'), (1e-05, 0.0001, 0.001, 0.01, 0.1)]
    """
    if axes is None:
        return []
    if not isinstance(axes, Mapping) or not all(isinstance(name, str) for name in axes):
        raise BadOption(f"compare: axes must be a table from names to values, got {axes!r}", HINT)
    return [_axis(name, values) for name, values in axes.items()]


def _axis(name: str, values: Any) -> Axis:
    if name == "optimizer":
        raise BadOption("compare: optimizer is no axis", "name the optimizers in field=['adamw', 'sgd']")
    if isinstance(values, tuple):
        ends = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(values) != 2 or len(ends) != 2 or not 0 < ends[0] < ends[1] < math.inf:
            raise BadOption(
                f"compare: axis {name!r}: a range is (low, high) with 0 < low < high, got {values!r}",
                "write the values as a list to try these only",
            )
        return Axis(name, (), *ends)
    if not isinstance(values, list) or len(values) < 2:
        raise BadOption(f"compare: axis {name!r} needs a list of two or more values, got {values!r}", HINT)
    if any(values[i] == values[j] for i, j in itertools.combinations(range(len(values)), 2)):
        raise BadOption(f"compare: axis {name!r} has a value twice: {values!r}", "name each value once")
    if name.startswith(MODEL) and not all(v is None or isinstance(v, str | int | float | bool) for v in values):
        raise BadOption(
            f"compare: axis {name!r}: values must be numbers, texts, True, False or None, got {values!r}",
            "give names, and let the factory look them up",
        )
    return Axis(name, tuple(values))


def cells(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """The combinations that enter: all of them for one or two axes or while they are few, else quasi-random ones.

    Example:
        >>> cells(read({"clip_norm": [None, 1.0], "model.width": [32, 64]}))[1]
        {'clip_norm': None, 'model.width': 64}
    """
    grids = [axis.grid() for axis in axes]
    if len(axes) <= GRID or (all(axis.values for axis in axes) and math.prod(map(len, grids)) <= CELLS):
        return [dict(zip((axis.name for axis in axes), values, strict=True)) for values in itertools.product(*grids)]
    drawn = halving.points(len(axes), CELLS)
    found = [{axis.name: axis.at(float(u)) for axis, u in zip(axes, u_D, strict=True)} for u_D in drawn]
    return [cell for i, cell in enumerate(found) if cell not in found[:i]]


def vary(entrants: Sequence[Entrant], axes: Sequence[Axis], task: Task | None) -> tuple[list[Entrant], list[str]]:
    """Every entrant but the baseline in every cell, each with a rate of its own, and sentences on what does not vary.

    Args:
        entrants: of `plan.entrants`.
        axes: of `read`; none leaves the entrants as they are.
        task: as it was given; None for a loop of the user's.

    Raises:
        BadOption: an axis that no entrant has, or a value that is not allowed.
    """
    if not axes:
        return list(entrants), []
    varied = [e for e in entrants if not e.baseline]
    for axis in axes:
        if axis.name.startswith(MODEL):
            if task is None:
                raise BadOption(
                    f"compare: axis {axis.name!r} needs a task, and fit builds its own model", "compare a Task instead"
                )
            variants.check(task, axis.label)
        elif not any(_has(e.recipe, axis.name) for e in varied):
            options = {name for e in varied for name in spread(rules.get(e.recipe.optimizer).defaults)}
            raise unknown("compare", "axis", axis.name, {*FIELDS, *options, "model.ARGUMENT"} - {"optimizer"})
    found, notes = [e for e in entrants if e.baseline], []
    for e in varied:
        own = [axis for axis in axes if axis.name.startswith(MODEL) or _has(e.recipe, axis.name)]
        notes += [f"{e.name} has no {axis.name}: it does not vary." for axis in axes if axis not in own]
        found += [_cell(e, cell) for cell in cells(own)] if own else [e]
    if task is not None:
        for arguments in dict.fromkeys(e.arguments for e in found):
            variants.of(task, dict(arguments))  # a factory that fails is found before the first run
    return found, notes


def try_out(entrants: Sequence[Entrant], task: Task) -> None:
    """Build the model once as each of the entrants wants it, so that what does not fit is found before the first run.

    Raises:
        BadOption, BadTask: a normalization or an initialization does not fit the model; says whose.
    """
    tried = set()
    for e in entrants:
        wanted = (e.recipe.norm, e.recipe.init, e.recipe.freeze, e.arguments)
        if wanted in tried or not building.changes(e.recipe):
            continue
        tried.add(wanted)
        try:
            building.build(variants.of(task, dict(e.arguments)), e.recipe, task.seed)
        except (BadOption, BadTask) as error:
            raise type(error)(f"{e.name}: {error.message}", error.hint) from None


def _has(recipe: Recipe, name: str) -> bool:
    """Whether a recipe has a field, an option, or an element of one."""
    return name in ({*FIELDS} - {"weight_decay"} | spread(rules.get(recipe.optimizer).defaults).keys())


def _cell(e: Entrant, cell: Mapping[str, Any]) -> Entrant:
    """An entrant with the values of a cell; what they fix is not searched."""
    arguments = {name.removeprefix(MODEL): value for name, value in cell.items() if name.startswith(MODEL)}
    chosen = {name: value for name, value in cell.items() if not name.startswith(MODEL)}
    space = e.space and {
        n: prior for n, prior in e.space.items() if not {n, spaces.option_of(e.recipe.optimizer, n)} & chosen.keys()
    }
    words = [f"{name.removeprefix(MODEL)}={word(value)}" for name, value in cell.items()]
    return replace(
        e,
        name=" ".join([e.name, *words]),
        recipe=spaces.put(e.recipe, chosen),
        rates=None if "lr" in chosen else e.rates,
        arguments=tuple(sorted(arguments.items())),
        space=space,
    )


def word(value: Any) -> str:
    """A value in an entrant's name.

    Example:
        >>> word(0.001), word((0.9, 0.95)), word("cosine"), word(None)
        ('0.001', '0.9:0.95', 'cosine', 'None')
    """
    if isinstance(value, tuple | list):
        return ":".join(map(word, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
