"""Emission: an expression as source that a person can read: the fold on the host, a kernel for Numba."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from thalweg.engine.kernel import Kernel
from thalweg.engine.trace import BINARY, COMPARISONS, Expression, Node

PRECEDENCE = {"where": 0, **dict.fromkeys(COMPARISONS, 1), "add": 2, "sub": 2, "mul": 3, "div": 3, "neg": 4, "pow": 5}
ATOM = 9
RIGHT = {"sub", "div"}  # a - (b - c) needs its brackets; a + (b + c) has them too, so that rounding stays as written
STORAGE = {"float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True)
class Dialect:
    """How a language writes what Python's operators do not."""

    constant: Callable[[float], str]
    function: Callable[[str, list[str]], str]
    spelled: Mapping[str, str] = field(default_factory=dict)  # the functions that stand for some operators


def literal(value: float) -> str:
    """A float64 constant; a negative one in brackets, since -2.0 ** x is -(2.0 ** x)."""
    text = repr(value) if math.isfinite(value) else f"np.{value!r}".replace("np.-", "-np.")
    return f"({text})" if text[0] == "-" else text


NUMPY = Dialect(
    literal,
    lambda name, args: f"{'host' if name in ('exp', 'log', 'power') else 'np'}.{name}({', '.join(args)})",
    {"pow": "power"},
)
HOST = Dialect(literal, lambda name, args: f"{name}({', '.join(args)})")
NUMBA = Dialect(lambda value: f"real({literal(value).strip('()')})", lambda name, args: f"{name}({', '.join(args)})")


RESERVED = frozenset(
    "row sums start seed bits i k c np host real exp log sqrt abs maximum minimum sign where njit cfunc range "
    "random_bits from_bf16 from_f16 to_bf16 to_f16 keep_bf16 piece prefetch begin end whole".split()
)


def own(name: str) -> str:
    """The name of a rule's input or state in an emitted function, which has names of its own."""
    return f"own_{name}" if name in RESERVED or (name[0] in "hcxsn" and name[1:].isdigit()) else name


class Writer:
    """Writes nodes as expressions of a language; those that are used more than once get a name.

    Args:
        expression: whose nodes.
        dialect: the language.
        names: how a node is called that needs no computing: elements, host scalars.
        roots: the nodes that will be asked for.
    """

    def __init__(self, expression: Expression, dialect: Dialect, names: Mapping[int, str], roots: list[int]) -> None:
        self._nodes, self._dialect, self._names = expression.nodes, dialect, dict(names)
        self.lines: list[str] = []
        self._uses: Counter[int] = Counter(roots)
        seen: set[int] = set()
        stack = list(roots)
        while stack:
            index = stack.pop()
            if index in self._names or index in seen:
                continue
            seen.add(index)
            self._uses.update(self._nodes[index].args)
            stack += self._nodes[index].args

    def __call__(self, index: int) -> str:
        """The node as an expression; what it needs by name is in ``lines``."""
        return self._write(index)[0]

    def _write(self, index: int) -> tuple[str, int]:
        node = self._nodes[index]
        if index in self._names:
            return self._names[index], ATOM
        if node.op == "constant":
            return self._dialect.constant(node.value), ATOM
        text, level = self._operation(node)
        if self._uses[index] > 1:
            name = f"{'c' if node.host else 'x'}{len(self.lines)}"
            self.lines.append(f"{name} = {text}")
            self._names[index] = name
            return name, ATOM
        return text, level

    def _operation(self, node: Node) -> tuple[str, int]:
        op = self._dialect.spelled.get(node.op, node.op)
        level = PRECEDENCE.get(op, ATOM)
        parts = [self._write(i) for i in node.args]
        if op in BINARY or op in COMPARISONS:
            (a, a_level), (b, b_level) = parts
            bound = op == "pow" or op in COMPARISONS  # a < b < c would be a chain
            a = f"({a})" if a_level < level or (bound and a_level <= level) else a
            b = f"({b})" if b_level <= level else b
            return f"{a} {({**BINARY, **COMPARISONS})[op]} {b}", level
        if op == "neg":
            a, a_level = parts[0]
            return f"-{a}" if a_level > level else f"-({a})", level
        texts = [text for text, _ in parts]
        if op == "where" and not node.host and self._nodes[node.args[0]].host:
            texts[0] = f"({texts[0]} != 0)"
        return self._dialect.function(op, texts), ATOM


def hyper(expression: Expression) -> list[int]:
    """The host nodes that elements need, constants apart."""
    nodes = expression.nodes
    used = [i for node in nodes if not node.host for i in node.args if nodes[i].host and nodes[i].op != "constant"]
    roots = [index for _, index in (*expression.stores, *expression.shares)] + list(expression.sums)
    used += [i for i in roots if nodes[i].host and nodes[i].op != "constant"]
    return list(dict.fromkeys(used))


