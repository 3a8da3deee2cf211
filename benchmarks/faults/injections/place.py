"""Faults of where training stands: saddles, plateaus, valleys, noise."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from thalweg import loop

from ..setting import Change, Fault, Setting, codes, each_weight

SADDLE = codes("saddle-point", "symmetric-units")
FLAT = codes("plateau", "saddle-point", "vanishing-signal", "vanishing-gradient")


def here(setting: Setting, seed: int) -> Setting:
    """Training stands at its start."""
    return replace(setting, model=setting.task.build(seed))


def linear_net(depth: int, scale: float | None) -> Change:
    """A linear net of some layers, its weights N(0, scale²); None: Xavier's."""

    def inject(setting: Setting, seed: int) -> Setting:
        inputs = setting.task.train[0].shape[1]

        def factory() -> nn.Module:
            made = nn.Sequential(*(nn.Linear(inputs, inputs, bias=False) for _ in range(depth - 1)))
            net = nn.Sequential(*made, nn.Linear(inputs, 1, bias=False))
            for p in net.parameters():
                if scale is None:
                    nn.init.xavier_normal_(p)
            if scale is not None:
                each_weight(net, lambda p: p.normal_().mul_(scale))
            return net

        return here(setting.with_task(model=factory).with_recipe(lr=0.02, batch_size=None), seed)

    return inject


def valley(kappa: float, turned: bool) -> Change:
    """Inputs whose covariance has that condition number, and a target that asks for all of them alike."""

    def inject(setting: Setting, seed: int) -> Setting:
        width = setting.task.train[0].shape[1]
        random = torch.Generator().manual_seed(3000 + seed)
        scales = torch.logspace(0, -math.log10(kappa) / 2, width)
        x = torch.randn(400, width, generator=random)
        y = x.sum(1, keepdim=True) / math.sqrt(width) + 0.05 * torch.randn(400, 1, generator=random)
        turn = torch.linalg.qr(torch.randn(width, width, generator=random)).Q
        x = x * scales @ turn if turned else x * scales
        return setting.with_task(train=(x[:300], y[:300]), valid=(x[300:], y[300:]), steps=400)

    return inject


def noisy(setting: Setting, seed: int, rate: float) -> Setting:
    """Noisy targets, small batches at a constant rate, from where it led before."""
    setting = setting.with_recipe(optimizer="sgd", lr=rate, schedule="constant", batch_size=None)
    (x, y), (u, v) = setting.task.train, setting.task.valid
    random = torch.Generator().manual_seed(seed)
    y, v = (z + 0.7 * torch.randn(z.shape, generator=random) for z in (y, v))
    setting = setting.with_task(train=(x, y), valid=(u, v), batch_size=4, epochs=None, steps=600)
    run, _ = loop.run(setting.task, setting.recipe, seed, evaluations=1)
    held = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
    make = setting.task.model

    def factory() -> nn.Module:
        model = make()
        model.load_state_dict(held)
        return model

    return here(setting.with_task(model=factory), seed)


RATES = {"linear": 0.08, "wide": 0.03}


def floor(setting: Setting, seed: int) -> Setting:
    """Noise holds the loss where it is: the rate does not fall."""
    return noisy(setting, seed, RATES[setting.task.name])


def falling(setting: Setting, seed: int) -> Setting:
    """From the same place the rate falls to zero."""
    return floor(setting, seed).with_recipe(schedule="linear", warmup=0)


def saturated(setting: Setting, seed: int) -> Setting:
    """A net of tanh units thrown far out: no slope, no curvature, a large loss."""

    def change(model: nn.Module) -> nn.Module:
        parts = [nn.Tanh() if isinstance(m, nn.ReLU) else m for m in model.children()]
        return nn.Sequential(*parts)

    def throw(model: nn.Module) -> None:
        first = next(m for m in model.modules() if isinstance(m, nn.Linear))
        with torch.no_grad():
            first.weight.mul_(1e-3)
            first.bias.fill_(30.0)

    return here(setting.with_model(change).with_model(throw), seed)


def tanh(setting: Setting, seed: int) -> Setting:
    """The same net where it starts by itself."""

    def change(model: nn.Module) -> nn.Module:
        return nn.Sequential(*(nn.Tanh() if isinstance(m, nn.ReLU) else m for m in model.children()))

    return here(setting.with_model(change), seed)


LINEAR = ("linear", "wide")
FAMILY = "where am I"
FAULTS = [
    Fault("two-layer linear net at 0", FAMILY, SADDLE, LINEAR, linear_net(2, 0.0), linear_net(2, None)),
    Fault(
        "two-layer linear net near 0",
        FAMILY,
        codes("saddle-point", "vanishing-signal"),
        LINEAR,
        linear_net(2, 1e-6),
        linear_net(2, None),
    ),
    Fault("three-layer linear net at 0", FAMILY, FLAT | SADDLE, LINEAR, linear_net(3, 0.0), linear_net(3, None)),
    Fault("four-layer linear net at 1e-3", FAMILY, FLAT, LINEAR, linear_net(4, 1e-3), linear_net(4, None)),
    Fault("κ 1e6, turned", FAMILY, codes("ill-conditioned"), LINEAR, valley(1e6, True), valley(1.0, True)),
    Fault(
        "κ 1e6, along the inputs",
        FAMILY,
        codes("ill-conditioned", "input-scale"),
        LINEAR,
        valley(1e6, False),
        valley(1.0, False),
    ),
    Fault("SGD at its noise floor", FAMILY, codes("noise-floor", "lr-too-high"), LINEAR, floor, falling),
    Fault(
        "thrown onto a plateau", FAMILY, codes("plateau", "saturated-units"), ("digits", "regression"), saturated, tanh
    ),
]
