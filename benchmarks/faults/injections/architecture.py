"""Faults of the architecture."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..setting import Change, Fault, Setting, both, codes


class Then(nn.Module):
    """A module and a function of its output."""

    def __init__(self, model: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, x: Tensor) -> Tensor:
        """Of the model's inputs."""
        return self.function(self.model(x))


class Cut(nn.Module):
    """Passes values on and no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """Of anything."""
        return x.detach()


class MixRows(nn.Module):
    """A reshape that takes units for rows: a row's numbers come from others."""

    def forward(self, x: Tensor) -> Tensor:
        """Of (N, units)."""
        return x.T.reshape(x.shape)


def then(function: Callable[[Tensor], Tensor]) -> Change:
    """A function of the model's output."""
    return lambda setting, seed: setting.with_model(lambda model: Then(model, function))


def inserted(make: Callable[[], nn.Module], place: int) -> Change:
    """A module in front of the one at a place of a sequence."""

    def change(model: nn.Module) -> nn.Module:
        parts = list(model.children())
        at = place if place >= 0 else len(parts) + place
        return nn.Sequential(*parts[:at], make(), *parts[at:])

    return lambda setting, seed: setting.with_model(change)


def without(*kinds: type[nn.Module]) -> Change:
    """Modules of some kinds replaced by nothing."""

    def change(model: nn.Module) -> None:
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, kinds):
                    setattr(parent, name, nn.Identity())

    return lambda setting, seed: setting.with_model(change)


def scores(factor: Callable[[float], float]) -> Change:
    """The factor of the attention's scores, as a function of what it is."""

    def change(model: nn.Module) -> None:
        for block in model.blocks:  # type: ignore[union-attr]
            block.attention.scale = factor(block.attention.scale)

    return lambda setting, seed: setting.with_model(change)


def frozen_blocks(setting: Setting, seed: int) -> Setting:
    """No gradient through the blocks of the transformer to the symbols."""

    def change(model: nn.Module) -> None:
        model.blocks = nn.Sequential(*model.blocks, Cut())  # type: ignore[arg-type]

    return setting.with_model(change)


def over_the_batch(setting: Setting, seed: int) -> Setting:
    """Probabilities over the rows instead of over the classes."""
    changed = then(lambda output: output.log_softmax(0))(setting, seed)
    return changed.with_task(loss=F.nll_loss)


def parity(setting: Setting, seed: int) -> Setting:
    """Whether a digit is odd, which no linear map tells well."""
    (x, y), (u, v) = setting.task.train, setting.task.valid
    return setting.with_task(train=(x, y % 2), valid=(u, v % 2))


SOFTMAX = codes("double-softmax")
RANGE = codes("output-range")
MIXING = codes("batch-mixing")
DETACHED = codes("graph-detached", "parameters-without-gradient")
FAULTS = [
    Fault(
        "softmax before cross-entropy",
        "architecture",
        SOFTMAX,
        ("digits", "sequences"),
        then(lambda output: output.softmax(-1)),
    ),
    Fault("ReLU on logits", "architecture", RANGE, ("digits", "cnn"), then(torch.relu)),
    Fault("sigmoid on logits", "architecture", RANGE, ("digits", "sequences"), then(torch.sigmoid)),
    Fault("sigmoid for any targets", "architecture", RANGE, ("regression", "linear"), then(torch.sigmoid)),
    Fault("tanh for any targets", "architecture", RANGE, ("regression", "linear"), then(torch.tanh)),
    Fault("ReLU for any targets", "architecture", RANGE, ("regression", "wide"), then(torch.relu)),
    Fault("softmax over the batch", "architecture", MIXING, ("digits", "cnn"), over_the_batch, measure="alone"),
    Fault(
        "rows mixed by a reshape", "architecture", MIXING, ("digits", "regression", "residual"), inserted(MixRows, -1)
    ),
    Fault("detach in the middle", "architecture", DETACHED, ("digits", "regression", "residual"), inserted(Cut, -1)),
    Fault("detach after the blocks", "architecture", DETACHED, ("sequences",), frozen_blocks),
    Fault("activations removed", "architecture", codes("linear-network"), ("regression",), without(nn.ReLU)),
    Fault(
        "activations removed, odd or even",
        "architecture",
        codes("linear-network"),
        ("digits",),
        both(parity, without(nn.ReLU)),
        parity,
    ),
    Fault(
        "attention × 10 d", "architecture", codes("attention-saturated"), ("sequences",), scores(lambda s: 10 / s**2)
    ),
]
