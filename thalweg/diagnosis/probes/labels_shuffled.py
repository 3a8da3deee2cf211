"""Labels that have nothing to do with the inputs, or of which most are not theirs: tests of independence, and of agreement."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ...data import Feed
from ..examination import SURE, Examination, NotMeasured
from ..findings import Evidence, Finding, Remedy

CODES = ("labels-shuffled",)
ROWS, LEAST = 700, 200
DRAWS = 60  # permutations
WIDEST = 20_000  # numbers of a row
Z = 5.0  # standard deviations of the permuted ones, above which labels and inputs belong together
NEIGHBOURS = 5
MOST = (
    0.5  # of the agreement among validation rows, which that of the training rows is surely below: half of the labels
)


def look(exam: Examination) -> Iterator[Finding]:
    """Dependence as kernels see it (HSIC), against the same with the labels permuted; agreement with validation rows."""
    x, y = _rows(exam, exam.data.train)
    if len(x) < LEAST:
        raise NotMeasured(f"needs {LEAST} rows")
    z = dependence(x, _numbers(y, exam.kind), exam.seed)
    if z > Z or exam.generalizes:
        yield from _mostly(exam, x, y)
        return
    yield Finding(
        CODES[0], "error", "train",
        f"Inputs and labels look independent: their dependence is {z:.1f} standard deviations above that of permuted "
        f"labels, over {len(x)} rows.",
        {"dependence": Evidence(z, Z, 1.0)}, 0.9,
        Remedy("check how inputs and labels were joined: sort both by the same key, and never shuffle one alone"),
    )  # fmt: skip


def _rows(exam: Examination, feed: Feed) -> tuple[Tensor, Tensor]:
    x, y = exam.rows(feed, 4 * ROWS)
    if y is None or exam.kind not in ("classification", "binary", "regression", "language-model"):
        raise NotMeasured("needs inputs of one tensor, and one label a row or a place")
    kinds = 0 if x.is_floating_point() else _kinds(exam)
    x, y = _places(x, y, kinds) if exam.kind == "language-model" else (_vectors(x, kinds), y)
    few = torch.randperm(len(x), generator=torch.Generator().manual_seed(exam.seed))[:ROWS]  # they may be sorted
    return x[few], y[few]


def _kinds(exam: Examination) -> int:
    """How many codes there are: some rows may lack those that others have."""
    data = exam.data
    return 1 + max(int(exam.rows(feed, 4 * ROWS)[0].max()) for feed in (data.train, data.select, data.judge))


def _mostly(exam: Examination, x: Tensor, y: Tensor) -> Iterator[Finding]:
    """Whether most training labels are not what validation rows nearby have, while those agree among themselves."""
    known = [_rows(exam, feed) for feed in (exam.data.select, exam.data.judge)]
    u, v = (torch.cat(parts) for parts in zip(*known, strict=True))
    if len(u) < LEAST or u.shape[1:] != x.shape[1:]:
        return
    numbers = _numbers(torch.cat([y, v]), exam.kind)
    right, error, z = agreement(x, numbers[: len(y)], u, numbers[len(y) :])
    if z < SURE:
        return
    yield Finding(
        CODES[0], "error", "train",
        f"About {1 - max(right, 0.0):.0%} of the training labels are not theirs: they agree {right:.2f} ± {error:.1g} times as "
        f"often with the labels of validation rows nearby as those do among themselves.",
        {"agreement": Evidence(right, MOST, error), "below by standard errors": Evidence(z, SURE)}, 0.9,
        Remedy("check how inputs and labels were joined: sort both by the same key, and never shuffle one alone"),
    )  # fmt: skip


def agreement(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> tuple[float, float, float]:
    """The share of labels that are right, held against rows whose labels are: the ratio of two agreements.

    A row agrees by (y − v̄)ᵀ(v̂ − v̄), where v̂ is the mean label of the reference rows nearby, itself left out. A label
    that was drawn at random agrees by 0 on average, so the mean over rows falls in proportion to the share of right ones.

    Args:
        x: (N, d), rows that are asked about.
        y: (N, k), their labels, classes as 0 and 1.
        u: (M, d), reference rows.
        v: (M, k), their labels.

    Returns:
        The ratio, its standard error (rows drawn independently), and by how many standard errors it is below `MOST`:
        those of the numerator less `MOST` times the denominator, so that a denominator near zero proves nothing.

    Example:
        >>> random = torch.Generator().manual_seed(0)
        >>> x, u = torch.rand(1000, 1, generator=random), torch.rand(1000, 1, generator=random)
        >>> y = x.clone()
        >>> y[:800] = x[torch.randperm(800, generator=random)]
        >>> share, error, z = agreement(x, y, u, u)
        >>> abs(share - 0.2) < 3 * error < 0.2, z > 5, agreement(x, x, u, u)[2] < 0
        (True, True, True)
    """
    mean, scale = u.double().mean(0), u.double().std(0)
    scale[scale <= 1e-6 * scale.max()] = math.inf  # a number that is the same everywhere tells no row from another
    x, u = ((part.double() - mean) / scale for part in (x, u))
    centre, spread = v.double().mean(0), v.double().std(0).clamp(min=1e-12)
    y, v = ((part.double() - centre) / spread for part in (y, v))
    among, apart = (torch.cdist(part, u, compute_mode="donot_use_mm_for_euclid_dist") for part in (u, x))
    among[among == 0] = math.inf  # itself, and its doubles
    own, theirs = (
        (labels * v[distance.topk(NEIGHBOURS, largest=False).indices].mean(1)).sum(1)
        for labels, distance in ((v, among), (y, apart))
    )
    a, b = float(theirs.mean()), float(own.mean())
    noise_a, noise_b = (float(part.var()) / len(part) for part in (theirs, own))
    z = (MOST * b - a) / max(math.sqrt(noise_a + MOST**2 * noise_b), 1e-300)
    if b <= 0:
        return math.nan, math.inf, -math.inf
    return a / b, math.sqrt(noise_a + (a / b) ** 2 * noise_b) / b, z


def _vectors(x: Tensor, kinds: int) -> Tensor:
    """Rows of numbers; of so many kinds of codes, which code stands at which place."""
    if x.is_floating_point():
        return x.flatten(1)
    if kinds * x[0].numel() > WIDEST:
        raise NotMeasured(f"the inputs are {x[0].numel()} codes of {kinds} kinds")
    return torch.nn.functional.one_hot(x.long().flatten(1), kinds).flatten(1).float()


def _places(x: Tensor, y: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """A row for each place of a sequence: the code there and the one before, and the label there."""
    if x.is_floating_point() or x.shape != y.shape or x.ndim != 2 or x.shape[1] < 2:
        raise NotMeasured("needs a label for each place of a sequence of codes")
    pairs = torch.stack([x[:, :-1], x[:, 1:]], -1).reshape(-1, 2)
    few = torch.arange(0, len(pairs), max(1, len(pairs) // ROWS))
    return _vectors(pairs[few], kinds), y[:, 1:].reshape(-1)[few]


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
