"""Where the gradients of a section are, read by one native call without a Python object for each."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.engine import cache as disk
from thalweg.engine import native

if TYPE_CHECKING:
    import numpy.typing as npt

# `c10::TensorImpl::grad() const`, then functions of the C interface that torch keeps stable for compiled models.
GRAD = "_ZNK3c1010TensorImpl4gradEv"
ASKED = ("dtype", "layout", "dim", "sizes", "strides", "data_ptr")
STABLE = ("delete_tensor_object", "new_tensor_handle", *(f"get_{what}" for what in ASKED))
N, HOLDS, HELD, SAME = 0, -3, -2, -1  # where in a call, as in `reading_native`
_impl = attrgetter("_cdata")  # the address of the TensorImpl; `torch.utils.swap_tensors` changes it


@cache
def _torch() -> tuple[ctypes.CDLL, list[Any]] | None:
    """Torch's library, and its functions that are called; None where it does not export them."""
    folder = Path(torch.__file__).parent / "lib"
    try:
        c10, library = (ctypes.CDLL(str(folder / f"lib{name}.so")) for name in ("c10", "torch_cpu"))
        return library, [getattr(c10, GRAD), *(getattr(library, f"aoti_torch_{name}") for name in STABLE)]
    except (OSError, AttributeError):
        return None


@cache
def _native() -> Any:
    """The compiled function. It keeps Python's lock: no other thread of Python's changes a tensor meanwhile."""
    text = (Path(__file__).parent / "reading_native.py").read_text(encoding="utf-8")
    address = native.function(f"reading_{disk.key(text, native.host())}", text)
    return ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(address)


class Reader:
    """Reads the addresses of the gradients of some parameters, and holds them where another thread may free them.

    Args:
        params: the parameters.
        planned: the same, detached: where they must be, with their layout, which is the gradients' too.
        dtype: of the gradients, "float32", "float64", "bfloat16" or "float16".
        grads: the column of addresses that is written to.
    """

    def __init__(
        self, params: Sequence[Tensor], planned: Sequence[Tensor], dtype: str, grads: npt.NDArray[np.int64]
    ) -> None:
        found = _torch()
        assert found is not None
        library, functions = found
        places = [ctypes.cast(function, ctypes.c_void_p).value for function in functions]
        kinds = [getattr(library, f"aoti_torch_dtype_{dtype}")(), library.aoti_torch_layout_strided()]
        self._params, self._run = params, _native()
        self._tensors = np.array(list(map(_impl, params)), dtype=np.int64)
        self._pointers = np.array([p.data_ptr() for p in planned], dtype=np.int64)
        layouts = [x for p in planned for x in (p.dim(), *p.shape, *p.stride())]
        self._layouts, self._grads, self._scratch = np.array(layouts, dtype=np.int64), grads, np.zeros(1, np.int64)
        self._handles = np.zeros(len(params), dtype=np.int64)
        arrays = (self._tensors, self._pointers, self._layouts, grads, self._scratch, self._handles)
        *addresses, scratch, handles = [array.ctypes.data for array in arrays]
        numbers = [len(params), *addresses, grads.strides[0] // 8, *kinds, scratch, handles, *places, 0, 0, 0]
        self._call = np.array(numbers, dtype=np.int64)
        self._address = self._call.ctypes.data

    @staticmethod
    def possible() -> bool:
        """Whether this torch can be asked."""
        return _torch() is not None

    def __call__(self) -> bool:
        """Write the addresses; False if a parameter or a gradient is not as it was."""
        self._tensors[:] = list(map(_impl, self._params))
        self._call[HOLDS] = threading.active_count() > 1
        self._run(self._address)
        return bool(self._call[SAME])

    def release(self) -> None:
        """Let go of the gradients that are held."""
        if self._call[HELD]:
            count, self._call[N] = self._call[N], 0
            self._run(self._address)
            self._call[N] = count

    def __del__(self) -> None:
        if not sys.is_finalizing():  # LLVM may have freed the code
            self.release()
