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
WIDEST = 20_000  # numbers of a row
Z = 5.0  # standard deviations of the permuted ones, above which labels and inputs belong together


def look(exam: Examination) -> Iterator[Finding]:
    """Dependence as kernels see it (HSIC, linear and Gaussian), against the same with the labels permuted."""
    x, y = exam.rows(exam.data.train, 4 * ROWS)
    if y is None or exam.kind not in ("classification", "binary", "regression", "language-model"):
        raise NotMeasured("needs inputs of one tensor, and one label a row or a place")
    x, y = _places(x, y) if exam.kind == "language-model" else (_vectors(x), y)
    x, y = x[:ROWS], y[:ROWS]
    if len(x) < LEAST:
        raise NotMeasured(f"needs {LEAST} rows")
    z = dependence(x, _numbers(y, exam.kind), exam.seed)
    if z > Z or exam.generalizes:
        return
    yield Finding(
        CODES[0], "error", "train",
        f"Inputs and labels look independent: their dependence is {z:.1f} standard deviations above that of permuted "
        f"labels, over {len(x)} rows.",
        {"dependence": Evidence(z, Z, 1.0)}, 0.9,
        Remedy("check how inputs and labels were joined: sort both by the same key, and never shuffle one alone"),
    )  # fmt: skip


def _vectors(x: Tensor) -> Tensor:
    """Rows of numbers; of codes, which code stands at which place."""
    if x.is_floating_point():
        return x.flatten(1)
    kinds = int(x.max()) + 1
    if kinds * x[0].numel() > WIDEST:
        raise NotMeasured(f"the inputs are {x[0].numel()} codes of {kinds} kinds")
    return torch.nn.functional.one_hot(x.long().flatten(1), kinds).flatten(1).float()


def _places(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A row for each place of a sequence: the code there and the one before, and the label there."""
    if x.is_floating_point() or x.shape != y.shape or x.ndim != 2 or x.shape[1] < 2:
        raise NotMeasured("needs a label for each place of a sequence of codes")
    pairs = torch.stack([x[:, :-1], x[:, 1:]], -1).reshape(-1, 2)
    few = torch.arange(0, len(pairs), max(1, len(pairs) // ROWS))
    return _vectors(pairs[few]), y[:, 1:].reshape(-1)[few]


def _numbers(y: Tensor, kind: str) -> Tensor:
    if kind in ("classification", "language-model"):
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
