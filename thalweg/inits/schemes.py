"""The schemes that initial weights are drawn by, as a table."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import init as draw

from ..errors import BadOption, unknown
from ..mean_field import theory
from ..wiring import Layer

FANS = ("fan_in", "fan_out")
GATES = ("sigmoid", "hardsigmoid", None)  # what follows them is not made larger


@dataclass(frozen=True)
class Scheme:
    """How the weight of a layer is drawn.

    Attributes:
        fill: writes a weight: (weight, its layer, gain, argument).
        std: the standard deviation that it asks for: (layer, gain, argument); None: it has none.
        argument: what stands in brackets where nothing does; None: nothing may.
        everything: whether embeddings get it as well.
        gains: whether it takes the gain into account.
        source: of the scheme.
    """

    fill: Callable[[Tensor, Layer, float, Any], Any]
    std: Callable[[Layer, float, Any], float] | None
    argument: Any = None
    everything: bool = False
    gains: bool = False
    source: str = ""


@functools.cache
def gain(activation: str | None, numbers: tuple[float, ...] = ()) -> float:
    """By how much weights grow to make up for the non-linearity that follows: torch's numbers where it has them.

    For others 1/√E[φ(z)²], z normal: as for ReLU, where it is √2, the second moment is kept. A softmax, a sigmoid or
    nothing has 1.

    Example:
        >>> [round(gain(name), 3) for name in ("relu", "tanh", "gelu", None)]
        [1.414, 1.667, 1.534, 1.0]
    """
    if activation in ("relu", "tanh"):
        return float(draw.calculate_gain(activation))  # type: ignore[arg-type]
    if activation in ("leaky_relu", "prelu_kernel"):
        return float(draw.calculate_gain("leaky_relu", numbers[0] if numbers else 0.01))
    if activation in GATES or (moments := theory(activation, 1.0, numbers)) is None:
        return 1.0
    return 1 / math.sqrt(moments[0])


def _uniform(weight: Tensor, std: float) -> None:
    weight.uniform_(-math.sqrt(3) * std, math.sqrt(3) * std)


def _scaled(std: Callable[[Layer, float, Any], float], uniform: bool, argument: Any, source: str) -> Scheme:
    """A scheme that draws all numbers of a weight alike."""

    def fill(weight: Tensor, layer: Layer, gain: float, own: Any) -> None:
        size = std(layer, gain, own)
        _uniform(weight, size) if uniform else weight.normal_(0, size)

    return Scheme(fill, std, argument, gains=argument in FANS, source=source)


def _xavier(layer: Layer, gain: float, own: Any) -> float:
    return math.sqrt(2 / sum(layer.fans))


def _he(layer: Layer, gain: float, fan: str) -> float:
    return gain / math.sqrt(layer.fans[FANS.index(fan)])


def _lecun(layer: Layer, gain: float, own: Any) -> float:
    return 1 / math.sqrt(layer.fans[0])


def _orthogonal(weight: Tensor, layer: Layer, gain: float, own: Any) -> None:
    if layer.kind == "recurrent":  # a matrix for each gate
        for part in torch.split(weight, layer.hidden or len(weight)):
            draw.orthogonal_(part, gain)
        return
    draw.orthogonal_(weight, gain)


def _delta(weight: Tensor, layer: Layer, gain: float, own: Any) -> None:
    """Convolutions: an orthogonal matrix at the kernel's centre and zero elsewhere."""
    if weight.ndim < 3:
        return _orthogonal(weight, layer, gain, own)
    matrix = torch.empty(weight.shape[:2], dtype=weight.dtype, device=weight.device)
    draw.orthogonal_(matrix, gain)
    centre = weight.zero_().flatten(2)[
        ..., sum(k // 2 * math.prod(weight.shape[i + 3 :]) for i, k in enumerate(weight.shape[2:]))
    ]
    centre.copy_(matrix)
    return None


def _sparse(weight: Tensor, layer: Layer, gain: float, count: float) -> None:
    """``count`` inputs of every unit, drawn anew for each, have weights; N(0, gain²/count)."""
    units = weight.movedim(-1 if weight.ndim == 2 else 1, 0) if layer.last else weight
    flat = torch.zeros(len(units), units[0].numel(), dtype=weight.dtype, device=weight.device)
    kept = min(int(count), flat.shape[1])
    index = torch.rand(flat.shape, device=flat.device).topk(kept, 1).indices
    values = torch.randn(index.shape, dtype=flat.dtype, device=flat.device) * gain / math.sqrt(kept)
    units.copy_(flat.scatter_(1, index, values).reshape(units.shape))


def _mup(weight: Tensor, layer: Layer, gain: float, base: float) -> None:
    fan = layer.fans[0]
    weight.normal_(0, math.sqrt(base) / fan if layer.output else 1 / math.sqrt(fan))


GLOROT = "X. Glorot, Y. Bengio, AISTATS 2010, equation 16"
HE = "K. He et al., arXiv 1502.01852, equation 10"
SCHEMES: dict[str, Scheme] = {
    "torch": Scheme(lambda *_: None, None, source="the model's constructor"),
    "xavier_uniform": _scaled(_xavier, True, None, GLOROT),
    "xavier_normal": _scaled(_xavier, False, None, GLOROT),
    "he_uniform": _scaled(_he, True, "fan_in", HE),
    "he_normal": _scaled(_he, False, "fan_in", HE),
    "lecun_uniform": _scaled(_lecun, True, None, "Y. LeCun et al., Efficient BackProp, 1998, section 4.6"),
    "lecun_normal": _scaled(_lecun, False, None, "Y. LeCun et al., Efficient BackProp, 1998, section 4.6"),
    "orthogonal": Scheme(_orthogonal, None, gains=True, source="A. Saxe et al., arXiv 1312.6120"),
    "delta_orthogonal": Scheme(_delta, None, gains=True, source="L. Xiao et al., arXiv 1806.05393"),
    "sparse": Scheme(_sparse, None, 15.0, gains=True, source="J. Martens, ICML 2010, section 5"),
    "mup": Scheme(_mup, None, 64.0, source="G. Yang et al., arXiv 2203.03466, table 3"),
    "normal": Scheme(
        lambda w, layer, gain, std: w.normal_(0, std),
        lambda layer, gain, std: float(std),
        0.01,
        True,
        source="no theory",
    ),
    "constant": Scheme(
        lambda w, layer, gain, value: w.fill_(value), None, 0.1, True, source="a fault: all units alike"
    ),
    "zeros": Scheme(lambda w, *_: w.zero_(), lambda *_: 0.0, None, True, source="a fault: all units alike"),
}
AFTER = {  # what is done to weights that are there, and what they are where nothing else is said
    "lsuv": ("orthogonal", "D. Mishkin, J. Matas, arXiv 1511.06422, algorithm 1"),
    "zero_residual": ("torch", "P. Goyal et al., arXiv 1706.02677, section 5.1"),
    "fixup": ("he_normal", "H. Zhang et al., arXiv 1901.09321, rules 1 and 2"),
    "output_bias": ("torch", "the prior of the targets"),
}
Part = tuple[str, Any]


def read(text: str) -> tuple[Part, list[Part]]:
    """The scheme that draws, and what is done afterwards, of a text such as ``"he_normal(fan_out)+zero_residual"``.

    Raises:
        BadOption: an unknown name, two schemes that draw, or an argument that it does not take.

    Example:
        >>> read("he_normal"), read("lsuv+output_bias")
        ((('he_normal', 'fan_in'), []), (('orthogonal', None), [('lsuv', None), ('output_bias', None)]))
    """
    first: Part | None = None
    after: list[Part] = []
    for word in text.split("+"):
        match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*", word)
        name, given = (match[1].lower(), match[2]) if match else (word.strip(), None)
        if name in AFTER and given is None:
            after.append((name, None))
        elif name in SCHEMES and first is None:
            first = name, _argument(name, given)
        elif name in SCHEMES:
            raise BadOption(f"init: {first[0] if first else ''} and {name} both draw weights", "keep one of them")
        else:
            raise unknown("Recipe", "init", word.strip(), [*SCHEMES, *AFTER])
    if first is None:
        base = AFTER[after[0][0]][0]
        first = base, SCHEMES[base].argument
    return first, after


def check(text: Any) -> bool:
    """Whether a recipe may say it.

    Raises:
        BadOption: as `read`.
    """
    return isinstance(text, str) and bool(read(text))


def _argument(name: str, given: str | None) -> Any:
    default = SCHEMES[name].argument
    if given is None:
        return default
    allowed = "nothing" if default is None else " or ".join(FANS) if isinstance(default, str) else "a number >= 0"
    try:
        value: Any = given.strip() if isinstance(default, str) else float(given)
    except ValueError:
        value = None
    good = value in FANS if isinstance(default, str) else value is not None and 0 <= value < math.inf
    if default is None or not good or (name in ("sparse", "mup") and value < 1):
        raise BadOption(f"init: {name} takes {allowed} in brackets, got {given!r}", f"write {name}" + shown(default))
    return value


def shown(argument: Any) -> str:
    """An argument as a recipe writes it."""
    return "" if argument is None else f"({argument:g})" if isinstance(argument, float) else f"({argument})"
