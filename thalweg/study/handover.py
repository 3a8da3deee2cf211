"""What a user takes home: the lines to paste into a plain loop, Lightning and the Hugging Face Trainer."""

from __future__ import annotations

import math
import pprint
import textwrap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from .. import inits, rules
from ..building import changes
from ..recipe import Recipe

TORCH = {"sgd": "SGD", "momentum": "SGD", "nesterov": "SGD", "nadamw": "NAdam"}  # where torch has another name
AVERAGED = """
with optimizer.averaged():  # the weights to evaluate with; batch norms need their statistics computed anew
    averaged = {name: value.clone() for name, value in model.state_dict().items()}
model.load_state_dict(averaged)
"""
WIDTH = 100  # of a generated call; with its indent it stays within 120 columns


def optimizer_call(recipe: Recipe, parameters: str = "model.parameters()") -> str:
    """The recipe's optimizer as a call of torch's own class where there is one, with what differs from its defaults.

    Example:
        >>> optimizer_call(Recipe("nesterov", lr=0.1))
        'torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.0, momentum=0.9, nesterov=True)'
    """
    rule = rules.get(recipe.optimizer)
    name = TORCH.get(rule.name, rule.title)
    theirs = hasattr(torch.optim, name) and recipe.average is None
    presets = ("momentum", "nesterov", "decoupled_weight_decay") if theirs else ()
    own = {preset: rule.defaults[preset] for preset in presets if rule.defaults.get(preset)}
    if theirs and rule.name == "nadamw":
        own["decoupled_weight_decay"] = True
    decay = {"weight_decay": recipe.weight_decay} if "weight_decay" in rule.defaults else {}
    average = {} if recipe.average is None else {"ema": recipe.average}
    arguments = {"lr": recipe.lr} | decay | own | recipe.options | average
    return _call(f"torch.optim.{name}" if theirs else f"thalweg.optim.{rule.title}", parameters, **arguments)


def factor_code(recipe: Recipe, steps: int) -> str:
    """The schedule as a function of the update number; without ``steps`` (0) what depends on them stays at 1.

    Example:
        >>> print(factor_code(Recipe(lr=0.1, warmup=4), 20))
        def factor(k):  # the rate's multiplier in update k = 0, 1, ...
            if k < 4:
                return (k + 1) / 4
            return max(0, 20 - k) / 16
    """
    warmup = recipe.warmup_steps(steps or None)
    since, left = f"(k - {warmup})" if warmup else "k", max(1, steps - warmup)
    before = f"    if k < {warmup}:\n        return (k + 1) / {warmup}\n" if warmup else ""
    after = {"1/t": f"1 / ({since} + 1)", "1/sqrt(t)": f"1 / math.sqrt({since} + 1)"}
    if steps:
        # The three restarts last 1, 2 and 4 periods; the peak of 1cycle lies before the update numbered `top`.
        period, stable = max(1.0, left / 7), left - 0.2 * left
        top = 0.0 if warmup else max(0.3 * left - 1, 0.0)
        down = max(left - 1 - top, 1)
        after |= {
            "linear": f"max(0, {steps} - k) / {left}",
            "cosine": f"0.5 * (1 + math.cos(math.pi * min(1, {since} / {left})))",
            "restarts": f"0.5 * (1 + math.cos(math.pi * (2 * math.frexp(1 + {since} / {period})[0] - 1)))",
            "1cycle": f"4e-6 + (1 - 4e-6) * 0.5 * (1 + math.cos(math.pi * min({down}, {since} - {top}) / {down}))",
            "step": f"0.1 ** ({since} // {math.ceil(left / 3)})",
            "exponential": f"0.01 ** ({since} / {left})",
            "wsd": f"1 - math.sqrt(min(1, max(0, {since} - {stable}) / {0.2 * left}))",
        }
        if recipe.schedule == "1cycle" and top:
            before = f"    if k < {top}:\n        return 1 - 0.96 * 0.5 * (1 + math.cos(math.pi * k / {top}))\n"
    code = after.get(recipe.schedule, "1.0")
    return f"def factor(k):  # the rate's multiplier in update k = 0, 1, ...\n{before}    return {code}"


