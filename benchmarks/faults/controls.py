"""Healthy settings that look odd: a finding here that is more than a note is a false alarm."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .injections.initialization import deep, gentle, he, weights
from .injections.loop import freeze, head, loop, own
from .injections.normalization import normed, train
from .injections.place import falling, here, linear_net
from .injections.rate import descent, heavy_ball, recipe
from .setting import Change, Control, Setting, both, each_weight, layers, unchanged
from .tasks import SYMBOLS, Residual


def standardized(setting: Setting, seed: int) -> Setting:
    """Every input of mean 0 and deviation 1 over the training rows; some reach far beyond 4."""
    (x, y), (u, v) = setting.task.train, setting.task.valid
    mean, std = x.mean(0), x.std(0)
    std = torch.where(std > 1e-3, std, torch.ones(()))
    x, u = ((part - mean) / std for part in (x, u))
    return setting.with_task(train=(x.clamp(-4, 4), y), valid=(u.clamp(-4, 4), v))


def sparse_units(model: nn.Module) -> None:
    """Biases by which units are zero on most rows, and few on all."""
    for layer in layers(model)[:-1]:
        layer.bias.sub_(0.45)  # type: ignore[union-attr]


def trained_model(setting: Setting, seed: int) -> Setting:
    """The factory gives a network that was trained already."""
    held = {name: value.detach().clone() for name, value in train(setting, seed).state_dict().items()}
    make = setting.task.model

    def factory() -> nn.Module:
        model = make()
        model.load_state_dict(held)
        return model

    return setting.with_task(model=factory)


def converged(setting: Setting, seed: int) -> Setting:
    """A trained network as it stands, at the last and lowest rate of its schedule."""
    given = trained_model(setting, seed)
    assert given.recipe.lr is not None
    return here(given.with_recipe(lr=given.recipe.lr / 30), seed)


def frozen_backbone(setting: Setting, seed: int) -> Setting:
    """A trained network of which only a new head is trained, by the recipe's own word."""
    given = trained_model(setting, seed)
    model = given.task.build(seed)
    last = {id(p) for p in head(model).parameters()}
    return given.with_task(model=partial(_redrawn, given.task.model)).with_recipe(
        freeze=tuple(name for name, p in model.named_parameters() if id(p) not in last)
    )


def _redrawn(make: object) -> nn.Module:
    model: nn.Module = make()  # type: ignore[operator]
    head(model).reset_parameters()
    return model


def frozen_in_loop(setting: Setting, seed: int) -> Setting:
    """The same in a loop of one's own."""
    given = trained_model(setting, seed)
    return given.with_task(model=partial(_redrawn, given.task.model)).with_loop(before=freeze)


class Still(nn.Module):
    """A trained network whose batch norms stay in evaluation mode on purpose."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> Still:
        """All but the batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Of the model's inputs."""
        return self.model(x)


def frozen_norm(setting: Setting, seed: int) -> Setting:
    """Fine tuning with the statistics of before."""
    assert setting.recipe.lr is not None
    given = trained_model(setting, seed).with_model(Still)
    return given.with_recipe(lr=setting.recipe.lr / 10)


def dropout(setting: Setting, seed: int) -> Setting:
    """Half of the last hidden layer is dropped: the loss in training is the larger one."""

    def change(model: nn.Module) -> nn.Module:
        parts = list(model.children())
        return nn.Sequential(*parts[:-1], nn.Dropout(0.5), parts[-1])

    return setting.with_model(change)


def tied(setting: Setting, seed: int) -> Setting:
    """The head shares its weights with the embedding of the symbols."""

    def change(model: nn.Module) -> None:
        with torch.no_grad():
            model.symbol.weight.mul_(0.3)  # type: ignore[union-attr]
        model.head.weight = model.symbol.weight  # type: ignore[union-attr]

    return setting.with_model(change)


def rare_rows(setting: Setting, seed: int) -> Setting:
    """An embedding of which most rows never get a gradient."""

    def change(model: nn.Module) -> None:
        model.symbol = nn.Embedding(50 * SYMBOLS, model.symbol.embedding_dim)  # type: ignore[union-attr]

    return setting.with_model(change)


