"""Faults of the loop: in a plain loop that is watched, or in a task's loss and a recipe."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..setting import Change, Fault, Setting, both, codes, layers
from .normalization import normed


def own(setting: Setting, seed: int) -> Setting:
    """A right loop of one's own."""
    return setting.with_loop()


def loop(**changes: object) -> Change:
    """A loop with some lines changed."""
    return lambda setting, seed: setting.with_loop(**changes)


def head(model: nn.Module) -> nn.Linear:
    """The last linear layer."""
    found = layers(model)[-1]
    assert isinstance(found, nn.Linear)
    return found


def new_head(model: nn.Module) -> None:
    """Another last layer in the place of the first one."""
    old = head(model)
    new = nn.Linear(old.in_features, old.out_features)
    for name, module in model.named_modules():
        if module is old:
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], new)


def freeze(model: nn.Module) -> None:
    """All but the head are frozen."""
    for p in model.parameters():
        p.requires_grad_(False)
    for p in head(model).parameters():
        p.requires_grad_(True)


def back(model: nn.Module, start: dict[str, Tensor]) -> None:
    """The weights at the start again, as after loading a checkpoint in the wrong place."""
    model.load_state_dict(start)


def body_back(model: nn.Module, start: dict[str, Tensor]) -> None:
    """All layers but the last as they were."""
    last = {id(p) for p in head(model).parameters()}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if id(p) not in last:
                p.copy_(start[name])


def loss(change: Callable[[Tensor, Tensor], Tensor]) -> Change:
    """The task's loss replaced by a function of (mean loss, output)."""

    def inject(setting: Setting, seed: int) -> Setting:
        base = setting.task.loss
        return setting.with_task(loss=lambda output, target: change(base(output, target), output))

    return inject


def decay(setting: Setting, seed: int) -> Setting:
    """Weight decay 1; 30 where it is decoupled, and so multiplied by a small rate."""
    name = {"adam": "adamw"}.get(setting.recipe.optimizer, setting.recipe.optimizer)
    return setting.with_recipe(optimizer=name, weight_decay=1.0 if name != "adamw" else 30.0)


def clipped(setting: Setting, seed: int) -> Setting:
    """Gradients clipped at 1e-4."""
    return setting.with_recipe(clip_norm=1e-4)


ACCUMULATE, CLEARED = codes("gradients-accumulate"), codes("gradients-cleared")
OUTSIDE, COLLAPSED = codes("parameters-not-in-optimizer"), codes("schedule-collapsed")
SUMMED = codes("loss-is-summed", "lr-too-high", "lr-unstable")


def summed(loss: Tensor, output: Tensor) -> Tensor:
    """The sum over the batch instead of the mean."""
    return loss * output[..., 0].numel()


def lower(setting: Setting, seed: int) -> Setting:
    """The rate divided by the rows of a batch."""
    task, recipe = setting.task, setting.recipe
    assert recipe.lr is not None
    rows = len(task.train[0]) if recipe.batch_size == "full" else task.batch_size
    return setting.with_recipe(lr=recipe.lr / rows)


SUM = loss(summed)
FAULTS = [
    Fault("no zero_grad", "loop", ACCUMULATE, ("digits", "cnn", "regression"), loop(zero="never"), own),
    Fault(
        "zero_grad after backward", "loop", CLEARED, ("digits", "cnn", "sequences"), loop(zero="after backward"), own
    ),
    Fault(
        "head replaced after the optimizer",
        "loop",
        OUTSIDE,
        ("digits", "cnn", "residual"),
        loop(before=freeze, then=new_head),
        loop(before=freeze),
    ),
    Fault(
        "only the head in the optimizer",
        "loop",
        OUTSIDE,
        ("regression", "sequences", "digits"),
        loop(parameters=lambda m: list(head(m).parameters())),
        own,
    ),
    Fault(
        "scheduler stepped per batch",
        "learning rate",
        COLLAPSED,
        ("digits", "regression"),
        loop(rate=lambda step, epoch: 0.7**step),
        loop(rate=lambda step, epoch: 0.7 ** (step // epoch)),
    ),
    Fault("weights loaded after each step", "loop", codes("update-undone"), ("digits", "cnn"), loop(after=back), own),
    Fault(
        "all but the head put back",
        "loop",
        codes("update-undone"),
        ("regression", "sequences"),
        loop(after=body_back),
        own,
    ),
    Fault(
        "eval() left on",
        "loop",
        codes("training-in-eval-mode"),
        ("cnn",),
        both(normed, loop(mode="eval")),
        both(normed, own),
    ),
    Fault("clip at 1e-4 in the loop", "loop", codes("clipped-always"), ("digits", "residual"), loop(clip=1e-4), own),
    Fault(
        "loss negated in the loop",
        "loop",
        codes("loss-ascends"),
        ("digits", "regression"),
        loop(loss=lambda loss, output, target: -loss(output, target)),
        own,
    ),
    Fault(
        "loss negated",
        "loop",
        codes("loss-ascends"),
        ("residual", "cnn", "sequences"),
        loss(lambda value, output: -value),
    ),
    Fault(
        "sum instead of mean",
        "loop",
        SUMMED,
        ("digits", "residual", "linear"),
        loss(summed),
        remedy=both(loss(summed), lower),
    ),
    Fault("decay dominates", "loop", codes("weight-decay-dominates"), ("digits", "residual", "regression"), decay),
    Fault("clip at 1e-4", "loop", codes("clipped-always"), ("digits", "residual"), clipped),
]
