"""Convex or not: chords that a convex loss cannot pass, and the least eigenvalue of its Hessian.

Legend: n numbers of a point, K segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..curvature import lanczos, start_vector
from ..errors import COUNT, POSITIVE, BadData, BadTask, check, optional
from .field import Field
from .rounding import last_digits, noise

HELD = 2**22  # numbers of the points that are evaluated at once, by default
PLACES = 3  # where the Hessian is looked at: the center and two others
PRODUCTS = 30  # with it, at each
NEAREST = 1e-2  # of the radius: the shortest way from the center to the end of a random segment
STEPS = (0.5, 1e-1, 1e-2, 1e-3)  # of the radius: half lengths of the segments along eigenvectors
SURE = 10.0  # standard deviations of the rounding
PRODUCT = 1e-8  # of the largest eigenvalue: what the products may be wrong by
Segments = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Witness:
    """A chord that the loss passes: f((1−t) a + t b) > (1−t) f(a) + t f(b).

    Attributes:
        a_n: one end.
        b_n: the other.
        t: of the point between.
        losses: at a, at the point between, and at b.
        excess: by how much the second is above the chord.
        tolerance: what rounding may have added to that: 10 standard deviations, measured at the three points, and four last
            digits of the losses.
    """

    a_n: Tensor
    b_n: Tensor
    t: float
    losses: tuple[float, float, float]
    excess: float
    tolerance: float

    @property
    def length(self) -> float:
        """Of the segment."""
        return float((self.b_n - self.a_n).norm())


@dataclass(frozen=True, eq=False)
class Convexity:
    """What a search for a violated chord found.

    Attributes:
        violated: whether the loss is surely not convex; False says no more than that no violation was found.
        witness: the chord that shows it.
        segments: how many were tried; the witness's is the last.
        skipped: how many more had a loss that is not finite.
        radius: how far from the center.
        least_eigenvalue: the lowest Ritz value of the Hessian at the center and two other points; NaN: it has none there.
        bound: an eigenvalue lies within this of it.
        resolution: share of a segment's losses up to which an excess counted as rounding.
    """

    violated: bool
    witness: Witness | None
    segments: int
    skipped: int
    radius: float
    least_eigenvalue: float
    bound: float
    resolution: float

    @property
    def sentence(self) -> str:
        """The finding in words; that a loss is convex, it never says."""
        curvature = f"least eigenvalue seen {self.least_eigenvalue:.3g} ± {self.bound:.1g}"
        if self.witness is not None:
            w = self.witness
            return (
                f"violated here: at {w.t:.3g} of a segment of length {w.length:.3g} the loss {w.losses[1]:.6g} is "
                f"{w.excess:.3g} above the chord from {w.losses[0]:.6g} to {w.losses[2]:.6g}, where rounding makes "
                f"{w.tolerance:.1g} (segment {self.segments}; {curvature})"
            )
        said = f"no violation found in {self.segments} segments within {self.radius:.3g} of the center ({curvature}"
        if self.least_eigenvalue + self.bound < 0:
            said += ": curved down there, but by less than a chord shows"
        return said + (f"; {self.skipped} more had losses that are not finite)" if self.skipped else ")")

    def __str__(self) -> str:
        return self.sentence

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read; the points of the witness are left out."""
        names = ("violated", "segments", "skipped", "radius", "least_eigenvalue", "bound", "resolution", "sentence")
        found = {name: getattr(self, name) for name in names}
        if self.witness is None:
            return found | {"witness": None}
        return found | {
            "witness": {k: getattr(self.witness, k) for k in ("t", "length", "losses", "excess", "tolerance")}
        }


