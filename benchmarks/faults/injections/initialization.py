"""Faults of the initial weights, and of depth without what it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..setting import Change, Fault, Setting, both, codes, each_weight, layers
from ..tasks import residual_net

SIZES = {"digits": (64, 10), "regression": (8, 1), "residual": (64, 10)}


def weights(change: Callable[[nn.Module], object]) -> Change:
    """The new model's weights changed in place."""

    def quietly(model: nn.Module) -> None:
        with torch.no_grad():
            change(model)

    return lambda setting, seed: setting.with_model(quietly)


def stack(sizes: list[int], activation: Callable[[], nn.Module]) -> nn.Module:
    """Linear layers with an activation between them."""
    inner = [[nn.Linear(a, b), activation()] for a, b in pairwise(sizes)]
    return nn.Sequential(*[module for pair in inner for module in pair][:-1])


def deep(depth: int, activation: Callable[[], nn.Module] = nn.ReLU, width: int = 32) -> Change:
    """Another number of layers."""

    def inject(setting: Setting, seed: int) -> Setting:
        inputs, outputs = SIZES[setting.task.name]
        return setting.with_task(model=lambda: stack([inputs, *[width] * (depth - 1), outputs], activation))

    return inject


def gentle(lr: float) -> Change:
    """At a rate that deep nets bear."""
    return lambda setting, seed: setting.with_recipe(optimizer="adam", lr=lr)


def he(setting: Setting, seed: int) -> Setting:
    """He's initialization."""
    return setting.with_recipe(init="he_normal")


def normal_weights(std: float, scaled: bool = False) -> Callable[[nn.Module], None]:
    """Weights N(0, std²), the biases zero; scaled: std is in units of He's √(2/fan-in)."""

    def change(model: nn.Module) -> None:
        for layer in layers(model):
            fan = layer.weight[0].numel()
            layer.weight.normal_(0, std * math.sqrt(2 / fan) if scaled else std)
            if layer.bias is not None:
                layer.bias.zero_()

    return change


def clones(model: nn.Module) -> None:
    """Every unit of a hidden layer is the same."""
    inner = layers(model)[:-1]
    for layer in inner:
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight).clone())
        layer.bias.fill_(0.01)  # type: ignore[union-attr]
    last = layers(model)[-1]
    last.weight.copy_(last.weight[:, :1].expand_as(last.weight).clone())


def biases(value: float) -> Callable[[nn.Module], None]:
    """The hidden layers' biases."""

    def change(model: nn.Module) -> None:
        for layer in layers(model)[:-1]:
            layer.bias.fill_(value)  # type: ignore[union-attr]

    return change


def dead(model: nn.Module) -> None:
    """Nine in ten units of every hidden layer were thrown where no row excites them."""
    for layer in layers(model)[:-1]:
        rows = len(layer.weight) * 19 // 20
        layer.weight[:rows].abs_().neg_()
        layer.bias[:rows] = -20.0  # type: ignore[index]


def last_layer(std: float) -> Callable[[nn.Module], None]:
    """The last layer's weights N(0, std²)."""

    def change(model: nn.Module) -> Tensor:
        return layers(model)[-1].weight.normal_(0, std)

    return change


def blocks(norm: bool) -> Change:
    """Fifty residual blocks of He's initialization."""

    def factory(setting: Setting) -> nn.Module:
        inputs, outputs = SIZES[setting.task.name]
        model = residual_net(50, norm, inputs, outputs)
        with torch.no_grad():
            normal_weights(1.0, scaled=True)(model)
        return model

    return lambda setting, seed: setting.with_task(model=lambda: factory(setting), epochs=None, steps=120).with_recipe(
        optimizer="adam", lr=1e-3
    )


def constant(value: float) -> Change:
    """Every parameter the same number."""
    return weights(lambda model: each_weight(model, lambda p: p.fill_(value)))


TANH = deep(3, nn.Tanh)
SIGMOID = both(deep(3, nn.Sigmoid), gentle(1e-2))
TWENTY = both(deep(20), gentle(1e-3))
SYMMETRIC = codes("symmetric-units", "saddle-point")
STILL = SYMMETRIC | {"vanishing-gradient"}
SATURATED = codes("saturated-units")
VANISHING = codes("vanishing-signal", "vanishing-gradient")
EXPLODING = codes("exploding-signal", "exploding-gradient", "initial-loss")
LAST = codes("initial-loss", "exploding-signal")
DEAD = codes("dead-units")
TWO = ("digits", "regression")
ZERO, LARGE_HEAD = constant(0.0), weights(last_layer(10.0))
FAULTS = [
    Fault(
        "all weights zero",
        "initialization",
        STILL,
        TWO,
        ZERO,
        remedy=both(ZERO, he),
    ),
    Fault("all weights .1", "initialization", SYMMETRIC, ("digits", "cnn"), constant(0.1)),
    Fault("cloned units", "initialization", SYMMETRIC, TWO, weights(clones)),
    Fault("tanh with N(0, 1)", "initialization", SATURATED, TWO, both(TANH, weights(normal_weights(1.0))), TANH),
    Fault(
        "sigmoid with N(0, 5²)", "initialization", SATURATED, TWO, both(SIGMOID, weights(normal_weights(5.0))), SIGMOID
    ),
    Fault("20 ReLU layers at the default", "initialization", VANISHING, ("digits",), TWENTY, both(TWENTY, he)),
    Fault(
        "10 sigmoid layers",
        "initialization",
        VANISHING | {"saturated-units"},
        ("digits",),
        both(deep(10, nn.Sigmoid), gentle(3e-3)),
        both(deep(10, nn.Tanh), gentle(3e-3)),
    ),
    Fault(
        "10 layers at a third",
        "initialization",
        VANISHING,
        ("digits",),
        both(deep(10), gentle(1e-3), weights(normal_weights(0.33, True))),
        both(deep(10), gentle(1e-3), he),
    ),
    Fault(
        "He × 3, 8 layers",
        "initialization",
        EXPLODING,
        TWO,
        both(deep(8), gentle(1e-3), weights(normal_weights(3.0, True))),
        both(deep(8), gentle(1e-3), he),
    ),
    Fault(
        "He × 3, 20 layers",
        "initialization",
        EXPLODING,
        TWO,
        both(TWENTY, weights(normal_weights(3.0, True))),
        both(TWENTY, he),
    ),
    Fault("50 blocks without norm", "initialization", EXPLODING, TWO, blocks(False), blocks(True)),
    Fault(
        "last layer std 10",
        "initialization",
        LAST,
        ("digits", "residual", "cnn", "sequences"),
        LARGE_HEAD,
        remedy=both(LARGE_HEAD, he),
    ),
    Fault("biases −10", "initialization", DEAD, TWO, weights(biases(-10.0))),
    Fault("dead ReLUs", "initialization", DEAD, TWO, weights(dead)),
]
