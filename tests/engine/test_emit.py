import ast
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import optim, rules
from thalweg.engine import cpu, emit, reference
from thalweg.engine.kernel import Kernel
from thalweg.engine.trace import trace
from thalweg.rules.links import Links, compose
from thalweg.rules.rule import spread

sys.path.insert(0, str(Path(__file__).parent))
from own_rules import make

NONE = Links()
DTYPES = ("float32", "float64", "bfloat16", "float16")


def kernel(name, dtype="float32", links=NONE, stochastic=False, **options):
    """The text of the kernel of a rule of the table."""
    rule = rules.get(name)
    program, options = compose(rule, links), spread({**rule.defaults, **options})
    statics = {k: v for k, v in options.items() if k in program.inputs and (v is None or isinstance(v, bool | str))}
    active = [state if state.when(options) else None for state in program.state]
    expression = trace(program, statics, active)
    letters = ["p", "g", *(state.letter for state in active if state is not None and not state.scalar)]
    dtypes = tuple((letter, dtype) for letter in letters)
    return emit.numba(Kernel(expression, dtypes, expression.inputs, rule.title, stochastic))


ADAMW = '''"""AdamW

Made from the rule: a change here is lost.
"""

import numpy as np
from math import sqrt
from numba import cfunc, njit

from thalweg.engine.primitives import (
    BLOCK, CHUNKS, N_CHUNKS, N_COLUMNS, N_INPUTS, N_SUMS, PIECE, ROWS, SEEDS, SUMS, TABLE, f32, f64, i64,
    next_block, prefetch,
)

real = np.float32


@njit(error_model="numpy", fastmath={"nsz"}, forceinline=True)
def piece(p, g, m, v, h0, h1, h2, h3, h4, h5, h6, h7, begin, end):
    for i in range(begin, end):
        p_ = p[i]
        g_ = g[i]
        m_ = m[i]
        v_ = v[i]
        x0 = h0 * m_ + h1 * g_
        x1 = h2 * v_ + h3 * g_ * g_
        p[i] = p_ - h6 * x0 / (sqrt(x1) * h4 + h5) - h7 * p_
        m[i] = x0
        v[i] = x1


@njit(error_model="numpy", fastmath={"nsz"})
def update(p, g, m, v, size, row, sums, start, seed):
    lr = row[0]
    beta1 = row[1]
    beta2 = row[2]
    eps = row[3]
    t = row[4]
    weight_decay = row[5]
    h0 = real(beta1)
    h1 = real(1.0 - beta1)
    h2 = real(beta2)
    h3 = real(1.0 - beta2)
    h4 = real(1.0 / (1.0 - beta2 ** t) ** 0.5)
    h5 = real(eps)
    h6 = real(lr / (1.0 - beta1 ** t))
    h7 = real(lr * weight_decay)
    whole = size - size % PIECE
    for begin in range(0, whole, PIECE):
        prefetch(p, begin)
        prefetch(g, begin)
        prefetch(m, begin)
        prefetch(v, begin)
        piece(p, g, m, v, h0, h1, h2, h3, h4, h5, h6, h7, begin, begin + PIECE)
    piece(p, g, m, v, h0, h1, h2, h3, h4, h5, h6, h7, whole, size)


@cfunc("void(CPointer(int64))")
def run(call):
    chunks, end, block = i64(call[CHUNKS], 0), call[N_CHUNKS], call[BLOCK]
    first = next_block(call, block)
    while first < end:
        for c in range(first, min(first + block, end)):
            k, start, size, row = chunks[4 * c], chunks[4 * c + 1], chunks[4 * c + 2], chunks[4 * c + 3]
            table = i64(call[TABLE], k * call[N_COLUMNS])
            update(
                f32(table[0], start),
                f32(table[1], start),
                f32(table[2], start),
                f32(table[3], start),
                size,
                f64(call[ROWS], row * call[N_INPUTS]),
                f64(call[SUMS], c * call[N_SUMS]),
                start,
                i64(call[SEEDS], k)[0],
            )
        first = next_block(call, block)
'''


def test_a_kernel_can_be_read():
    assert kernel("adamw", links=Links(decay="decoupled")) == ADAMW


