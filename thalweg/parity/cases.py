"""What parity is measured on: rules, links, dtypes, sizes, layouts and gradients, all combinations or a cover of them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from thalweg import rules
from thalweg.parity.cover import pairwise
from thalweg.rules.links import Links

STEPS = 20
BAD = 9  # the step, from 0, that has the number which is not finite
LR = 0.02
DTYPES = {
    str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
}
SIZES = (1, 7, 8, 15, 16, 17, 1023)
LARGE = 1_000_003
LAYOUTS = ("contiguous", "strided")
GRADIENTS = ("normal", "zeros", "denormal", "huge", "nan", "inf", "skipped")
DECAY = {"weight_decay": 0.1}
LINKS: dict[str, dict[str, Any]] = {
    "none": {},
    "coupled": {**DECAY, "decay": "coupled"},
    "decoupled": {**DECAY, "decay": "decoupled"},
    "fully": {"weight_decay": 0.01, "decay": "fully"},
    "cautious-decay": {**DECAY, "decay": "cautious"},
    "clip-norm": {"clip_norm": 1.0},
    "clip-value": {"clip_value": 0.5},
    "cautious": {"cautious": True},
    "cautious-exact": {"cautious": "exact"},
    "scaled": {"maximize": True},  # and a loss scale, and a step that it skips
    "ema": {"ema": 0.9},
    "stochastic": {"rounding": "stochastic"},
    "state-dtype": {},
    "several": {**DECAY, "clip_norm": 1.0, "clip_value": 0.5, "decay": "decoupled", "cautious": True, "ema": 0.9},
}
SCALE = 1024.0


@dataclass(frozen=True)
class Case:
    """One rule with one link, on one kind of parameter and gradient."""

    rule: str
    link: str
    dtype: str
    size: int
    layout: str
    gradients: str
    draw: int = 0

    @property
    def why_not(self) -> str | None:
        """Why there is nothing to measure; None: there is."""
        if "weight_decay" in LINKS[self.link] and self.link != "several" and not decays(self.rule):
            return f"{self.rule} has no weight decay"
        if "decay" in LINKS[self.link] and self.link != "several" and rules.get(self.rule).weight_decay == "own":
            return f"the decay of {self.rule} is part of the rule"
        return None

    @property
    def kernel(self) -> tuple[str, str, str]:
        """What a kernel is compiled for."""
        return self.rule, self.link, self.dtype

    @property
    def noisy(self) -> bool:
        """Whether the mask of `cautious` is decided by rounding: step times gradient is below the smallest number."""
        return "cautious" in LINKS[self.link] and self.gradients == "denormal"

    @property
    def steps(self) -> int:
        """How many steps are compared: one where rounding is random, since the paths part there."""
        return 1 if self.link == "stochastic" else STEPS

    @cached_property
    def state_dtype(self) -> torch.dtype:
        """The dtype of what the rule remembers."""
        other = {"float32": torch.bfloat16}.get(self.dtype, torch.float32)
        return other if self.link == "state-dtype" else DTYPES[self.dtype]

    @cached_property
    def options(self) -> dict[str, Any]:
        """The arguments of the optimizer."""
        chosen = {"lr": LR, **LINKS[self.link]}
        if not decays(self.rule):
            chosen = {name: value for name, value in chosen.items() if name not in ("weight_decay", "decay")}
        if rules.get(self.rule).weight_decay == "own":
            chosen.pop("decay", None)
        if self.link == "state-dtype":
            chosen["state_dtype"] = self.state_dtype
        return chosen | ({"skip_nonfinite": True} if self.gradients == "skipped" else {})

    @cached_property
    def links(self) -> Links:
        """The links as `compose` takes them."""
        rule, chosen = rules.get(self.rule), self.options
        options = {**rule.defaults, **chosen}
        return Links(
            scale=self.link == "scaled",
            maximize=chosen.get("maximize", False),
            clip="clip_norm" in chosen,
            clip_value="clip_value" in chosen,
            decay=chosen.get("decay") or (rule.decay_kind(options) if options.get("weight_decay") else None),
            cautious={True: "before", "exact": "exact"}.get(chosen.get("cautious", False)),  # type: ignore[arg-type]
            ema="ema" in chosen,
        )

    def found_inf(self, step: int) -> bool:
        """Whether the loss scale has this step skipped."""
        return self.link == "scaled" and step == BAD - 2

    def start(self) -> Tensor:
        """The parameter before the first step."""
        return torch.randn(self.size, generator=_generator("start", self.size, self.draw)).to(DTYPES[self.dtype])

    def grads(self) -> list[Tensor]:
        """The gradients of the steps."""
        dtype, generator = DTYPES[self.dtype], _generator(self.gradients, self.size, self.draw)
        facts = torch.finfo(dtype)
        scale = 10 ** (torch.rand(self.size, generator=generator, dtype=torch.float64) * 4 - 2)
        scale /= 10 if dtype is torch.float16 else 1  # its squares overflow at 256
        grads = [torch.randn(self.size, generator=generator, dtype=torch.float64) * scale for _ in range(self.steps)]
        if self.gradients == "zeros":
            for k, g in enumerate(grads):
                g[:: 1 if k < 2 else 2] = 0
        if self.gradients == "denormal":
            grads = [(g / scale).clamp(-3, 3) / 3.1 * facts.tiny for g in grads]
        if self.gradients == "huge":
            grads = [g.sign() * min(1e30, 0.9 * facts.max) for g in grads]
        if self.gradients in ("nan", "inf", "skipped"):
            bad = math.nan if self.gradients == "nan" else math.inf
            grads[min(BAD, self.steps - 1)][self.size // 2] = bad
        return [g.to(dtype) for g in grads]


def decays(rule: str) -> bool:
    """Whether a rule has weight decay."""
    return "weight_decay" in rules.get(rule).defaults


def _generator(*seed: Any) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(repr(seed).encode()))


def _each(**values: Sequence[Any]) -> list[list[dict[str, Any]]]:
    return [[{name: value} for value in choices] for name, choices in values.items()]


def cover(names: Sequence[str] | None = None) -> list[Case]:
    """Cases in which every value of a factor meets every value of every other, with as few kernels as that takes.

    Args:
        names: rules; None: all.

    Returns:
        The cases; those that cannot be run are among them.
    """
    names = list(rules.TABLE if names is None else names)
    possible = [{"rule": r, "link": k} for r in names for k in LINKS if not _case(rule=r, link=k).why_not]
    kernels: Sequence[Mapping[str, Any]] = pairwise(possible, *_each(dtype=list(DTYPES)))
    found = [Case(**row) for row in pairwise(kernels, *_each(gradients=GRADIENTS, size=SIZES, layout=LAYOUTS))]  # type: ignore[arg-type]
    missing = [_case(rule=r, link=k) for r in names for k in LINKS]
    return [*found, *(case for case in missing if case.why_not)]


def everything(names: Sequence[str] | None = None) -> list[Case]:
    """All combinations; a combination that cannot be run is there once."""
    names = list(rules.TABLE if names is None else names)
    cases = []
    for rule in names:
        for link in LINKS:
            if (one := _case(rule=rule, link=link)).why_not:
                cases.append(one)
                continue
            cases += [
                Case(rule, link, dtype, size, layout, gradients)
                for dtype in DTYPES
                for size in SIZES
                for layout in LAYOUTS
                for gradients in GRADIENTS
            ]
    return cases


def large(names: Sequence[str] | None = None) -> list[Case]:
    """A million numbers, once for every number of states that a rule may have."""
    found: dict[int, Case] = {}
    for name in rules.TABLE if names is None else names:
        rule = rules.get(name)
        states = sum(state is not None and not state.scalar for state in rule.active(rule.defaults))
        found.setdefault(states, _case(rule=name, size=LARGE))
    return list(found.values())


def _case(**known: Any) -> Case:
    plain = {"link": "none", "dtype": "float32", "size": SIZES[-1], "layout": "contiguous", "gradients": "normal"}
    return Case(**{**plain, **known})
