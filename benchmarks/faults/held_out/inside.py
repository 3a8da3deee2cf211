"""The faults of the third set that lie inside of the network: architecture, initial weights, normalization, and the place."""

from __future__ import annotations

import torch
from torch import nn

from ..injections.architecture import Cut, MixRows, inserted, over_the_batch, scores, then, without
from ..injections.architecture import frozen_blocks as detached
from ..injections.initialization import (
    DEAD,
    EXPLODING,
    LAST,
    SATURATED,
    STILL,
    SYMMETRIC,
    VANISHING,
    biases,
    clones,
    constant,
    dead,
    he,
    last_layer,
    normal_weights,
    weights,
)
from ..injections.place import FLAT, SADDLE, linear_net, valley
from ..setting import Change, Fault, both, codes
from .making import (
    always,
    averaged,
    following,
    noise_floor,
    normed,
    pairs,
    perceptron,
    recalibrated,
    residual,
    thrown,
    unthrown,
)

RANGE, SOFTMAX, MIXING = codes("output-range"), codes("double-softmax"), codes("batch-mixing")
DETACHED = codes("graph-detached", "parameters-without-gradient")
STALE = codes("batchnorm-stale", "batchnorm-gap")
SMALL = codes("batchnorm-small-batch", "batchnorm-gap")
PLACE = "where am I"
RELU = perceptron(64, 32)
TANH, SIGMOID = perceptron(40, 40, activation=nn.Tanh), perceptron(40, 40, activation=nn.Sigmoid, lr=1e-2)


def layers(depth: int, activation: type[nn.Module] = nn.ReLU, lr: float = 1e-3) -> Change:
    """A perceptron of so many layers of 40 units."""
    return perceptron(*[40] * (depth - 1), activation=activation, lr=lr)


def drawn(std: float, scaled: bool = False) -> Change:
    """Weights N(0, std²), or of so many times He's deviation."""
    return weights(normal_weights(std, scaled))


