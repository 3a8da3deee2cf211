"""Labels that have nothing to do with the inputs: a test of independence."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..examination import Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("labels-shuffled",)
ROWS, LEAST = 700, 200
DRAWS = 60  # permutations
Z = 3.0  # standard deviations of the permuted ones, above which labels and inputs belong together


def look(exam: Examination) -> Iterator[Finding]:
    """Dependence as kernels see it (HSIC, linear and Gaussian), against the same with the labels permuted."""
    x, y = exam.rows(exam.data.train, ROWS)
    if y is None or exam.kind not in ("classification", "binary", "regression") or len(x) < LEAST:
        raise NotMeasured(f"needs inputs of numbers, one label a row, and {LEAST} rows")
    if not x.is_floating_point():
        raise NotMeasured("the inputs are codes, not numbers")
    z = dependence(x.flatten(1), _numbers(y, exam.kind), exam.seed)
    if z > Z or exam.generalizes:
        return
    yield Finding(
        CODES[0], "error", "train",
        f"Inputs and labels look independent: their dependence is {z:.1f} standard deviations above that of permuted "
        f"labels, over {len(x)} rows.",
        {"dependence": Evidence(z, Z, 1.0)}, 0.9,
        Remedy("check how inputs and labels were joined: sort both by the same key, and never shuffle one alone"),
    )  # fmt: skip


def _numbers(y: Tensor, kind: str) -> Tensor:
    if kind == "classification":
        return torch.nn.functional.one_hot(y.long().flatten()).double()
    return y.double().reshape(len(y), -1)


def dependence(x: Tensor, y: Tensor, seed: int = 0) -> float:
    """By how many standard deviations inputs and labels depend more than permuted ones; the larger of two kernels.

    Args:
        x: (N, d).
        y: (N, k).
        seed: of the permutations.

    Example:
        >>> x = torch.linspace(-1, 1, 300)[:, None]
        >>> dependence(x, x.abs()) > 10, dependence(x, torch.linspace(-1, 1, 300)[torch.randperm(300)][:, None]) < 5
        (True, True)

    Source: A. Gretton et al., ALT 2005.
    """
    x = x.double()
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-12)
    y = (y - y.mean(0)) / y.std(0).clamp(min=1e-12)
    apart = torch.cdist(x, x).square()
    near = apart[apart > 0]
    width = float(near.median()) if near.numel() else 1.0
    outer = _centred(y @ y.T)
    generator = torch.Generator().manual_seed(seed)
    best = -float("inf")
    for kernel in (_centred(x @ x.T), _centred(torch.exp(-apart / width)), _centred(torch.exp(-8 * apart / width))):
        seen = float((kernel * outer).sum())
        drawn = []
        for _ in range(DRAWS):
            order = torch.randperm(len(x), generator=generator)
            drawn.append(float((kernel * outer[order][:, order]).sum()))
        null = torch.tensor(drawn, dtype=torch.float64)
        best = max(best, float((seen - null.mean()) / null.std().clamp(min=1e-300)))
    return best


def _centred(k: Tensor) -> Tensor:
    return k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()
