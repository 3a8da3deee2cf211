"""Trained weights loaded into part of a model, with a report of what fitted and what did not, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import BadData
from ..store import load_weights


@dataclass(frozen=True)
class Loaded:
    """What came of loading.

    Attributes:
        matched: names in the model that got a tensor.
        missing: names in the model for which there was none: they stay as they were.
        unexpected: names in the file that the model does not have.
        refused: name in the model → why its tensor does not fit.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    refused: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} tensors loaded"]
        lines += [f"as built: {name}" for name in self.missing]
        lines += [f"not used: {name}" for name in self.unexpected]
        return "\n".join([*lines, *(f"refused: {name}: {why}" for name, why in self.refused.items())])


def load(
    model: nn.Module,
    weights: str | Path | Mapping[str, Tensor],
    *,
    rename: Callable[[str], str | None] | None = None,
    strict: bool = False,
) -> Loaded:
    """Copy trained weights into a model, where names and shapes agree; the rest of the model stays as it is.

    What is loaded keeps its value to the bit where the dtypes agree. To freeze it, or to train it more slowly:
    ``Recipe(freeze=["body.*"])``, ``Recipe(groups={"head.*": {"lr_scale": 10}})``, ``Recipe(layer_decay=0.8)``.

    Args:
        model: written into in place.
        weights: a .safetensors file, a .pt file of tensors alone, or a ``state_dict``.
        rename: from a name in the file to one in the model; None for a tensor to leave out.
        strict: nothing may be missing, unexpected or refused.

    Raises:
        BadData: the file cannot be read, nothing fits, two tensors get one name, or ``strict`` and not everything fits.

    Example:
        >>> body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> print(load(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5)), body.state_dict()))
        2 tensors loaded
        refused: 2.weight: it is (3, 8), the model's is (5, 8)
        refused: 2.bias: it is (3,), the model's is (5,)
    """
    given = _read(weights)
    named: dict[str, Tensor] = {}
    for old, value in given.items():
        name = old if rename is None else rename(old)
        if name in named:
            raise BadData(f"load: two tensors are named {name}", "let rename give each its own name, or None")
        if name is not None:
            named[name] = value
    own = model.state_dict(keep_vars=True)
    refused = {
        name: f"it is {tuple(value.shape)}, the model's is {tuple(own[name].shape)}"
        for name, value in named.items()
        if name in own and value.shape != own[name].shape
    }
    matched = tuple(name for name in own if name in named and name not in refused)
    found = Loaded(
        matched,
        tuple(name for name in own if name not in named),
        tuple(name for name in named if name not in own),
        refused,
    )
    if not matched or (strict and (found.missing or found.unexpected or refused)):
        what = "not everything fits" if matched else "no name and shape agrees with the model's"
        raise BadData(f"load: {what}\n{found}", "look at the names, and give rename=")
    with torch.no_grad():
        for name in matched:
            own[name].copy_(named[name])
    return found


def _read(weights: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(weights, Mapping):
        return weights
    path = Path(weights)
    if path.suffix == ".safetensors":
        return load_weights(path)
    try:
        read = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadData(
            f"load: cannot read {path}: {error}", "give a .safetensors file, or a .pt file of tensors"
        ) from None
    read = read.get("state_dict", read) if isinstance(read, dict) else read
    if not isinstance(read, dict) or not all(isinstance(value, Tensor) for value in read.values()):
        raise BadData(f"load: {path} holds more than tensors by name", "save model.state_dict()")
    return read