def plain_torch(
    recipe: Recipe,
    steps: int,
    task: str | None,
    seed: int,
    batch_size: Any,
    accumulate: int = 1,
    arguments: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """A script in plain PyTorch that repeats a run: same weights, order, losses.

    Args:
        recipe: the run's.
        steps: its length in updates.
        task: what `thalweg.Task.load` takes, or None: the script expects a ``task`` in its namespace.
        seed: the run's.
        batch_size: rows a batch, or ``"full"``.
        accumulate: batches an update.
        arguments: of the task's model factory.
    """
    load = f"task = thalweg.Task.load({_literal(task)})" if task else "# `task` is the thalweg.Task that was compared"
    batches = f"thalweg.loop.updates(task.prepare().train, {_literal(batch_size)}, {accumulate}, seed={seed})"
    clip = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {recipe.clip_norm})\n        " * bool(recipe.clip_norm)
    return f'''\
"""Repeats the first final of a study in plain PyTorch; put your own model, batches and loss in the places of `task`."""

{_head(factor_code(recipe, steps), "thalweg.")}


{load}
model = {_model(recipe, seed, arguments)}.train()
{_optimizer(recipe)}
losses = []
with thalweg.seeds.stream({seed}, "dropout"):
    for batches in {batches}:
        losses.append(0.0)
        for batch, share in batches:
            loss = share * task.loss_of(model, batch)
            loss.backward()
            losses[-1] += loss.item()
        {clip}optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if len(losses) == {steps}:
            break
{AVERAGED if _averages(recipe) else ""}'''


def _model(recipe: Recipe, seed: int, arguments: Mapping[str, Any]) -> str:
    """The call that makes the model."""
    if not changes(recipe):
        return _call("task.build", seed=seed, **arguments)
    return _call("thalweg.building.build", "task", _shape(recipe), seed=seed, **arguments)


def _shape(recipe: Recipe) -> str:
    """The recipe of normalization and initial weights alone, and of what keeps those that it has."""
    chosen = {n: getattr(recipe, n) for n in ("norm", "init") if getattr(recipe, n) not in ("keep", "torch")}
    return _call("thalweg.Recipe", **chosen, **({"freeze": recipe.freeze} if recipe.freeze else {}))


def _averages(recipe: Recipe) -> bool:
    """Whether the weights to evaluate with are not those that the optimizer moves."""
    return recipe.average is not None or rules.get(recipe.optimizer).averaged is not None


def lightning(recipe: Recipe, steps: int, accumulate: int = 1) -> str:
    """The method to paste into a LightningModule, and what its Trainer must be given; arguments as `plain_torch`."""
    code = textwrap.indent(_optimizer(recipe), "    ")
    settings = {"max_steps": steps or -1, "gradient_clip_val": recipe.clip_norm, "accumulate_grad_batches": accumulate}
    return f'''\
{_head(factor_code(recipe, steps), code)}


def configure_optimizers(self):
    """A method of your LightningModule; give its trainer

    {_call("Trainer", **settings)}
    """
    model = self  # the network that was compared: self.model where your module holds it under that name
{code}
    return {{"optimizer": optimizer, "lr_scheduler": {{"scheduler": schedule, "interval": "step"}}}}
'''


def trainer(recipe: Recipe, steps: int, accumulate: int = 1) -> str:
    """The function to paste before a Hugging Face ``Trainer``, and its arguments; arguments as `plain_torch`."""
    code, norm = textwrap.indent(_optimizer(recipe), "    "), recipe.clip_norm or 0.0
    return f'''\
{_head(factor_code(recipe, steps), code)}


def optimizers(model):
    """For Trainer(model, args, optimizers=optimizers(model), ...), where args are

    {_call("TrainingArguments", max_steps=steps or -1, max_grad_norm=norm, gradient_accumulation_steps=accumulate)}
    """
{code}
    return optimizer, schedule
'''


def _optimizer(recipe: Recipe) -> str:
    """The lines that make ``optimizer`` and ``schedule`` for ``model``."""
    chosen = {name: getattr(recipe, name) for name in ("groups", "freeze", "layer_decay") if getattr(recipe, name)}
    call = _call("thalweg.Recipe", optimizer=recipe.optimizer, lr=recipe.lr, **chosen)
    grouped = bool(chosen) or inits.read(recipe.init)[0][0] == "mup"
    groups = f"groups = {call}.parameter_groups(model)\n" if grouped else ""
    made = optimizer_call(recipe, "groups" if grouped else "model.parameters()")
    given = "inputs, targets" if "output_bias" in recipe.init else "inputs"
    shape = f"# before: {_shape(recipe)}.initialize(model, {given})\n" if changes(recipe) else ""
    note = "# evaluate inside `with optimizer.averaged():`\n" if _averages(recipe) else ""
    return f"{shape}{groups}{note}optimizer = {made}\nschedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)"


def _head(factor: str, code: str) -> str:
    names = [name for name in ("math", "torch", "thalweg") if name == "torch" or name + "." in factor + code]
    return "\n\n".join([*(f"import {name}" for name in names), "\n" + factor])


def _call(name: str, *first: str, **arguments: Any) -> str:
    given = [*first, *(f"{k}={_literal(v)}" for k, v in arguments.items())]
    line = ", ".join(given)
    inside = line if len(name + line) < WIDTH else "\n" + textwrap.indent(",\n".join([*given, ""]), "    ")
    return f"{name}({inside})"


def _literal(value: Any) -> str:
    text = pprint.pformat(value, width=WIDTH, sort_dicts=False)
    return text if '"' in text or "\\" in text else text.replace("'", '"')
