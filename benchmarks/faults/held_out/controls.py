"""The healthy settings of the third set that look odd."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ..controls import Still, cosine, log_softmax, sparse_units, standardized, zero_head
from ..injections.initialization import he, weights
from ..injections.loop import freeze, head, loop, own
from ..injections.normalization import train
from ..injections.place import linear_net
from ..injections.rate import descent, heavy_ball, recipe
from ..setting import Control, Setting, both, each_weight, unchanged
from .inside import layers
from .making import but, from_trained, noise_floor, normed, perceptron

NETS = ("spirals", "fashion", "housing", "waves", "memory", "chains", "twins")


def converged(setting: Setting, seed: int) -> Setting:
    """A trained network as it stands, at a low rate."""
    assert setting.recipe.lr is not None
    return from_trained(setting, seed).with_recipe(lr=setting.recipe.lr / 25)


def new_head(setting: Setting, seed: int) -> Setting:
    """A trained network of which only a new head is trained, by the recipe's own word."""
    held = {name: value.detach().clone() for name, value in train(setting, seed).state_dict().items()}
    make = setting.task.model

    def factory() -> nn.Module:
        model = make()
        model.load_state_dict(held)
        head(model).reset_parameters()
        return model

    given = setting.with_task(model=factory)
    model = given.task.build(seed)
    last = {id(p) for p in head(model).parameters()}
    return given.with_recipe(freeze=tuple(name for name, p in model.named_parameters() if id(p) not in last))


def new_head_in_loop(setting: Setting, seed: int) -> Setting:
    """The same in a loop of one's own."""
    given = new_head(setting, seed)
    return replace(given, recipe=given.recipe.but(freeze=())).with_loop(before=freeze)


def still(setting: Setting, seed: int) -> Setting:
    """Fine tuning with the statistics of before."""
    assert setting.recipe.lr is not None
    given = replace(from_trained(normed(setting, seed), seed), model=None).with_model(Still)
    return given.with_recipe(lr=setting.recipe.lr / 10)


def wrong_labels(setting: Setting, seed: int) -> Setting:
    """A seventh of the labels is wrong."""
    x, y = setting.task.train
    random = torch.Generator().manual_seed(seed)
    wrong = torch.rand(y.shape, generator=random) < 1 / 7
    return setting.with_task(
        train=(x, torch.where(wrong, torch.randint(int(y.max()) + 1, y.shape, generator=random), y))
    )


def rare(setting: Setting, seed: int) -> Setting:
    """Two classes are six times as rare, and weigh as much more in the loss."""
    x, y = setting.task.train
    keep = torch.ones(len(y), dtype=torch.bool)
    for label in range(2):
        rows = (y == label).nonzero()[:, 0]
        keep[rows[len(rows) // 6 :]] = False
    x, y, classes = x[keep], y[keep], int(y.max()) + 1
    weight = len(y) / (classes * torch.bincount(y, minlength=classes).float())
    steps = setting.task.prepare().steps
    return setting.with_task(train=(x, y), loss=partial(F.cross_entropy, weight=weight), epochs=None, steps=steps)


def tied(model: nn.Module) -> None:
    """The head shares its weights with the embedding."""
    with torch.no_grad():
        model.symbol.weight.mul_(0.2)  # type: ignore[union-attr]
    model.head.weight = model.symbol.weight  # type: ignore[union-attr]


def small(model: nn.Module) -> None:
    """GPT's small initial weights."""
    each_weight(model, lambda p: p.normal_(0, 0.03), 2)


def dropout(setting: Setting, seed: int) -> Setting:
    """Two fifths of what the head gets is dropped."""
    return setting.with_model(
        lambda m: nn.Sequential(*list(m.children())[:-1], nn.Dropout(0.4), list(m.children())[-1])
    )


def presorted(setting: Setting, seed: int) -> Setting:
    """Sorted on disk, shuffled in training."""
    x, y = setting.task.train
    rows = y.flatten().argsort(stable=True)
    return setting.with_task(train=(x[rows], y[rows]))


def accumulating(setting: Setting, seed: int) -> Setting:
    """Two small batches an update."""
    size, steps = setting.task.batch_size, setting.task.prepare().steps
    return setting.with_task(batch_size=size // 2, accumulate=2, epochs=None, steps=steps)


CONTROLS = [
    Control("as it is", (*NETS, "plane"), unchanged),
    Control("own loop", (*NETS, "plane"), own),
    Control("standardized inputs", ("spirals", "twins"), standardized),
    Control("SGD at .1", ("twins", "fashion"), recipe(optimizer="sgd", lr=0.1)),
    Control("most activations zero", ("twins",), both(perceptron(96, 48), weights(sparse_units))),
    Control("frozen backbone", ("waves", "fashion"), new_head),
    Control("frozen backbone in a loop", ("spirals",), new_head_in_loop),
    Control("warm-up from 1e-7", ("chains", "twins"), loop(rate=lambda step, epoch: min(1.0, 1e-7 + step / 80))),
    Control("label smoothing", ("waves", "spirals"), but(loss=partial(F.cross_entropy, label_smoothing=0.15))),
    Control("dropout", ("fashion", "spirals", "waves"), dropout),
    Control("gradient accumulation in a loop", ("waves", "housing"), loop(accumulate=3)),
    Control("gradient accumulation", ("twins", "chains"), accumulating),
    Control("descent at 1.9/λmax", ("plane",), descent(1.9)),
    Control("heavy ball at 3.6/λmax", ("plane",), heavy_ball(3.6)),
    Control("tied weights", ("chains",), weights(tied)),
    Control("frozen batch norm", ("fashion", "spirals"), still),
    Control("a plateau that ends", ("plane",), both(linear_net(3, 0.15), recipe(lr=0.05))),
    Control("a converged model", NETS, converged),
    Control("rare classes with weights", ("spirals", "fashion", "waves"), rare),
    Control("cyclic rates", ("spirals", "housing", "memory"), recipe(schedule="restarts")),
    Control("cyclic rates in a loop", ("twins",), loop(rate=lambda step, epoch: 1 - step % epoch / epoch)),
    Control("zero head", ("fashion", "chains", "spirals"), weights(zero_head)),
    Control("a seventh of the labels wrong", ("waves", "fashion", "spirals"), wrong_labels),
    Control("sorted and shuffled", ("housing", "waves"), presorted),
    Control("small initial weights", ("chains",), weights(small)),
    Control("averaged weights", ("fashion", "memory"), recipe(average=0.97)),
    Control("clipping at 1", ("memory", "chains"), recipe(clip_norm=1.0)),
    Control("decay .03", ("spirals", "housing"), recipe(optimizer="adamw", weight_decay=0.03)),
    Control("24 layers of He", ("spirals",), both(layers(24), he)),
    Control("SGD with a falling rate", ("plane",), both(noise_floor(0.05), recipe(schedule="linear", warmup=0))),
    Control("batches of 10", ("waves", "spirals"), but(batch_size=10)),
    Control("batches of 400", ("twins", "housing"), but(batch_size=400)),
    Control("a robust loss", ("housing", "plane"), but(loss=F.huber_loss)),
    Control("cosine per batch in a loop", ("spirals", "waves"), loop(rate=cosine)),
    Control("log-softmax and its loss", ("spirals", "waves"), log_softmax),
    Control("batch norm in a perceptron", ("spirals", "housing", "twins"), normed),
]
