"""Signatures of a broken pipeline: other units, exchanged columns, gaps coded as a number, turned images.

A signature is named only where undoing it makes the rows look like the reference again: being wrong is worse than
being silent. Legend of shapes: N reference rows, M incoming rows, d columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from ..sample import Flat, Floats

# Factors between units. Smaller ones (inches, miles) are left out: a distribution may well widen so far by itself.
UNITS = (10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 12.0, 60.0, 255.0, 3600.0, 86400.0)
ANY_FACTOR = 8.0  # a factor that is no unit's must be larger than this
FAR = 0.3  # Kolmogorov–Smirnov distance that a column must have moved before it is taken for broken
NEAR = 0.1  # and the distance that may be left once the signature is undone
CODES = (-1.0, 0.0, 99.0, -99.0, 999.0, -999.0, 9999.0, -9999.0, 99999.0, -99999.0)
LEAST_SHARE, LEAST_ROWS = 0.02, 8  # of the rows that a code stands in
CONTINUOUS = 10  # distinct values that a column must have to be read as a quantity
LONGEST = 5000  # rows of each side that are compared
BLOCK = 4_000_000  # numbers of images that are looked at at once
MOST_COLUMNS = 128  # that are looked at as exchanged


@dataclass(frozen=True)
class Broken:
    """A signature that was found.

    Attributes:
        what: ``units``, ``sign``, ``code``, ``exchanged``, ``turned``, ``channels``, ``inverted``.
        columns: the names of those it concerns.
        sentence: what it is, in words.
        numbers: how far the columns are from the reference, as they are and once it is undone.
    """

    what: str
    columns: tuple[str, ...]
    sentence: str
    numbers: dict[str, float]


def distance(a_N: Floats, b_M: Floats) -> float:
    """Kolmogorov–Smirnov's distance of two samples, without their missing values; 0 where one is empty.

    Values nearer than a millionth of their standard deviation are the same: a factor that is undone leaves rounding errors.

    Example:
        >>> distance(np.arange(4.0), np.arange(4.0) + 2), distance(np.arange(9.0), np.arange(9.0) / 255 * 255)
        (0.5, 0.0)
    """
    a, b = np.sort(a_N[~np.isnan(a_N)]), np.sort(b_M[~np.isnan(b_M)])
    if not len(a) or not len(b):
        return 0.0
    grid = np.concatenate([a, b])
    grid = grid + 1e-6 * min(a.std() or b.std(), b.std() or a.std())
    return float(np.abs(np.searchsorted(a, grid, "right") / len(a) - np.searchsorted(b, grid, "right") / len(b)).max())


def signatures(reference: Flat, incoming: Flat, moved: Sequence[str], *, level: float = 0.05) -> list[Broken]:
    """What broke in the columns that moved.

    Args:
        reference: (N, d), NaN for missing.
        incoming: (M, d) of the same names.
        moved: names of the columns whose distribution differs.
        level: of the tests behind.

    Returns:
        One entry a signature, each column in at most one of them.

    Example:
        >>> random = np.random.default_rng(0)
        >>> old, new = random.lognormal(size=(2, 500, 2))
        >>> found = signatures(Flat(old, ["income", "age"]), Flat(new * [1000, 1], ["income", "age"]), ["income"])
        >>> found[0].sentence
        'income is ×1000'
    """
    places = [reference.names.index(name) for name in moved]
    old, new = _few(reference.values), _few(incoming.values)
    own = {j: distance(old[:, j], new[:, j]) for j in places}
    left = max(NEAR, 1.22 * math.sqrt(1 / len(old) + 1 / len(new)))  # the 10 % critical distance
    whole = _all_scaled(old, new, left)
    if whole is not None and len(places) > 1:
        return [whole]
    found: list[Broken] = []
    quantities = [j for j in places if _distinct(old[:, j]) > CONTINUOUS]
    for group in exchanged(old, new, [j for j in quantities if own[j] >= FAR], own, left):
        names = tuple(reference.names[j] for j in group)
        cycle = "and" if len(group) == 2 else "→"
        after = max(distance(old[:, group[(k + 1) % len(group)]], new[:, j]) for k, j in enumerate(group))
        what = f" {cycle} ".join(names) + (
            " are swapped" if len(group) == 2 else ": these columns are exchanged in a ring"
        )
        found.append(Broken("exchanged", names, what, {"distance": min(own[j] for j in group), "undone": after}))
    taken = {name for broken in found for name in broken.columns}
    for j in quantities:
        name = reference.names[j]
        if name in taken:
            continue
        one = _units(old[:, j], new[:, j], own[j], left, name) or _code(
            old[:, j], new[:, j], left, name, level / reference.values.shape[1]
        )
        if one is not None:
            found.append(one)
    return found


def _few(values_Nd: Floats) -> Floats:
    if len(values_Nd) <= LONGEST:
        return values_Nd
    return values_Nd[np.linspace(0, len(values_Nd) - 1, LONGEST).astype(np.int64)]


def _distinct(values: Floats) -> int:
    return len(np.unique(values[~np.isnan(values)]))


def _named(factor: float) -> str:
    return f"×{factor:.6g}" if factor >= 1 else f"÷{1 / factor:.6g}"


def _factors(old: Floats, new: Floats) -> tuple[list[float], list[float]]:
    """Candidates for new = factor · old: those of units near the ratio of typical sizes, and these ratios themselves."""
    old, new = np.abs(old[~np.isnan(old)]), np.abs(new[~np.isnan(new)])
    sizes = [(np.median(old), np.median(new)), (old.mean(), new.mean())] if len(old) and len(new) else []
    rough = [float(b / a) for a, b in sizes if a > 0 and b > 0]
    close = [f for n in UNITS for f in (n, 1 / n) if any(0.75 < r / f < 1.33 for r in rough)]
    return close, [r for r in rough if max(r, 1 / r) >= ANY_FACTOR]


def _units(old: Floats, new: Floats, own: float, left: float, name: str) -> Broken | None:
    """Another unit, or another sign."""
    if own < FAR:
        return None
    flipped = distance(-old, new)
    if flipped <= left and flipped < own / 3:
        return Broken("sign", (name,), f"{name} has the other sign", {"distance": own, "undone": flipped})
    best: tuple[float, float] | None = None
    units, rough = _factors(old, new)
    for factor in units:
        after = distance(old, new / factor)
        if after <= left and after < own / 3 and (best is None or after < best[0] - 0.03):
            best = (after, factor)
    if best is None:  # no unit's factor, then any
        best = min(((distance(old, new / f), f) for f in rough), default=None)
        if best is None or best[0] > left or best[0] >= own / 3:
            return None
    return Broken(
        "units", (name,), f"{name} is {_named(best[1])}",
        {"factor": best[1], "distance": own, "undone": best[0]},
    )  # fmt: skip


def _all_scaled(old_Nd: Floats, new_Md: Floats, left: float) -> Broken | None:
    """One factor for all columns, as between images in [0, 1] and in 0..255."""
    old, new = old_Nd.ravel()[:: max(1, old_Nd.size // 200_000)], new_Md.ravel()[:: max(1, new_Md.size // 200_000)]
    moving = np.nanstd(old_Nd, 0) > 0
    if moving.sum() < 2:
        return None
    sizes = np.nanmean(np.abs(new_Md[:, moving]), 0) / np.nanmean(np.abs(old_Nd[:, moving]), 0)
    factor = float(np.median(sizes))
    if not math.isfinite(factor) or factor <= 0 or max(factor, 1 / factor) < ANY_FACTOR:
        return None
    if np.quantile(np.abs(np.log(np.maximum(sizes, 1e-300) / factor)), 0.9) > math.log(2):
        return None
    nice = [f for n in UNITS for f in (n, 1 / n) if 0.9 < factor / f < 1.1]
    factor = nice[0] if nice else factor
    before, after = distance(old, new), distance(old, new / factor)
    own = np.array([distance(old_Nd[:, j], new_Md[:, j] / factor) for j in np.flatnonzero(moving)])
    if np.quantile(own, 0.9) > 2 * left or after > left:
        return None
    numbers = {"factor": factor, "distance": before, "undone": after}
    return Broken("units", ("all features",), f"all features are {_named(factor)}", numbers)


def _code(old: Floats, new: Floats, left: float, name: str, level: float) -> Broken | None:
    """A constant in some rows that the reference hardly has, while the other rows look as before."""
    from scipy.stats import binom

    known, given = old[~np.isnan(old)], new[~np.isnan(new)]
    values, counts = np.unique(given, return_counts=True)
    if not len(values) or len(values) < 2 or not len(known):
        return None
    k = int(counts.argmax())
    value, count = float(values[k]), int(counts[k])
    share, near = count / len(given), 1e-6 * (known.std() or 1.0)
    before = float((np.abs(known - value) <= near).mean())
    if share < LEAST_SHARE or count < LEAST_ROWS or before > share / 10:
        return None
    outside = not known.min() - near <= value <= known.max() + near
    filled = abs(value - known.mean()) <= 1e-4 * (known.std() or 1.0)
    bound = np.isclose(value, [known.min(), known.max()]).any()  # clipped values pile up there
    if bound or not (outside or filled or any(abs(value - code) <= near for code in CODES)):
        return None
    rest = distance(known, given[np.abs(given - value) > near])
    by_chance = float(binom.sf(count - 1, len(given), (before * len(known) + 1) / (len(known) + 1)))
    if rest > left or by_chance > level:
        return None
    return Broken(
        "code", (name,), f"{name}: {100 * share:.3g} % of the rows hold {value:.4g}, which stands for missing cells",
        {"value": value, "share": share, "share_before": before, "p": by_chance, "undone": rest},
    )  # fmt: skip


def exchanged(
    old_Nd: Floats, new_Md: Floats, moved: Sequence[int], own: dict[int, float], left: float
) -> list[tuple[int, ...]]:
    """Rings of columns, each of which holds the next one's values: matched by distribution and by correlations.

    Args:
        old_Nd: reference.
        new_Md: incoming.
        moved: the columns in question.
        own: how far each is from itself.
        left: the distance at which two columns look alike.
    """
    from scipy.optimize import linear_sum_assignment

    if not 2 <= len(moved) <= MOST_COLUMNS:
        return []
    cost = np.array([[distance(old_Nd[:, i], new_Md[:, j]) for i in moved] for j in moved])
    rows, matched = linear_sum_assignment(cost)
    source = {moved[int(a)]: moved[int(b)] for a, b in zip(rows, matched, strict=True)}
    good = {j for j, i in source.items() if i != j and cost[moved.index(j), moved.index(i)] <= min(left, own[j] / 3)}
    rings: list[tuple[int, ...]] = []
    seen: set[int] = set()
    for start in sorted(good):
        ring, at = [], start
        while at in good and at not in seen:
            seen.add(at)
            ring.append(at)
            at = source[at]
        if len(ring) > 1 and at == start and _correlates(old_Nd, new_Md, source, ring):
            rings.append(tuple(ring))
    return rings


def _correlates(old_Nd: Floats, new_Md: Floats, source: dict[int, int], ring: Sequence[int]) -> bool:
    """Whether the ring's columns correlate with the other ones as their sources did, rather than as they did."""
    others = [k for k in range(old_Nd.shape[1]) if k not in ring][:64]
    before = after = 0.0
    for j in ring:
        now = np.array([_correlation(new_Md[:, j], new_Md[:, k]) for k in others])
        as_itself = np.array([_correlation(old_Nd[:, j], old_Nd[:, k]) for k in others])
        as_source = np.array([_correlation(old_Nd[:, source[j]], old_Nd[:, k]) for k in others])
        before, after = before + float(((now - as_itself) ** 2).sum()), after + float(((now - as_source) ** 2).sum())
    noise = 4 * len(ring) * len(others) * (1 / len(old_Nd) + 1 / len(new_Md))
    return not others or after <= before or after <= noise


