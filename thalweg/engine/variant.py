"""What the parameters that one kernel updates have in common, and what each of them brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.engine.kernel import Kernel
from thalweg.engine.trace import Expression, trace, trace_measure
from thalweg.rules.links import Program
from thalweg.rules.rule import Measure, State

DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}


@dataclass(frozen=True)
class Variant:
    """What the parameters of one section share, and what its kernels are made for.

    Args:
        program: the rule with its links.
        title: the rule's name.
        statics: the inputs that are no numbers, in pairs.
        active: the program's states, None in the place of those that the options do not ask for.
        dtypes: the dtype of p, g and each element state, in pairs with their letters.
        stochastic: whether low precision is rounded at random.
        counts: whether steps are counted.
        engine: "numba" or "triton".
        device: of the tensors.
    """

    program: Program
    title: str
    statics: tuple[tuple[str, Any], ...]
    active: tuple[State | None, ...]
    dtypes: tuple[tuple[str, str], ...]
    stochastic: bool
    counts: bool
    engine: str
    device: torch.device

    def expression(self) -> Expression:
        """What the update does to an element."""
        return trace(self.program, dict(self.statics), self.active)

    def measured(self, measure: Measure) -> Expression:
        """What an element adds to a measure."""
        return trace_measure(measure.of, self.program, dict(self.statics), self.active)

    def kernel(self, expression: Expression, inputs: tuple[str, ...], wide: bool = False, norm: bool = False) -> Kernel:
        """What is compiled for an expression of this variant."""
        if expression.columns == ("g",):
            return Kernel(expression, self.dtypes[:2], (), "Norm", wide=wide)
        stochastic = self.stochastic and not expression.sums
        return Kernel(expression, self.dtypes, inputs, self.title, stochastic, wide, norm)

    def squares(self) -> Expression:
        """The square of the gradient."""
        return trace_measure(_square, self.program, dict(self.statics), self.active)


def _square(xp: Any, p: Any, g: Any, *_states: Any, **_scalars: Any) -> Any:
    return g * g


@dataclass
class Member:
    """A parameter of a section: its place in the optimizer, its group, its states, and which were just made."""

    position: int
    group: int
    p: Tensor
    saved: dict[str, Any]
    made: tuple[State, ...]
    first: bool
