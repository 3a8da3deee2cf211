"""Emission for Triton: an expression as a kernel over the blocks of many tensors, and the host's part as NumPy."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from thalweg.engine.emit import NUMPY, STORAGE, Dialect, Writer, body, hyper, own
from thalweg.engine.kernel import Kernel
from thalweg.engine.trace import Expression

TYPES = {"f32": "tl.float32", "f64": "tl.float64", "bf16": "tl.uint16", "f16": "tl.float16"}
NAMES = {"sqrt": "root", "abs": "tl.abs", "where": "tl.where"}
TRITON = Dialect(
    lambda value: f"real({value!r})" if math.isfinite(value) else f"real(float('{value!r}'))",
    lambda name, args: f"{NAMES.get(name, name)}({', '.join(args)})",
    {"div": "quotient", "pow": "power"},  # operators that Triton's own do not do as IEEE asks
)
PRIMITIVES = (
    *("exp", "from_bf16", "log", "maximum", "minimum", "place", "power", "quotient", "random_bits", "root", "sign"),
    *("to_bf16", "to_bf16_at_random", "to_f16", "to_f16_at_random", "total"),
)
RESERVED = {
    *PRIMITIVES,
    *("values", "sums", "start", "size", "seed", "block", "whole", "lane", "inside", "bits", "real", "host"),
    *("chunk", "chunks", "table", "width", "tensor", "row", "seeds", "run", "update", "hyper", "np", "tl", "triton"),
}

HEAD = '''"""{title}

Made from the rule: a change here is lost.
"""

import numpy as np
import triton
import triton.language as tl

from thalweg.engine import host
from thalweg.engine.primitives_triton import {primitives}


def hyper({inputs}):
    """What the elements need: a column for each, in float64, from the columns of the inputs."""
'''

REAL = """

@triton.jit
def real(x):
    return tl.full((), x, tl.{real})
"""


def triton(kernel: Kernel) -> str:
    """A module for Triton: ``hyper`` for the host, ``update`` for a block of a tensor, ``run`` for those of a launch.

    ``hyper`` takes the inputs that `taken` names.
    """
    expression, columns, real = kernel.expression, kernel.expression.columns, kernel.real
    kinds = {c: STORAGE[kind] for c, kind in kernel.kinds.items()}
    lines, stores, sums, counts = body(expression, TRITON)
    low = [c for c, _ in stores if kinds[c] in ("bf16", "f16")] if kernel.stochastic else []
    at = {c: f"at_{c}" if c in RESERVED or own(c) != c else c for c in columns}
    values = [f"h{k}" for k in range(len(hyper(expression)))]
    text = [
        "lane = tl.arange(0, block)",
        "inside = None if whole else lane < size",
        *(f"{at[c]} = place({at[c]}, start, {TYPES[kinds[c]]}, whole)" for c in columns),
        *(f"{h} = tl.load(values + {k})" for k, h in enumerate(values)),
        *(f"{c}_ = {_load(at[c], kinds[c], real)}" for c in expression.reads),
        *lines,
        *(["bits = random_bits(start + lane, seed)"] if low else []),
        *(f"tl.store({at[c]} + lane, {_store(v, kinds[c], c, low)}, inside)" for c, v in stores),
        *(f"tl.store(sums + {k}, total({v}, inside, whole))" for k, v in enumerate([*sums, *counts])),
    ]
    arguments = ", ".join([*at.values(), "values", "sums", "start", "size", "seed", "block"])
    launch = [
        "chunk = tl.program_id(0)",
        *(f"{name} = tl.load(chunks + 4 * chunk + {k})" for k, name in enumerate(("tensor", "start", "size", "row"))),
        *(f"{at[c]} = tl.load(table + width * tensor + {kernel.place(c)})" for c in columns),
        "seed = tl.load(seeds + tensor)",
        f"values += {max(1, len(values))} * row",
        f"sums += {max(1, len(sums) + len(counts))} * chunk",
        f"if (size == block) & (({' | '.join(at.values())}) % 16 == 0):",
        f"    update({arguments}, True)",
        "else:",
        f"    update({arguments}, False)",
    ]
    used = "\n".join([*text, *launch])
    primitives = ", ".join(name for name in PRIMITIVES if f"{name}(" in used)
    return (
        HEAD.format(title=kernel.title, primitives=primitives, inputs=", ".join(map(own, taken(kernel))))
        + textwrap.indent("\n".join(_fold(expression)), "    ")
        + "\n"
        + (REAL.format(real=real) if "real(" in used else "")
        + f"\n\n@triton.jit\ndef update({arguments}: tl.constexpr, whole: tl.constexpr):\n"
        + textwrap.indent("\n".join(text), "    ")
        + "\n\n\n@triton.jit\ndef run(chunks, table, width, values, sums, seeds, block: tl.constexpr):\n"
        + textwrap.indent("\n".join(launch), "    ")
        + "\n"
    )


def taken(kernel: Kernel) -> list[str]:
    """The inputs that ``hyper`` takes."""
    needed, stack = set(), hyper(kernel.expression)
    while stack:
        node = kernel.expression.nodes[stack.pop()]
        needed |= {node.value} if node.op == "input" else set()
        stack += node.args
    return [name for name in kernel.inputs if name in needed]


def _fold(expression: Expression) -> list[str]:
    """The lines of ``hyper``."""
    columns = hyper(expression)
    named = {i: own(n.value) for i, n in enumerate(expression.nodes) if n.op == "input"}
    write = Writer(expression, NUMPY, named, columns)
    values = [f"    {write(i)},  # h{k}" for k, i in enumerate(columns)]
    return [*write.lines, "return (", *values, ")"]


def _load(column: str, kind: str, real: str) -> str:
    value = f"tl.load({column} + lane, inside)"
    value = f"from_bf16({value})" if kind == "bf16" else value
    kept = "tl.float32" if kind == "bf16" else TYPES[kind]
    return value if kept == f"tl.{real}" else f"{value}.to(tl.{real})"


def _store(value: str, kind: str, column: str, low: Sequence[str]) -> str:
    if kind not in ("bf16", "f16"):
        return value
    return f"to_{kind}_at_random({value}, bits, {low.index(column)})" if column in low else f"to_{kind}({value})"