def _correlation(a: Floats, b: Floats) -> float:
    both = ~(np.isnan(a) | np.isnan(b))
    if both.sum() < 3 or a[both].std() == 0 or b[both].std() == 0:
        return 0.0
    return float(np.corrcoef(a[both], b[both])[0, 1])


def turned(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> Broken | None:
    """Images (N, C, H, W) that are turned, mirrored, transposed, inverted, or whose channels are exchanged.

    Their mean and standard deviation in each pixel are compared: what is named brings them back within twice the noise.
    """
    channels, height, width = old.shape[1:]
    ways: dict[str, Any] = {
        "mirrored left to right": lambda x: x[..., ::-1],
        "upside down": lambda x: x[..., ::-1, :],
        "turned by 180°": lambda x: x[..., ::-1, ::-1],
    }
    if height == width:
        ways |= {
            "transposed (height and width are swapped)": lambda x: x.swapaxes(-1, -2),
            "turned by 90°": lambda x: np.rot90(x, 1, (-2, -1)),
            "turned by 270°": lambda x: np.rot90(x, 3, (-2, -1)),
        }
    ends = float(old.max()) + float(old.min())
    ways["inverted (dark is bright)"] = lambda x: np.stack([ends - x[0], x[1]])
    if 1 < channels <= 4:
        for order in permutations(range(channels)):
            if list(order) != list(range(channels)):
                ways[f"channels in the order {', '.join(map(str, order))}"] = lambda x, order=order: x[:, list(order)]
    profile, given = _profile(old), _profile(new)
    noise = math.sqrt(1.5 * float(np.square(profile[1]).sum()) * (1 / len(old) + 1 / len(new)))
    before = float(np.linalg.norm(given - profile))
    after = {name: float(np.linalg.norm(way(given) - profile)) for name, way in ways.items()}
    name = min(after, key=lambda key: after[key])
    second = sorted([*after.values(), before])[1]
    if after[name] > 2 * noise or before < 3 * max(after[name], noise) or second < 1.5 * after[name]:
        return None
    what = "channels" if name.startswith("channels") else "inverted" if name.startswith("inverted") else "turned"
    sentence = f"the images have their {name}" if what == "channels" else f"the images are {name}"
    return Broken(what, ("all pixels",), sentence, {"distance": before, "undone": after[name], "noise": noise})


def _profile(images: npt.NDArray[Any]) -> Floats:
    """Mean and standard deviation of each pixel, (2, C, H, W), in float64; a block of rows at a time.

    What is done to every image alike is done to these, so no turned copy of the images is needed.
    """
    block = max(1, BLOCK // max(1, math.prod(images.shape[1:])))
    parts = [slice(start, start + block) for start in range(0, len(images), block)]
    mean = sum(images[part].astype(np.float64).sum(0) for part in parts) / len(images)
    square = sum(np.square(images[part].astype(np.float64) - mean).sum(0) for part in parts) / len(images)
    return np.stack([mean, np.sqrt(square)])
