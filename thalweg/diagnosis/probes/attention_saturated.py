"""Attention that looks at one place only before anything is learnt: logits that are not divided by √d."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ... import trial
from ...building import fresh
from ...modes import evaluating
from ...prepared import fixed_weights
from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("attention-saturated",)
LEAST = 4  # places to look at
PEAK = 0.5  # mean share of the largest weight, for rows of LEAST places and more


class _Softmaxes(TorchDispatchMode):
    """Keeps how peaked each softmax over a square of places is."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peaks: list[float] = []

    def look(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator."""
        out = func(*args, **(kwargs or {}))
        if (
            "softmax" in str(func)
            and isinstance(out, Tensor)
            and out.ndim >= 3
            and out.shape[-1] == out.shape[-2] >= LEAST
        ):
            allowed = (out > 0).sum(-1)
            rows = out[allowed >= LEAST]
            if rows.numel():
                self.peaks.append(float(rows.amax(-1).mean()))
        return out


_Softmaxes.__torch_dispatch__ = _Softmaxes.look  # type: ignore[assignment]


def look(exam: Examination) -> Iterator[Finding]:
    """The mean of the largest weight of each row of attention; weights that are kept have learned where to look."""
    if exam.trained or fixed_weights(exam.task):
        return
    model, seen = exam.copy(), _Softmaxes()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), evaluating(model), sdpa_kernel(SDPBackend.MATH), seen:
            trial.call(model, fresh(exam.batch).inputs)
    except Exception as error:
        raise NotMeasured(f"the model does not run on its inputs alone: {error}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    if not seen.peaks or max(seen.peaks) < PEAK:
        return
    k = seen.peaks.index(max(seen.peaks))
    yield Finding(
        CODES[0], exam.severity(), f"softmax {k + 1} of {len(seen.peaks)}",
        f"Before training the largest attention weight of a row is {seen.peaks[k]:.2f} on average: the softmax "
        f"is at its flat end "
        "and gives little gradient.",
        {"largest weight": Evidence(seen.peaks[k], PEAK)}, 0.9,
        Remedy("divide the logits of attention by √d, or use F.scaled_dot_product_attention; start its weights smaller"),
    )  # fmt: skip
