"""The GPU engine: emitted Triton kernels, one launch for the blocks of all tensors of a section."""

from __future__ import annotations

import inspect
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.engine import cache as disk
from thalweg.engine import emit_triton
from thalweg.engine.kernel import Kernel
from thalweg.engine.trace import Expression

if TYPE_CHECKING:
    from thalweg.engine.plan import Floats, Section

CHUNK = 2048  # numbers that a program takes: 8 a thread, which for every dtype are whole loads of 16 bytes
# Products and sums are not fused. An update is bound by memory, so that fusing gains nothing, and without it the GPU
# rounds operation by operation, as the reference and Triton's interpreter do. (Triton 3.5 takes denormal numbers for 0
# in roots and quotients, 3.9 does not.)
OPTIONS = {"num_warps": 8, "enable_fp_fusion": False}


@cache
def compiled(kernel: Kernel) -> ModuleType:
    """The module of a kernel: ``hyper`` for the host, ``run`` for the device, compiled when it is first run."""
    import triton

    text = emit_triton.triton(kernel)
    name = f"{kernel.title.lower()}_triton_{disk.key(text, triton.__version__, _primitives())}"
    return disk.load(name, text, lambda module: module.run)


@cache
def _primitives() -> str:
    from thalweg.engine import primitives_triton

    return inspect.getsource(primitives_triton)


class Pass:
    """One kernel over the blocks of a section, whose tensors are on one device.

    Addresses, host scalars and seeds travel to the device in one copy before each launch; the list of chunks is there.

    Args:
        section: whose tensors.
        expression: what to do to their elements.
        wide: calculate in float64.
    """

    def __init__(self, section: Section, expression: Expression, wide: bool = False) -> None:
        self.expression, self.made_of = expression, section.variant.kernel(expression, section.inputs, wide)
        self._module = compiled(self.made_of)
        self._section, self._device = section, section.members[0].p.device
        names = emit_triton.taken(self.made_of)
        self._inputs = [section.inputs.index(name) for name in names]
        self._chunks = torch.from_numpy(section.chunks).to(self._device)
        columns = len(expression.sums) + len(expression.shares)
        self.sums = np.zeros((len(section.chunks), max(1, columns)))
        self._sums = torch.zeros(self.sums.shape, dtype=torch.float64, device=self._device) if columns else self._chunks

    def source(self) -> str:
        """The text of the kernel's module."""
        return emit_triton.triton(self.made_of)

    def run(self, numbers: int) -> None:
        """Launch the kernel, and wait for its sums if it has some."""
        if not numbers:
            return
        section = self._section
        table, values, seeds = self._upload(section.table, self._values(), section.seeds)
        with torch.cuda.device_of(self._chunks):  # type: ignore[no-untyped-call]
            run = self._module.run[(len(self.sums),)]
            run(self._chunks, table, section.table.shape[1], values, self._sums, seeds, block=CHUNK, **OPTIONS)
        if self._sums is not self._chunks:
            self.sums[:] = self._sums.cpu().numpy()

    def rechunk(self, chunks: Any) -> None:
        """Take over other sizes of the chunks."""
        self._chunks.copy_(torch.from_numpy(chunks))

    def total(self, section: Section, column: int) -> Floats:
        """A sum of each tensor, added in the order of the chunks."""
        totals = np.zeros(len(section.table))
        np.add.at(totals, section.chunks[:, 0], self.sums[:, column])
        return totals

    def _values(self) -> Any:
        """What the elements need, a row for each row of the section, calculated in float64."""
        rows = self._section.rows
        with np.errstate(all="ignore"):
            columns = self._module.hyper(*[rows[:, k] for k in self._inputs])
            values = np.empty((len(rows), max(1, len(columns))), np.dtype(self.made_of.real))
            for k, column in enumerate(columns):
                values[:, k] = column
        return values

    def _upload(self, *arrays: Any) -> list[Tensor]:
        """The arrays on the device: in one copy from pinned memory, each at a multiple of 16 bytes."""
        ends = np.cumsum([-(-array.nbytes // 16) * 16 for array in arrays]).tolist()
        starts = [0, *ends[:-1]]
        host = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        for array, start in zip(arrays, starts, strict=True):
            host.numpy()[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
        device = host.to(self._device, non_blocking=True)
        kinds = [torch.from_numpy(array).dtype for array in arrays]
        return [
            device[start : start + array.nbytes].view(kind)
            for array, start, kind in zip(arrays, starts, kinds, strict=True)
        ]
