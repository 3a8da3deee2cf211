"""The model that a recipe trains: the user's, with the normalization and the initial weights that the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from . import inits, norms, trial
from .batch import Batch
from .errors import BadOption

if TYPE_CHECKING:
    from .recipe import Recipe
    from .task import Task

ROWS = 256  # of the training data, at least: on these LSUV sees variances
MARK = "built_by_recipe"  # the attribute of a model that says what was carried out on it; copies have it too


def changes(recipe: Recipe) -> bool:
    """Whether a recipe asks for anything else than the model as it is built."""
    return recipe.norm != "keep" or recipe.init != "torch"


def build(task: Task, recipe: Recipe, seed: int, **arguments: Any) -> nn.Module:
    """A new model of a task with the weights of a seed, as a recipe wants it.

    Args:
        task: what is trained.
        recipe: its ``norm`` and ``init`` are carried out.
        seed: of the streams ``"weights"`` and ``"init"``.
        arguments: for the model's factory.

    Raises:
        BadOption, BadTask: norm or init do not fit the model.

    Example:
        >>> import thalweg
        >>> build(thalweg.Task.load("digits"), thalweg.Recipe("sgd", norm="batch"), seed=0)[0].norm.num_features
        32
    """
    model = task.build(seed, **arguments)
    if changes(recipe):
        batch = sample(task)
        apply(model, recipe, lambda m: outputs(task, m, batch), seed, lambda n: prior(task, n))
    return model


def sample(task: Task) -> Batch:
    """Some training rows, the same each time: a batch, or `ROWS` where batches are smaller."""
    if "sample" not in task._memory:
        data = task.prepare()
        size = data.batch_size if data.train.fixed_batches else max(int(data.batch_size), ROWS)
        size = min(size, data.train.rows or size)
        task._memory["sample"] = next(iter(data.train.training(size, [task.seed]))).of(0)
    found: Batch = task._memory["sample"]
    return found


def outputs(task: Task, model: nn.Module, batch: Batch) -> Any:
    """What a model gives on a batch: its output, or its loss where it has no other."""
    loss, output = task.loss_and_output(model, batch)
    return loss if output is None else output


def prior(task: Task, numbers: int) -> Tensor | None:
    """The bias that says what the training targets say, for an output of so many numbers."""
    data = task.prepare()
    targets = data.train.target_sample()
    return None if targets is None else inits.output_prior(data.kind, targets, numbers)


def apply(
    model: nn.Module, recipe: Recipe, forward: Callable[[nn.Module], Any], seed: int, prior: inits.Prior
) -> list[Any]:
    """Carry out ``norm`` and then ``init`` of a recipe on a model, in place; what was done."""
    swap = norms.swap(model, recipe.norm, forward)
    try:
        done = [swap, inits.initialize(model, recipe.init, forward, seed=seed, prior=prior)]
    except BaseException:
        swap.undo()
        raise
    setattr(model, MARK, (recipe.norm, recipe.init))
    return done


def apply_to_inputs(model: nn.Module, recipe: Recipe, inputs: Any, targets: Tensor | None, seed: int) -> list[Any]:
    """As `apply`, with a batch of inputs and perhaps targets; see `Recipe.initialize`."""
    kind = ""
    if targets is not None:
        kind = "regression" if targets.is_floating_point() else "classification"
        if targets.is_floating_point() and bool(((targets == 0) | (targets == 1)).all()):
            kind = "binary"
    found = (lambda n: inits.output_prior(kind, targets, n)) if targets is not None else (lambda n: None)
    return apply(model, recipe, lambda m: trial.call(m, inputs), seed, found)


def check(model: nn.Module, recipe: Recipe) -> None:
    """See that a model is as a recipe wants it.

    Raises:
        BadOption: norm or init were not carried out on it.
    """
    if changes(recipe) and getattr(model, MARK, None) != (recipe.norm, recipe.init):
        asked = ", ".join(
            f"{n}={v}" for n, v in (("norm", recipe.norm), ("init", recipe.init)) if v not in ("keep", "torch")
        )
        raise BadOption(
            f"Recipe: {asked} was not carried out on this model", "call recipe.initialize(model, inputs) before build"
        )