def fold(expression: Expression) -> str:
    """The new values of the scalar states as a NumPy function of float64 columns."""
    results = [index for _, index in expression.scalars]
    named = {i: own(n.value) for i, n in enumerate(expression.nodes) if n.op == "input"}
    write = Writer(expression, NUMPY, named, results)
    values = "".join(f"{write(i)}, " for i in results)
    lines = [*write.lines, f"return ({values})"]
    return f"def fold({', '.join(map(own, expression.inputs))}):\n" + textwrap.indent("\n".join(lines), "    ") + "\n"


def scalars(expression: Expression, inputs: Sequence[str]) -> list[str]:
    """The host's part of a kernel: lines that read the inputs of a row and make of them what the elements need."""
    columns = hyper(expression)
    named = {i: own(n.value) for i, n in enumerate(expression.nodes) if n.op == "input"}
    write = Writer(expression, HOST, named, columns)
    values = [f"h{k} = real({write(i)})" for k, i in enumerate(columns)]
    used = [name for name in inputs if name in expression.inputs]
    return [*(f"{own(name)} = row[{inputs.index(name)}]" for name in used), *write.lines, *values]


def body(expression: Expression, dialect: Dialect) -> tuple[list[str], list[tuple[str, str]], list[str], list[str]]:
    """The lines of an element's update, its stores by column, its sums, and its counts."""
    nodes = expression.nodes
    names = {i: f"{n.value}_" for i, n in enumerate(nodes) if n.op == "element"}
    names |= {i: f"h{k}" for k, i in enumerate(hyper(expression))}
    roots = [i for _, i in (*expression.stores, *expression.shares)] + list(expression.sums)
    write = Writer(expression, dialect, names, roots)
    stores = [(column, write(i)) for column, i in expression.stores]
    sums = [write(i) for i in expression.sums]
    counts = [write(i) for _, i in expression.shares]
    return write.lines, stores, sums, counts


HEAD = '''"""{title}

Made from the rule: a change here is lost.
"""

import numpy as np
{maths}from numba import cfunc, njit

from thalweg.engine.primitives import (
    {primitives},
)

real = np.{real}


'''


NJIT = '@njit(error_model="numpy", fastmath={"nsz"})'
CALL = ("BLOCK", "CHUNKS", "N_CHUNKS", "N_COLUMNS", "N_INPUTS", "N_SUMS", "ROWS", "SEEDS", "SUMS", "TABLE")
RUN = """


@cfunc("void(CPointer(int64))")
def run(call):
    chunks, end, block = i64(call[CHUNKS], 0), call[N_CHUNKS], call[BLOCK]
    first = next_block(call, block)
    while first < end:
        for c in range(first, min(first + block, end)):
            k, start, size, row = chunks[4 * c], chunks[4 * c + 1], chunks[4 * c + 2], chunks[4 * c + 3]
            table = i64(call[TABLE], k * call[N_COLUMNS])
            update(
{arguments}
            )
        first = next_block(call, block)
"""