@pytest.mark.parametrize("name", rules.TABLE)
def test_every_kernel_is_python_and_says_what_it_uses(name):
    links = Links(scale=True, maximize=True, clip=True, clip_value=True, decay="cautious", cautious="before", ema=True)
    for dtype in DTYPES:
        for stochastic in (False, True):
            text = kernel(name, dtype, links, stochastic)
            tree = ast.parse(text)
            imported = {
                alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.module == "thalweg.engine.primitives"
                for alias in node.names
            }
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert imported <= used, imported - used
            assert ("random_bits" in text) == (stochastic and dtype in ("bfloat16", "float16"))
            assert max(map(len, text.splitlines())) <= 320


def test_the_text_is_the_same_in_every_process():
    code = "import sys; sys.path.insert(0, sys.argv[1]); from test_emit import kernel; print(kernel('nadam'), end='')"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1",)
    }
    assert texts == {kernel("nadam")}


def test_lines_do_not_become_a_staircase_of_names():
    assert kernel("adam").count(" = ") < 30 and "x2" not in kernel("adam")


def step(update, letters, values, dtype=torch.float64, engine="auto", **facts):
    """p and the states after a step of one's own rule."""
    p, g, *states = (torch.tensor(v, dtype=dtype) for v in values)
    p = torch.nn.Parameter(p)
    opt = optim.optimizer_class(make(update, *letters, **facts))([p], lr=0.5, engine=engine)
    opt.state[p].update({f"state_{letter}": x for letter, x in zip(letters, states, strict=True)})
    p.grad = g
    opt.step()
    return [p.detach(), *(opt.state[p][f"state_{letter}"] for letter in letters)]


def chain(xp, p, g, m, *, lr):
    return p - lr * xp.where((g > 0) == (m > 0), 1.0, -2.0), m


def negative_base(xp, p, g, m, *, lr):
    return p - g * (-2.0) ** (4 * lr), m


def infinite(xp, p, g, m, *, lr):
    return xp.minimum(p, math.inf) - lr * xp.maximum(g, -math.inf), xp.where(g > 0, math.nan, -math.inf)


def host_condition(xp, p, g, m, *, lr):
    return p - xp.where(lr, g, m) - lr * p, xp.where(1.0, g, m)


def comparison_as_number(xp, p, g, m, *, lr):
    return p - lr * (g > 0) * m, (g > 0) + 0.0


def negations(xp, p, g, m, *, lr):
    return -(-p - g) - -lr * -(m * g), -((-m) ** 3)


def brackets(xp, p, g, m, *, lr):
    return p - (g - (m - lr)) - lr / (g / (m / 3)), (g + m) * (g - m) / (p * (m / g))


TRICKY = [chain, negative_base, infinite, host_condition, comparison_as_number, negations, brackets]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("update", TRICKY, ids=lambda update: update.__name__)
def test_tricky_expressions(update, dtype):
    values = ([1.0, -2.0, 0.5, 3.0] * 5, [0.5, -1.5, 2.0, -0.25] * 5, [-1.0, -0.5, 4.0, 2.0] * 5)
    for got, want in zip(*(step(update, "m", values, dtype, e) for e in ("numba", "reference")), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=0, equal_nan=True)


def named(xp, p, g, row, t0, n, *, lr, start, i, sqrt, h0):
    return p - lr * g - start * row - i * t0 + sqrt * h0 * n, row + g * i, t0 + g, n - sqrt


def test_names_of_ones_own_do_not_meet_those_of_the_kernel():
    values = [[float(k + j) for k in range(9)] for j in range(5)]
    letters, options = ("row", "t0", "n"), ("start", "i", "sqrt", "h0")
    results = [step(named, letters, values, engine=engine, options=options) for engine in ("numba", "reference")]
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-15, atol=0)


def scalar_names(xp, p, g, np, c, *, lr, row):
    return p - np * g - c * row, np + row, c * lr


