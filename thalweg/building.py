"""The model that a recipe trains: the user's, with the normalization and the initial weights that the recipe says."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from . import groups, inits, norms, trial
from .batch import Batch, make_batch, map_leaves
from .errors import BadData, BadOption

if TYPE_CHECKING:
    from .recipe import Recipe
    from .task import Task

ROWS = 256  # of the training data, at least: on these LSUV sees variances
MARK = "built_by_recipe"  # the attribute of a model that says what was carried out on it; copies have it too
BY_SIZE = {"sgd", "momentum", "nesterov", "asgd", "schedulefreesgd"}  # their steps are as long as the gradient says


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
    return built(task, recipe, seed, **arguments)[0]


def built(task: Task, recipe: Recipe, seed: int, **arguments: Any) -> tuple[nn.Module, list[Any]]:
    """As `build`, and what was done: a `thalweg.norms.Swap` and a `thalweg.inits.Initialization`, or [] for nothing.

    Example:
        >>> import thalweg
        >>> _, (swap, init) = built(thalweg.Task.load("digits"), thalweg.Recipe("sgd", norm="batch"), seed=0)
        >>> print(swap)
        0.norm: BatchNorm1d(32)
        0.bias: dropped, the normalization takes it away
    """
    model = task.build(seed, **arguments)
    if not changes(recipe):
        return model, []
    batch = sample(task)
    return model, apply(model, recipe, lambda m: outputs(task, m, batch), seed, lambda n: prior(task, n))


def sample(task: Task) -> Batch:
    """Some training rows, the same each time: a batch, or `ROWS` where batches are smaller."""
    if "sample" not in task._memory:
        data = task.prepare()
        size = data.batch_size if data.train.fixed_batches else max(int(data.batch_size), ROWS)
        size = min(size, data.train.rows or size)
        first = next(iter(data.train.training(size, [task.seed])), None) or next(data.train.batches(size), None)
        if first is None:
            raise BadData("the training data give no batch", "give at least one row")
        task._memory["sample"] = first.of(0)
    found: Batch = task._memory["sample"]
    return found


def outputs(task: Task, model: nn.Module, batch: Batch) -> Any:
    """What a model gives on a batch: its output, or its loss where it has no other."""
    loss, output = task.loss_and_output(model, fresh(batch))
    return loss if output is None else output


def fresh(batch: Batch) -> Batch:
    """A copy, for models that write into their inputs."""
    return make_batch(map_leaves(torch.clone, batch.raw))


def prior(task: Task, numbers: int) -> Tensor | None:
    """The bias that says what the training targets say, for an output of so many numbers."""
    data = task.prepare()
    targets = data.train.target_sample(seed=task.seed)
    return None if targets is None else inits.output_prior(data.kind, targets, numbers)


def apply(
    model: nn.Module, recipe: Recipe, forward: Callable[[nn.Module], Any], seed: int | None, prior: inits.Prior
) -> list[Any]:
    """Carry out ``norm`` and then ``init`` of a recipe on a model, in place; what was done. What it freezes stays."""
    names = groups.hold(model, recipe.freeze)

    def thaw() -> None:
        for parameter in names:
            parameter.requires_grad_(True)

    try:
        swap = norms.swap(model, recipe.norm, forward).then(thaw)
    except BaseException:
        thaw()
        raise
    try:
        done = inits.initialize(model, recipe.init, forward, seed=seed, prior=prior)
    except BaseException:
        swap.undo()
        raise
    setattr(model, MARK, (recipe.norm, recipe.init, done.groups, done.groups_by_size))
    return [swap.then(lambda: delattr(model, MARK)), done]


def rates(model: nn.Module, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The rates that go with a model's weights (``mup``), with what the recipe's groups say of them beside the rate."""
    mark = getattr(model, MARK, None)
    if mark is None:
        return {}
    own: dict[str, dict[str, Any]] = {}
    for name, _ in model.named_parameters():
        rate = mark[3 if recipe.optimizer in BY_SIZE else 2].get(name.replace("_orig_mod.", ""))
        said = next((o for pattern, o in recipe.groups.items() if fnmatch.fnmatchcase(name, pattern)), {})
        if rate is not None and not {"lr", "lr_scale"} & said.keys():
            own[name] = said | rate
    return own


def apply_to_inputs(
    model: nn.Module, recipe: Recipe, inputs: Any, targets: Tensor | None, seed: int | None
) -> list[Any]:
    """As `apply`, with a batch of inputs and perhaps targets; see `Recipe.initialize`."""
    kind = ""
    if targets is not None:
        kind = "regression" if targets.is_floating_point() else "classification"
        if targets.is_floating_point() and bool(((targets == 0) | (targets == 1)).all()):
            kind = "binary"
    found = (lambda n: inits.output_prior(kind, targets, n)) if targets is not None else (lambda n: None)
    return apply(model, recipe, lambda m: trial.call(m, map_leaves(torch.clone, inputs)), seed, found)


def check(model: nn.Module, recipe: Recipe) -> None:
    """See that a model is as a recipe wants it.

    Raises:
        BadOption: norm or init were not carried out on it.
    """
    if changes(recipe) and getattr(model, MARK, ())[:2] != (recipe.norm, recipe.init):
        asked = ", ".join(
            f"{n}={v}" for n, v in (("norm", recipe.norm), ("init", recipe.init)) if v not in ("keep", "torch")
        )
        raise BadOption(
            f"Recipe: {asked} was not carried out on this model", "call recipe.initialize(model, inputs) before build"
        )
