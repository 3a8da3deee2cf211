"""The CPU engine: emitted Numba kernels, run by torch's own threads."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thalweg.engine import cache as disk
from thalweg.engine import emit, host, native
from thalweg.engine.kernel import Kernel
from thalweg.engine.trace import Expression

CHUNKS = 16_384, 131_072  # numbers of one tensor that a thread takes at a time, at least and at most
SMALL = 24_576  # numbers in all, below which waking the threads takes longer than the arithmetic

_FORKED = False


def _forked() -> None:
    global _FORKED
    _FORKED = True  # the threads stayed in the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@cache
def compiled(kernel: Kernel) -> Any:
    """The kernel as a function of the address of a call's table, which runs without Python's lock."""
    text = emit.numba(kernel)
    name = f"{kernel.title.lower()}_{disk.key(text, native.host())}"
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(native.function(name, text))


@cache
def folded(expression: Expression) -> Callable[..., Any]:
    """The new values of an expression's scalar states as a NumPy function."""
    scope: dict[str, Any] = {"np": np, "host": host}
    exec(compile(emit.fold(expression), "<fold>", "exec"), scope)
    return scope["fold"]  # type: ignore[no-any-return]


@cache
def _parallel() -> Any:
    """``GOMP_parallel`` of the OpenMP library that torch itself uses; None where torch has another."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        function = ctypes.CDLL(str(path)).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="thalweg")


def chunk(numbers: int) -> int:
    """How many numbers of one tensor a thread takes at a time, of so many in all: a power of two, about a 512th."""
    least, most = CHUNKS
    return min(most, max(least, 1 << (numbers // 512).bit_length() >> 1))


def launch(kernel: Any, address: int, numbers: int) -> None:
    """Run a kernel over the chunks of a call, with as many threads as torch has.

    Args:
        kernel: from `compiled`.
        address: of the integers that describe the launch; the first, the counter of blocks, is 0.
        numbers: how many numbers there are in all.
    """
    threads = 1 if _FORKED or numbers <= SMALL else torch.get_num_threads()
    if threads == 1:
        kernel(address)
        return
    parallel = _parallel()
    if parallel is not None:
        parallel(kernel, address, threads, 0)
        return
    waiting = [_pool().submit(kernel, address) for _ in range(threads - 1)]
    kernel(address)
    for future in waiting:
        future.result()