FAULTS = [
    Fault(
        "softmax before cross-entropy",
        "architecture",
        SOFTMAX,
        ("spirals", "fashion"),
        then(lambda out: out.softmax(-1)),
    ),
    Fault("sigmoid before the loss of logits", "architecture", SOFTMAX | RANGE, ("twins",), then(torch.sigmoid)),
    Fault("ReLU on logits", "architecture", RANGE, ("waves", "chains", "spirals"), then(torch.relu)),
    Fault("tanh on logits", "architecture", RANGE, ("fashion", "spirals"), then(torch.tanh)),
    Fault("sigmoid for any targets", "architecture", RANGE, ("housing", "plane"), then(torch.sigmoid)),
    Fault("ReLU for any targets", "architecture", RANGE, ("housing",), then(torch.relu)),
    Fault("softmax over the batch", "architecture", MIXING, ("spirals", "waves"), over_the_batch, measure="alone"),
    Fault("rows mixed by a reshape", "architecture", MIXING, ("twins", "housing"), inserted(MixRows, -1)),
    Fault("detach in the middle", "architecture", DETACHED, ("housing", "waves", "twins"), inserted(Cut, -1)),
    Fault("detach after the blocks", "architecture", DETACHED, ("chains",), detached),
    Fault(
        "activations removed",
        "architecture",
        codes("linear-network"),
        ("spirals", "twins"),
        without(nn.GELU, nn.LeakyReLU),
    ),
    Fault("attention × 15 d", "architecture", codes("attention-saturated"), ("chains",), scores(lambda s: 15 / s**2)),
    Fault(
        "all weights zero",
        "initialization",
        STILL,
        ("spirals", "housing"),
        constant(0.0),
        remedy=both(constant(0.0), he),
    ),
    Fault("all weights .05", "initialization", SYMMETRIC, ("twins", "fashion"), constant(0.05)),
    Fault("cloned units", "initialization", SYMMETRIC, ("spirals", "twins"), weights(clones)),
    Fault("tanh with N(0, 1.5²)", "initialization", SATURATED, ("spirals", "twins"), both(TANH, drawn(1.5)), TANH),
    Fault("sigmoid with N(0, 6²)", "initialization", SATURATED, ("housing",), both(SIGMOID, drawn(6.0)), SIGMOID),
    Fault("24 ReLU layers at the default", "initialization", VANISHING, ("spirals",), layers(24), both(layers(24), he)),
    Fault(
        "12 sigmoid layers",
        "initialization",
        VANISHING | SATURATED,
        ("spirals",),
        layers(12, nn.Sigmoid, 3e-3),
        layers(12, nn.Tanh, 3e-3),
    ),
    Fault(
        "12 layers at .3",
        "initialization",
        VANISHING,
        ("housing", "fashion"),
        both(layers(12), drawn(0.3, True)),
        both(layers(12), he),
    ),
    Fault(
        "He × 2.5, 12 layers",
        "initialization",
        EXPLODING,
        ("fashion", "housing"),
        both(layers(12), drawn(2.5, True)),
        both(layers(12), he),
    ),
    Fault(
        "60 blocks without norm", "initialization", EXPLODING, ("spirals", "housing"), residual(False), residual(True)
    ),
    Fault(
        "last layer std 15",
        "initialization",
        LAST,
        ("fashion", "chains"),
        weights(last_layer(15.0)),
        remedy=both(weights(last_layer(15.0)), he),
    ),
    Fault("biases −15", "initialization", DEAD, ("spirals", "housing"), both(RELU, weights(biases(-15.0))), RELU),
    Fault("dead ReLUs", "initialization", DEAD, ("twins",), both(RELU, weights(dead)), RELU),
    Fault("batch norm at batch 2", "normalization", SMALL, ("spirals", "housing"), pairs(2), normed),
    Fault("batch norm momentum 0", "normalization", STALE, ("fashion", "housing"), following(0.0), normed),
    Fault("batch norm momentum 2e-4", "normalization", STALE, ("fashion", "spirals"), following(2e-4), normed),
    Fault(
        "averaged weights without recalibration",
        "normalization",
        STALE,
        ("fashion", "spirals"),
        averaged,
        recalibrated,
        measure="as it is",
    ),
    Fault(
        "dropout in evaluation",
        "normalization",
        codes("eval-not-deterministic"),
        ("spirals", "waves"),
        inserted(always(0.5), -1),
        inserted(lambda: nn.Dropout(0.5), -1),
    ),
    Fault("two-layer linear net at 0", PLACE, SADDLE, ("plane",), linear_net(2, 0.0), linear_net(2, None)),
    Fault(
        "two-layer linear net near 0",
        PLACE,
        codes("saddle-point", "vanishing-signal"),
        ("plane",),
        linear_net(2, 1e-5),
        linear_net(2, None),
    ),
    Fault("three-layer linear net at 0", PLACE, FLAT | SADDLE, ("plane",), linear_net(3, 0.0), linear_net(3, None)),
    Fault("five-layer linear net at 3e-3", PLACE, FLAT, ("plane",), linear_net(5, 3e-3), linear_net(5, None)),
    Fault("κ 3e5, turned", PLACE, codes("ill-conditioned"), ("plane",), valley(3e5, True), valley(1.0, True)),
    Fault(
        "κ 3e5, along the inputs",
        PLACE,
        codes("ill-conditioned", "input-scale"),
        ("plane",),
        valley(3e5, False),
        valley(1.0, False),
    ),
    Fault(
        "SGD at its noise floor",
        PLACE,
        codes("noise-floor", "lr-too-high"),
        ("plane",),
        noise_floor(0.05),
        both(noise_floor(0.05), lambda s, seed: s.with_recipe(schedule="linear", warmup=0)),
    ),
    Fault("thrown onto a plateau", PLACE, codes("plateau", "saturated-units"), ("spirals", "twins"), thrown, unthrown),
]