def weighted(setting: Setting, seed: int) -> Setting:
    """Five of ten classes are four times as rare, and weigh four times as much in the loss."""
    x, y = setting.task.train
    keep = torch.ones(len(y), dtype=torch.bool)
    for label in range(5):
        rows = (y == label).nonzero()[:, 0]
        keep[rows[len(rows) // 4 :]] = False
    x, y = x[keep], y[keep]
    weight = len(y) / (10 * torch.bincount(y, minlength=10).float())
    steps = setting.task.prepare().steps
    return setting.with_task(train=(x, y), loss=partial(F.cross_entropy, weight=weight), epochs=None, steps=steps)


def zero_branches(model: nn.Module) -> None:
    """The last layer of each residual branch, and the head, are zero."""
    for module in model.modules():
        if isinstance(module, Residual):
            module.net[-1].weight.zero_()  # type: ignore[union-attr]
            module.net[-1].bias.zero_()  # type: ignore[union-attr]
    head(model).weight.zero_()


def zero_head(model: nn.Module) -> None:
    """The last layer is zero: all classes are as likely."""
    head(model).weight.zero_()
    head(model).bias.zero_()


def smoothed(setting: Setting, seed: int) -> Setting:
    """Label smoothing, by which the loss cannot come to zero."""
    return setting.with_task(loss=partial(F.cross_entropy, label_smoothing=0.1))


def log_softmax(setting: Setting, seed: int) -> Setting:
    """Log-probabilities and the loss that wants them."""
    given = setting.with_model(lambda model: nn.Sequential(*model.children(), nn.LogSoftmax(-1)))
    return given.with_task(loss=F.nll_loss)


def tanh(setting: Setting, seed: int) -> Setting:
    """Tanh in the place of ReLU."""
    return setting.with_model(lambda m: nn.Sequential(*(nn.Tanh() if isinstance(c, nn.ReLU) else c for c in m)))  # type: ignore[attr-defined]


def noisy_labels(setting: Setting, seed: int) -> Setting:
    """One label in ten is wrong, which is life."""
    x, y = setting.task.train
    random = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(y), generator=random) < 0.1
    y = torch.where(wrong, torch.randint(10, y.shape, generator=random), y)
    return setting.with_task(train=(x, y))


def accumulating(setting: Setting, seed: int) -> Setting:
    """Four small batches an update."""
    size, steps = setting.task.batch_size, setting.task.prepare().steps
    return setting.with_task(batch_size=size // 4, accumulate=4, epochs=None, steps=steps)


def whole(lr: float, steps: int) -> Change:
    """Plain descent on the whole set, at a rate whose limit the curvature rises to."""
    return lambda setting, seed: setting.with_task(epochs=None, steps=steps).with_recipe(
        optimizer="sgd", lr=lr, batch_size="full", schedule="constant"
    )


def binary(setting: Setting, seed: int) -> Setting:
    """Odd or even: a sigmoid on one output, and the loss for probabilities."""
    (x, y), (u, v) = setting.task.train, setting.task.valid
    given = setting.with_model(
        lambda m: nn.Sequential(*list(m.children())[:-1], nn.Linear(head(m).in_features, 1), nn.Sigmoid())
    )
    return given.with_task(
        train=(x, (y % 2).float()[:, None]), valid=(u, (v % 2).float()[:, None]), loss=F.binary_cross_entropy
    )


def sorted_and_shuffled(setting: Setting, seed: int) -> Setting:
    """Sorted on disk, shuffled in training."""
    x, y = setting.task.train
    rows = y.flatten().argsort(stable=True)
    return setting.with_task(train=(x[rows], y[rows]))


def once(setting: Setting, seed: int) -> Setting:
    """Shuffled once by hand, and read in that order."""
    x, y = setting.task.train
    rows = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return setting.with_task(train=(x[rows], y[rows]), shuffle=False)


def embed_small(model: nn.Module) -> None:
    """GPT's small initial weights."""
    each_weight(model, lambda p: p.normal_(0, 0.05), 2)


def batch(size: int) -> Change:
    """Another size of the batch, as many passes."""
    return lambda setting, seed: setting.with_task(batch_size=size)


def robust(setting: Setting, seed: int) -> Setting:
    """Huber's loss, by which outliers pull less."""
    return setting.with_task(loss=F.huber_loss)


def cosine(step: int, epoch: int) -> float:
    """Down to zero over eight epochs and then up again, set in each batch on purpose."""
    return 0.5 * (1 + math.cos(math.pi * step / (8 * epoch)))


NETS = ("digits", "cnn", "regression", "sequences", "residual")
WATCHED = (*NETS, "linear")
CONTROLS = [
    Control("as it is", (*NETS, "linear", "wide"), unchanged),
    Control("own loop", WATCHED, own),
    Control("standardized inputs", ("digits", "residual"), standardized),
    Control("SGD at .1", ("residual", "digits"), recipe(optimizer="sgd", lr=0.1)),
    Control("most activations zero", ("digits", "regression"), weights(sparse_units)),
    Control("frozen backbone", ("digits", "cnn"), frozen_backbone),
    Control("frozen backbone in a loop", ("digits", "residual"), frozen_in_loop),
    Control(
        "warm-up from 1e-7", ("digits", "sequences", "cnn"), loop(rate=lambda step, epoch: min(1.0, 1e-7 + step / 60))
    ),
    Control("label smoothing", ("digits", "cnn", "residual"), smoothed),
    Control("dropout", ("digits", "cnn", "residual"), dropout),
    Control("gradient accumulation in a loop", ("digits", "regression"), loop(accumulate=4)),
    Control("gradient accumulation", ("residual", "cnn"), accumulating),
    Control("descent at 1.95/λmax", ("linear", "wide"), descent(1.95)),
    Control("heavy ball at 3/λmax", ("linear", "wide"), heavy_ball(3.0)),
    Control("edge of stability", ("digits",), whole(0.5, 400)),
    Control("edge of stability", ("regression",), whole(0.2, 400)),
    Control("tied weights", ("sequences",), tied),
    Control("frozen batch norm", ("cnn", "digits"), lambda s, seed: frozen_norm(normed(s, seed), seed)),
    Control("a plateau that ends", ("linear", "wide"), both(linear_net(3, 0.1), recipe(lr=0.05))),
    Control("a converged model", NETS, converged),
    Control("rows without gradient", ("sequences",), rare_rows),
    Control("rare classes with weights", ("digits", "residual", "cnn"), weighted),
    Control("cyclic rates", ("digits", "cnn", "regression"), recipe(schedule="restarts")),
    Control("cyclic rates in a loop", ("digits", "residual"), loop(rate=lambda step, epoch: 1 - step % epoch / epoch)),
    Control("zero residual branches", ("residual",), weights(zero_branches)),
    Control("zero head", ("digits", "cnn", "sequences"), weights(zero_head)),
    Control("log-softmax and its loss", ("digits", "cnn"), log_softmax),
    Control("tanh", ("digits", "regression"), tanh),
    Control("one label in ten wrong", ("digits", "cnn"), noisy_labels),
    Control("a sigmoid for probabilities", ("digits",), binary),
    Control("sorted and shuffled", ("digits", "regression"), sorted_and_shuffled),
    Control("shuffled once", ("cnn", "digits"), once),
    Control("small initial weights", ("sequences",), weights(embed_small)),
    Control("averaged weights", ("cnn", "digits"), recipe(average=0.95)),
    Control("clipping at 1", ("digits", "sequences"), recipe(clip_norm=1.0)),
    Control("decay .01", ("regression", "sequences"), recipe(weight_decay=0.01)),
    Control("Adam", ("digits", "residual"), recipe(optimizer="adam", lr=3e-3)),
    Control("20 layers of He", ("digits",), both(deep(20), gentle(1e-3), he)),
    Control("SGD with a falling rate", ("linear", "wide"), falling),
    Control("batches of 16", ("cnn", "digits"), batch(16)),
    Control("batches of 256", ("regression", "residual"), batch(256)),
    Control("a robust loss", ("regression", "linear"), robust),
    Control("cosine per batch in a loop", ("digits", "sequences"), loop(rate=cosine)),
    Control("batch norm in a perceptron", ("digits", "regression"), normed),
]
