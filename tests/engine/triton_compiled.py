"""Emitted Triton kernels compiled for sm_90, without a GPU: run by test_triton.py in a process of its own."""

import re
import subprocess
import tempfile
from pathlib import Path

import triton
from odd_rule import ODD
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from thalweg import rules
from thalweg.engine import cache, emit_triton, gpu
from thalweg.engine.kernel import Kernel
from thalweg.engine.trace import trace, trace_measure
from thalweg.engine.variant import DTYPES
from thalweg.rules.links import Links, compose

SIZE = {DTYPES[dtype]: dtype.itemsize for dtype in DTYPES}
TARGET = GPUTarget("cuda", 90, 32)
TYPES = {
    **{"chunks": "*i64", "table": "*i64", "width": "i32", "values": "*fp32"},
    **{"sums": "*fp64", "seeds": "*i64", "block": "constexpr"},
}
ALIGNED = {(k,): [["tt.divisibility", 16]] for k in (0, 1, 3, 4, 5)}
CUOBJDUMP = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
FLUSHES = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 9)  # 3.5 flushes denormals in roots and quotients
SLOW = re.compile(r"div\.(full|approx)|(sqrt|rsqrt|rcp|ex2|lg2)\.approx(\.ftz)?\.f32|fma\.rn\.f32|(mul|add|sub)\.ftz")


def kernels(rule, dtype="float32", states=None, links=None, stochastic=False):
    """The kernels of a rule: its measures and its update."""
    links = links or Links(decay="decoupled")
    options, program = rule.defaults, compose(rule, links)
    active = tuple(state if state.when(options) else None for state in program.state)
    known = {name: options[name] for name in program.inputs if name in options}
    statics = {name: value for name, value in known.items() if value is None or isinstance(value, bool | str)}
    letters = [state.letter for state in active if state is not None and not state.scalar]
    dtypes = (("p", dtype), ("g", dtype), *((letter, states or dtype) for letter in letters))
    for measure in program.measures:
        expression = trace_measure(measure.of, program, statics, active)
        yield Kernel(expression, dtypes, expression.inputs, rule.title)
    expression = trace(program, statics, active)
    yield Kernel(expression, dtypes, expression.inputs, rule.title, stochastic)


def compiled(kernel):
    """What Triton makes of a kernel for an H100."""
    types = {**TYPES, "values": "*fp64" if kernel.real == "float64" else "*fp32"}
    source = ASTSource(gpu.compiled(kernel).run, types, {"block": gpu.CHUNK}, ALIGNED)
    return triton.compile(source, target=TARGET, options=gpu.OPTIONS)


def check(kernel):
    """Exact roots and quotients, nothing fused, whole loads of 16 bytes, nothing spilled."""
    made = compiled(kernel)
    ptx, text = made.asm["ptx"], emit_triton.triton(kernel)
    real = "f64" if kernel.real == "float64" else "f32"
    assert not SLOW.search(ptx), SLOW.search(ptx)
    assert FLUSHES or ".rn.ftz" not in ptx
    for function, instruction in (("root(", "sqrt"), ("quotient(", "div")):
        assert (function in text) == bool(re.search(rf"{instruction}\.rn(\.ftz)?\.{real}", ptx)), instruction
    dtypes, expression = dict(kernel.dtypes), kernel.expression
    threads = 32 * gpu.OPTIONS["num_warps"]
    for name, columns in (("ld", expression.reads), ("st", expression.writes)):
        whole = len(re.findall(rf"{name}\.global\.v(?:4\.b32|2\.b64|8\.b16)", ptx))
        assert whole == sum(SIZE[dtypes[c]] * gpu.CHUNK // (16 * threads) for c in columns), (name, whole)
    if "cubin" in made.asm and CUOBJDUMP.exists():
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(made.asm["cubin"])
            run = subprocess.run([CUOBJDUMP, "--dump-resource-usage", file.name], capture_output=True, text=True)
        assert "STACK:0 " in run.stdout and "LOCAL:0 " in run.stdout, run.stdout


def everything():
    """What is compiled, with a name."""
    for name, rule in rules.TABLE.items():
        yield name, kernels(rule)
    adamw = rules.get("adamw")
    for dtype in ("float64", "bfloat16", "float16"):
        yield f"adamw {dtype}", kernels(adamw, dtype)
    for dtype in ("bfloat16", "float16"):
        yield f"adamw {dtype} at random", kernels(adamw, dtype, stochastic=True)
    yield "adamw bfloat16 with float32 states", kernels(adamw, "bfloat16", "float32")
    yield (
        "all links",
        kernels(adamw, links=Links(scale=True, maximize=True, clip_value=True, cautious="before", ema=True)),
    )
    yield "exact share", kernels(adamw, links=Links(cautious="exact", decay="cautious"))
    for dtype in ("float32", "float64"):
        yield f"every function {dtype}", kernels(ODD, dtype)


def in_memory():
    """Triton finds the source of a module that could not be written."""
    kernel = next(iter(kernels(rules.get("sgd"), links=Links(clip=True))))
    module = cache.in_memory("sgd_triton_in_memory", emit_triton.triton(kernel))
    source = ASTSource(module.run, TYPES, {"block": gpu.CHUNK}, ALIGNED)
    assert triton.compile(source, target=TARGET, options=gpu.OPTIONS).asm["ptx"]


if __name__ == "__main__":
    wrong = total = 0
    for name, found in everything():
        for kernel in found:
            total += 1
            try:
                check(kernel)
            except Exception as error:
                wrong += 1
                print(f"{name}: {type(error).__name__}: {error}")
    in_memory()
    print(f"{total} kernels, {wrong} wrong")
