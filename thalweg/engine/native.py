"""Native kernels: compiled once by Numba, kept on disk as object code, loaded by LLVM alone, without Numba."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from thalweg.engine import cache as disk

# What Numba's wrapper calls after a kernel. Its other helpers are for exceptions, which no kernel raises.
OUTSIDE = {"numba_gil_ensure": "PyGILState_Ensure", "numba_gil_release": "PyGILState_Release"}
_KEPT: list[Any] = []  # LLVM frees the code with its engine


@cache
def host() -> str:
    """What object code is made for and from, besides its text: processor, versions, the source of the primitives."""
    import llvmlite.binding as llvm

    machine = platform.machine(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    primitives = (Path(__file__).parent / "primitives.py").read_text(encoding="utf-8")
    return "\n".join((*machine, version("numba"), version("llvmlite"), primitives))


def function(name: str, text: str) -> int:
    """The address of ``run`` of an emitted module, a C function of the address of a call's table.

    Args:
        name: a file name that stands for the text and for `host`.
        text: the module.

    Returns:
        The address. The code lives as long as the process.
    """
    with disk.LOCK:
        kept = disk.read(f"{name}.o")
        if kept is not None:
            try:
                return _loaded(kept)
            except Exception:
                disk.forget(f"{name}.o")
        with _collecting_nothing():  # Numba makes a million objects: looking for garbage among them takes a fifth
            _load_numba()
            module = disk.in_memory(name, text)
        library = module.run._library
        code = library.serialize_using_object_code()[2][0]
        needed = [f.name for f in library._final_module.functions if f.is_declaration and f.name[:5] != "llvm."]
        disk.write(f"{name}.o", " ".join([module.run._wrapper_name, *needed]).encode() + b"\n" + code)
        _KEPT.append(module)
        return int(module.run.address)


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Inside, Python's collector of reference cycles rests."""
    worked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if worked:
            gc.enable()


def _load_numba() -> None:
    """Import Numba's arrays without SciPy's linear algebra, a third of the time: it only looks whether that is there."""
    if "numba.np.arraymath" in sys.modules:
        return
    name = "scipy.linalg.cython_blas"
    absent = name not in sys.modules
    if absent:
        sys.modules[name] = ModuleType(name)
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        if absent:
            del sys.modules[name]


def _loaded(kept: bytes) -> int:
    """Hand object code to LLVM; the first line names its function and those that it calls."""
    import llvmlite.binding as llvm

    head, code = kept.split(b"\n", 1)
    symbol, *needed = head.decode().split(" ")
    _prepare()
    for name in needed:
        _provide(name)
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = int(engine.get_function_address(symbol))
    if address == 0:
        raise ImportError(f"no function {symbol}")
    _KEPT.append(engine)
    return address


@cache
def _prepare() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _provide(name: str) -> None:
    """Tell LLVM of what the process itself does not export: a single name without address would leave all at 0."""
    import llvmlite.binding as llvm

    if not hasattr(ctypes.CDLL(None), name):
        there = getattr(ctypes.pythonapi, OUTSIDE.get(name, "PyErr_Clear"))
        llvm.add_symbol(name, ctypes.cast(there, ctypes.c_void_p).value)