def numba(kernel: Kernel) -> str:
    """A module for Numba: ``update`` for a piece of a tensor, ``run`` for the chunks of a launch."""
    expression, inputs, columns = kernel.expression, kernel.inputs, kernel.expression.columns
    kinds, wide = {c: STORAGE[kind] for c, kind in kernel.kinds.items()}, kernel.real == "float64"
    lines, stores, sums, counts = body(expression, NUMBA)
    low = [c for c, _ in stores if kinds[c] in ("bf16", "f16")] if kernel.stochastic else []
    at = {c: f"at_{c}" if c in expression.inputs or own(c) != c else c for c in columns}
    text = [f"    {c}_ = {_load(at[c], kinds[c], wide)}" for c in expression.reads] + [f"    {line}" for line in lines]
    text += ["    bits = random_bits(i, start + seed)"] if low else []
    written = [(c, v, _rounding(kinds, c, c in low)) for c, v in stores]
    noise = {c: f", bits, {low.index(c)}" if c in low else "" for c, _ in stores}
    text += [f"    {at[c]}[i] = {f'{f}({v}{noise[c]})' if f else v}" for c, v, f in written]
    text += [f"    s{k} = plus(s{k}, np.float64({value}))" for k, value in enumerate(sums)]
    text += [f"    n{k} = tally(n{k}, {value})" for k, value in enumerate(counts)]
    begun = [f"s{k} = 0.0" for k in range(len(sums))] + [f"n{k} = np.int32(0)" for k in range(len(counts))]
    if kernel.norm:
        text += [f"    s{len(sums)} = plus(s{len(sums)}, np.float64(g_) * np.float64(g_))"]
        begun += [f"s{len(sums)} = 0.0"]
    totals = [line.split(" ")[0] for line in begun]
    head = scalars(expression, inputs)
    parted = len(expression.reads) == 1 and not stores
    piece, loop = "", [*begun, "for i in range(size):", *text]
    if not set(kinds.values()) <= {"bf16", "f16"}:  # whose arithmetic takes longer than their memory
        taken = [*at.values(), *(f"h{k}" for k in range(len(hyper(expression)))), *["start", "seed"] * bool(low)]
        reads = [at[c] for c in expression.reads]
        piece, loop = _pieces(taken, [*begun, "for i in range(begin, end):", *text], reads, totals, parted)
    loop += [f"sums[{k}] = {t}" for k, t in enumerate(totals)]
    pointers = [f"{kinds[c]}(table[{kernel.place(c)}], start)," for c in columns]
    pointers += ["size,", "f64(call[ROWS], row * call[N_INPUTS]),", "f64(call[SUMS], c * call[N_SUMS]),", "start,"]
    pointers += ["i64(call[SEEDS], k)[0],"]
    primitives = {kinds[c] for c in columns} | {"f64", "i64", "next_block", *CALL}
    primitives |= {f"from_{kinds[c]}" for c in expression.reads if kinds[c] in ("bf16", "f16")}
    primitives |= {function for _, _, function in written if function}
    primitives |= {"random_bits"} if low else set()
    summed = bool(sums) or kernel.norm
    primitives |= ({"tally"} if counts else set()) | ({"plus"} if summed else set())
    primitives |= {"exactly", "whole_sum"} if summed and piece else set()
    primitives |= ({"PIECE", "prefetch"} | ({"LONG", "PARTS"} if parted else set())) if piece else set()
    used = "\n".join([*head, *lines, *(v for _, v in stores), *sums, *counts])
    maths = ", ".join(name for name in ("exp", "log", "sqrt") if f"{name}(" in used)
    maths = f"from math import {maths}\n" if maths else ""
    primitives |= {name for name in ("maximum", "minimum", "sign", "where") if f"{name}(" in used}
    names = "\n    ".join(textwrap.wrap(", ".join(sorted(primitives)), 112))
    return (
        HEAD.format(title=kernel.title, maths=maths, primitives=names, real=kernel.real)
        + piece
        + f"{NJIT}\ndef update({', '.join(at.values())}, size, row, sums, start, seed):\n"
        + textwrap.indent("\n".join([*head, *loop]), "    ")
        + RUN.format(arguments=textwrap.indent("\n".join(pointers), " " * 16))
    )


def _pieces(
    taken: Sequence[str], text: Sequence[str], reads: Sequence[str], totals: Sequence[str], parted: bool
) -> tuple[str, list[str]]:
    """A function for a piece, and the loop that calls it, adds what it sums, and asks for what is needed later.

    Memory hands over a single column sooner if some parts of it are read side by side.
    """
    given, got = ", ".join(taken), ", ".join(f"{t}_" for t in totals)
    lines = [*text, *([f"return {', '.join(totals)}"] if totals else [])]
    added = [f"{t}, e{t} = exactly({t}, e{t}, {t}_)" if t[0] == "s" else f"{t} += {t}_" for t in totals]
    call = f"{got} = piece({given}, " if totals else f"piece({given}, "
    loop = [f"{t} = {'0.0' if t[0] == 's' else 'np.int32(0)'}" for t in totals]
    loop += [f"e{t} = 0.0" for t in totals if t[0] == "s"]
    each = [*(f"prefetch({column}, begin)" for column in reads), f"{call}begin, begin + PIECE)", *added]
    if parted:
        loop += ["parts = PARTS if size >= LONG else 1", "part = size // (parts * PIECE) * PIECE"]
        loop += ["whole = parts * part", "for first in range(0, part, PIECE):"]
        loop += ["    for begin in range(first, whole, part):", *(f"        {line}" for line in each)]
    else:
        loop += [
            "whole = size - size % PIECE",
            "for begin in range(0, whole, PIECE):",
            *(f"    {line}" for line in each),
        ]
    loop += [f"{call}whole, size)", *added]
    loop += [f"{t} = whole_sum({t}, e{t})" for t in totals if t[0] == "s"]
    body = textwrap.indent("\n".join(lines), "    ")
    return f"{NJIT[:-1]}, forceinline=True)\ndef piece({given}, begin, end):\n{body}\n\n\n", loop


def _load(column: str, kind: str, wide: bool) -> str:
    value = f"from_{kind}({column}[i])" if kind in ("bf16", "f16") else f"{column}[i]"
    return f"real({value})" if wide and kind != "f64" else value


def _rounding(kinds: Mapping[str, str], column: str, at_random: bool) -> str:
    """The function that rounds what is written to a column; "": none does."""
    if kinds[column] not in ("bf16", "f16"):
        return ""
    verb = "keep" if set(kinds.values()) == {"bf16"} else "to"
    return f"{verb}_{kinds[column]}{'_at_random' * at_random}"
