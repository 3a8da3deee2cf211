"""How tensors lie in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

PLAIN = (Tensor, nn.Parameter, nn.Buffer)


def is_dense(p: Tensor) -> bool:
    """Whether the tensor fills its memory without holes and overlaps, in any order of its dimensions."""
    return p.is_contiguous() or torch.empty_like(p).stride() == p.stride()


def overlapping(params: Sequence[Tensor]) -> set[int]:
    """The parameters that share memory with another."""
    spans = []
    for i, p in enumerate(params):
        if p.layout is torch.strided and p.device.type in ("cpu", "cuda") and type(p) in PLAIN and p.numel():
            reach = sum((n - 1) * s for n, s in zip(p.shape, p.stride(), strict=True)) + 1
            spans.append((p.data_ptr(), p.data_ptr() + reach * p.element_size(), i))
    spans.sort()
    shared: set[int] = set()
    end, last = 0, -1
    for start, stop, i in spans:
        if start < end:
            shared |= {i, last}
        if stop > end:
            end, last = stop, i
    return shared
