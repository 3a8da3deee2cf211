"""What a user takes home: the recipe, the weights, and the lines to paste."""

from __future__ import annotations

import textwrap
from typing import Any

from .. import rules
from ..recipe import Recipe

TORCH_NAMES = {"sgd": "SGD", "momentum": "SGD", "nesterov": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}


def optimizer_call(recipe: Recipe) -> str:
    """The recipe's optimizer as a call of torch's own class on ``groups``.

    Example:
        >>> optimizer_call(Recipe("nesterov", lr=0.1))
        'torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.0)'
    """
    rule = rules.get(recipe.optimizer)
    given = {o.name: o.default for o in rule.options if o.name not in ("lr", "weight_decay")} | recipe.options
    named = {"momentum", "nesterov"} if TORCH_NAMES[recipe.optimizer] == "SGD" else set()
    shown = {k: v for k, v in given.items() if k in recipe.options or (k in named and v)}
    arguments = {"lr": recipe.lr} | shown | {"weight_decay": recipe.weight_decay}
    return f"torch.optim.{TORCH_NAMES[recipe.optimizer]}(groups, {', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


def multiplier_code(recipe: Recipe, steps: int) -> str:
    """The schedule as one lambda of the update number k."""
    warmup = recipe.warmup_steps(steps)
    after = {
        "constant": "1.0",
        "linear": f"max(0.0, ({steps} - k) / {max(1, steps - warmup)})",
        "cosine": f"0.5 * (1 + math.cos(math.pi * min(1.0, (k - {warmup}) / {max(1, steps - warmup)})))",
        "1/t": f"1 / (k - {warmup} + 1)",
        "1/sqrt(t)": f"(k - {warmup} + 1) ** -0.5",
    }[recipe.schedule]
    return f"lambda k: (k + 1) / {warmup} if k < {warmup} else {after}" if warmup else f"lambda k: {after}"


def _common(recipe: Recipe, steps: int) -> dict[str, str]:
    clip = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {recipe.clip_norm})" if recipe.clip_norm else ""
    plain = not (recipe.groups or recipe.freeze or recipe.layer_decay)
    groups = "model.parameters()" if plain else 'thalweg.Recipe.load("recipe.toml").parameter_groups(model)'
    return {"optimizer": optimizer_call(recipe).replace("groups", groups, 1), "schedule": multiplier_code(recipe, steps), "clip": clip}


def plain_torch(recipe: Recipe, steps: int, task: str | None, seed: int, batch_size: Any, accumulate: int = 1) -> str:
    """A script in plain PyTorch that repeats a run: same weights, order, losses.

    Args:
        recipe: the run's.
        steps: its length.
        task: what `thalweg.Task.load` takes, or None: the script expects a ``task`` in its namespace.
        seed: the run's.
        batch_size: rows a step.
        accumulate: batches an update.
    """
    part = _common(recipe, steps)
    load = f"task = thalweg.Task.load({task!r})" if task else "# `task` is the thalweg.Task that was compared"
    lines = [
        '"""Repeats the first final of a study in plain PyTorch; put your own model, batches and loss in the places of `task`."""',
        "",
        "import math",
        "",
        "import torch",
        "",
        "import thalweg",
        "",
        load,
        f"model = task.build(seed={seed}).train()",
        f"optimizer = {part['optimizer']}",
        f"schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, {part['schedule']})",
        "losses = []",
        f'with thalweg.seeds.stream({seed}, "dropout"):',
        f"    for batches in thalweg.loop.updates(task.prepare().train, {batch_size!r}, {accumulate}, seed={seed}):",
        "        loss = sum(share * task.loss_of(model, batch) for batch, share in batches)",
        "        loss.backward()",
        *([f"        {part['clip']}"] if part["clip"] else []),
        "        optimizer.step()",
        "        schedule.step()",
        "        optimizer.zero_grad()",
        "        losses.append(loss.item())",
        f"        if len(losses) == {steps}:",
        "            break",
    ]
    return "\n".join(lines) + "\n"


def lightning(recipe: Recipe, steps: int) -> str:
    """The method to paste into a LightningModule (and what to give its Trainer)."""
    part = _common(recipe, steps)
    clip = f"\n# Trainer(gradient_clip_val={recipe.clip_norm}, ...)" if recipe.clip_norm else ""
    return textwrap.dedent(f"""\
        import math

        import torch


        def configure_optimizers(self):  # a method of your LightningModule; Trainer(max_steps={steps})
            optimizer = {part["optimizer"].replace("model", "self")}
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, {part["schedule"]})
            return {{"optimizer": optimizer, "lr_scheduler": {{"scheduler": schedule, "interval": "step"}}}}
        """) + clip


def trainer(recipe: Recipe, steps: int) -> str:
    """The lines to paste before a Hugging Face ``Trainer``."""
    part = _common(recipe, steps)
    return textwrap.dedent(f"""\
        import math

        import torch


        def optimizers(model):  # Trainer(..., optimizers=optimizers(model), args=TrainingArguments(max_steps={steps}, max_grad_norm={recipe.clip_norm or 0.0}, ...))
            optimizer = {part["optimizer"]}
            return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, {part["schedule"]})
        """)