def convexity(
    field: Field,
    *,
    center: Tensor,
    radius: float | None = None,
    segments: int = 1000,
    seed: int = 0,
    batch: int | None = None,
) -> Convexity:
    """Look for a chord below the loss: a convex one has f((1−t) a + t b) ≤ (1−t) f(a) + t f(b) for all a, b, t.

    The first segments lie along the eigenvectors of the least eigenvalue that Lanczos's iteration finds at the center and
    at two random points; the ends of the others lie in random directions from the center, at distances between radius /
    100 and radius, evenly in ratio. An excess counts where it is above 10 standard deviations of the rounding, measured
    where it is seen, and four last digits of the losses: a loss calculated in float32 needs no other tolerance.

    Args:
        field: the loss.
        center: (n,), the middle of the region that is searched.
        radius: of the region; None: the length of ``center``, 1 where that is zero.
        segments: how many, at most: the search ends with the first violation.
        seed: of directions and lengths.
        batch: segments that are evaluated at once; None: as many as have 4 million numbers.

    Raises:
        BadData: a center of another size, or where the loss is not finite.
        BadOption: another argument that is not allowed.

    Example:
        >>> from thalweg.landscapes.field import Function
        >>> zero = torch.zeros(2, dtype=torch.float64)
        >>> convexity(Function(lambda x: (x**2).sum(-1), 2), center=zero).violated
        False
        >>> found = convexity(Function(lambda x: x[..., 0] ** 2 - x[..., 1] ** 2, 2), center=zero)
        >>> found.violated, found.segments, round(found.least_eigenvalue, 6)
        (True, 1, -2.0)

    Source: the definition; Lanczos: see `thalweg.curvature.lanczos`.
    """
    check("convexity", "radius", radius, optional(POSITIVE))
    check("convexity", "segments", segments, COUNT)
    check("convexity", "batch", batch, optional(COUNT))
    center = center.detach().double().cpu().reshape(-1)
    if len(center) != field.n or not math.isfinite(field.loss(center)):
        raise BadData(
            f"convexity: the center has {len(center)} numbers and the field {field.n}, or the loss there is not finite",
            "give a point of the field",
        )
    radius = radius or float(center.norm()) or 1.0
    generator = torch.Generator().manual_seed(seed)
    size = batch or max(1, HELD // (3 * field.n))
    places = torch.cat([center[None], _around(center, radius / 2, PLACES - 1, generator)])
    looked = [_least(field, place, seed + i) for i, place in enumerate(places)]
    lowest = min(looked, key=lambda found: math.inf if math.isnan(found[0]) else found[0])

    def result(witness: Witness | None) -> Convexity:
        return Convexity(witness is not None, witness, tried, skipped, radius, lowest[0], lowest[1], resolution)

    tried, skipped, resolution, digits = 0, 0, 0.0, 0.0
    along = _along(places, [vector for _, _, vector in looked], radius)
    for a, b, t in _chunks(along, center, radius, segments, size, generator):
        m = (1 - t)[:, None] * a + t[:, None] * b
        fa, fm, fb = field.losses(torch.cat([a, m, b])).double().cpu().reshape(3, -1)
        finite = torch.isfinite(fa + fm + fb)
        digits = digits or last_digits(field, torch.cat([fa, fm, fb])[finite.repeat(3)])
        resolution = max(resolution, digits)
        excess, scale = fm - ((1 - t) * fa + t * fb), fa.abs() + fm.abs() + fb.abs()
        share = torch.where(finite & (scale > 0), excess / scale, -math.inf)
        for i in torch.nonzero(share > resolution).flatten().tolist():
            if float(share[i]) <= resolution:  # which the segments before have raised
                continue
            tolerance = SURE * sum(noise(field, p[i], b[i] - a[i]) for p in (a, m, b)) + digits * float(scale[i])
            if float(excess[i]) > tolerance:
                tried, skipped = tried + int(finite[: i + 1].sum()), skipped + int((~finite[: i + 1]).sum())
                losses = float(fa[i]), float(fm[i]), float(fb[i])
                return result(Witness(a[i].clone(), b[i].clone(), float(t[i]), losses, float(excess[i]), tolerance))
            resolution = float(share[i])
        tried, skipped = tried + int(finite.sum()), skipped + int((~finite).sum())
    return result(None)


def _around(center: Tensor, radius: float, count: int, generator: torch.Generator) -> Tensor:
    """Points in random directions from the center, (K, n)."""
    directions = torch.randn(count, len(center), generator=generator, dtype=torch.float64)
    ways = radius * NEAREST ** torch.rand(count, generator=generator, dtype=torch.float64)
    points: Tensor = center + directions * (ways / directions.norm(dim=1))[:, None]
    return points


def _least(field: Field, point: Tensor, seed: int) -> tuple[float, float, Tensor]:
    """The lowest Ritz value of the Hessian, how far an eigenvalue may be from it, and its vector."""
    start = start_vector(field.n, seed)
    try:
        found = lanczos(lambda v: field.hessian_product(point, v), start, PRODUCTS)
    except BadTask:  # no second derivatives here
        return math.nan, math.nan, start
    value, vector = float(found.values_k[0]), found.vectors_kn[0]
    residual = float((field.hessian_product(point, vector).double().cpu() - value * vector).norm())
    return value, max(float(found.bounds_k[0]), residual, PRODUCT * float(abs(found.values_k).max())), vector


def _along(places: Tensor, vectors: list[Tensor], radius: float) -> Segments:
    """Segments along a vector of each place, of several lengths, with the place in the middle."""
    ways = torch.stack([step * radius * v for step in STEPS for v in vectors])
    middle = places.repeat(len(STEPS), 1)
    return middle - ways, middle + ways, torch.full((len(ways),), 0.5, dtype=torch.float64)


def _chunks(
    first: Segments, center: Tensor, radius: float, total: int, size: int, generator: torch.Generator
) -> Iterator[Segments]:
    """The first segments, then random ones, so many at once."""
    count = min(len(first[0]), total)
    for start in range(0, count, size):
        end = min(start + size, count)
        yield first[0][start:end], first[1][start:end], first[2][start:end]
    for start in range(count, total, size):
        k = min(size, total - start)
        ends = _around(center, radius, 2 * k, generator)
        yield ends[:k], ends[k:], 0.1 + 0.8 * torch.rand(k, generator=generator, dtype=torch.float64)