def test_scalar_states_too():
    state = (rules.State("np", "one", initial=1.0, scalar=True), rules.State("c", "two", initial=2.0, scalar=True))
    cls = optim.optimizer_class(make(scalar_names, state=state, options=("row",)))
    ends = []
    for engine in ("numba", "reference"):
        p = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))
        opt = cls([p], lr=0.5, engine=engine)
        for _ in range(3):
            p.grad = torch.ones_like(p)
            opt.step()
        ends.append((p.detach(), opt.state[p]["one"], opt.state[p]["two"]))
    assert ends[0][1] == 1.75 and ends[0][2] == 0.25
    for got, want in zip(*ends, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-15, atol=0)


def test_a_rule_that_uses_the_number_of_elements_gets_each_tensors_own():
    def update(xp, p, g, *, lr, n):
        return (p - lr * n * g,)

    ps = [torch.nn.Parameter(torch.zeros(n)) for n in (1, 2, 3, 2)]
    opt = optim.optimizer_class(make(update))(ps, lr=1.0)
    for p in ps:
        p.grad = torch.ones_like(p)
    opt.step()
    assert [p[0].item() for p in ps] == [-1, -2, -3, -2]


# Random expressions: a tree is a leaf or (operation, trees...).
LEAVES = st.one_of(
    st.sampled_from(["p", "g", "m", "lr", "a"]),
    st.floats(-3, 3, allow_nan=False).map(lambda x: round(x, 2)),
)


def _grown(trees):
    return st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "<", "=="]), trees, trees),
        st.tuples(st.sampled_from(["sqrt", "abs", "sign", "neg", "square"]), trees),
        st.tuples(st.sampled_from(["maximum", "minimum"]), trees, trees),
        st.tuples(st.just("where"), trees, trees, trees),
    )


TREES = st.recursive(LEAVES, _grown, max_leaves=12)


def evaluate(tree, xp, known):
    if isinstance(tree, str):
        return known[tree]
    if isinstance(tree, float):
        return tree
    op, *args = tree
    args = [evaluate(arg, xp, known) for arg in args]
    if op in "+-*/":
        return {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y, "/": lambda x, y: x / y}[op](
            *args
        )
    if op in ("<", "=="):
        x, y = args
        return xp.where(x < y if op == "<" else x == y, 1.0, 0.0)
    if op == "neg":
        return -args[0]
    if op == "square":
        return args[0] ** 2
    if op == "where":
        return xp.where(args[0] > 0, args[1], args[2])
    return getattr(xp, op)(*args)


class Direct:
    """xp for NumPy arrays and numbers."""

    def __getattr__(self, name):
        return getattr(np, name)


@given(st.lists(TREES, min_size=8, max_size=8))
@settings(max_examples=4, derandomize=True)
def test_random_expressions_mean_what_they_say(trees):
    letters = [f"m{i}" for i in range(len(trees))]  # a state for each tree, so that one kernel holds them all

    def update(xp, p, g, *states, lr, a):
        return (
            p,
            *(evaluate(tree, xp, {"p": p, "g": g, "m": states[0], "lr": lr, "a": a}) + 0.0 * p for tree in trees),
        )

    generator = np.random.default_rng(0)
    columns = [np.round(generator.normal(size=17), 1) for _ in range(2 + len(letters))]
    _, *got = step(update, letters, [c.tolist() for c in columns], options=("a",), engine="numba")
    known = {"p": columns[0], "g": columns[1], "m": columns[2], "lr": np.float64(0.5), "a": np.float64(0.25)}
    with np.errstate(all="ignore"):
        for tree, x in zip(trees, got, strict=True):
            want = evaluate(tree, Direct(), known) + 0.0 * columns[0]
            # A division by a host number is a product with its reciprocal, and a product and a sum may be fused.
            np.testing.assert_allclose(x.numpy(), want, rtol=1e-9, atol=1e-9, err_msg=repr(tree))


def test_a_kernel_of_a_rule_is_made_once():
    before = cpu.compiled.cache_info().currsize
    for _ in range(3):
        p = torch.nn.Parameter(torch.ones(3))
        p.grad = torch.ones(3)
        optim.AdamW([p]).step()
    assert cpu.compiled.cache_info().currsize <= before + 1
    assert reference.Namespace.sqrt(4.0) == 2
