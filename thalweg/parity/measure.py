"""A case on an engine: how many units in the last place it is away from the oracle, and whether that is too far."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg import engine, optim
from thalweg.engine.joint import Joint
from thalweg.parity import oracle
from thalweg.parity.cases import DTYPES, GRADIENTS, LARGE, LINKS, LR, SCALE, Case
from thalweg.parity.oracle import Array

SLACK = 4.0
DRAWS, MORE, MOST = 3, 16, 64  # a rule that divides by what nearly cancels is far off in one draw of many
INTERPRETER = "triton-interpreter"
COHORT = "cohort-row"
SIGNS = ("lion", "signum", "rprop")
Path = list[list[Array]]


@dataclass(frozen=True)
class Engine:
    """A row of the table of engines.

    Args:
        name: in the report.
        option: what an optimizer calls it.
        device: where its tensors are.
        why_not: the reason why it cannot be measured here; None: it can.
        cannot: the reason why it has no such case; None: it has.
    """

    name: str
    option: str
    device: str
    why_not: Callable[[], str | None]
    cannot: Callable[[Case], str | None] = lambda case: None


def _no_triton() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None if "triton" in engine.ENGINES else "the optimizers have no engine 'triton'"


def _no_interpreter() -> str | None:
    on = os.environ.get("TRITON_INTERPRET") == "1"
    return _no_triton() or (None if on else "TRITON_INTERPRET=1 is not set")


def _no_gpu() -> str | None:
    return ("no GPU" if not torch.cuda.is_available() else None) or _no_triton()


def interpretable() -> bool:
    """Whether Triton is here and would be free to interpret its kernels: a GPU needs them compiled."""
    return _no_triton() is None and not torch.cuda.is_available()


def _alone(case: Case) -> str | None:
    if case.links.scale:
        return "a cohort has no loss scale"
    return "a cohort skips no step" if "skip_nonfinite" in case.options else None


ENGINES = (
    Engine("reference", "reference", "cpu", lambda: None),
    Engine("numba", "numba", "cpu", lambda: None),
    Engine(COHORT, "numba", "cpu", lambda: None, _alone),
    Engine(INTERPRETER, "triton", "cpu", _no_interpreter),
    Engine("triton", "triton", "cuda", _no_gpu),
)


@np.errstate(all="ignore")  # Triton's interpreter calculates with NumPy
def path(case: Case, engine: Engine) -> Path:
    """What each step of an optimizer leaves, as `oracle.path`."""
    if engine.name == COHORT:
        return in_cohort(case)
    dtype = DTYPES[case.dtype]

    def placed(x: Tensor, stride: int) -> Tensor:
        stride = 1 if case.layout == "contiguous" else stride
        return torch.empty(stride * case.size, dtype=dtype, device=engine.device)[::stride].copy_(x)

    p = nn.Parameter(placed(case.start(), 2))
    opt = optim.OPTIMIZERS[case.rule]([p], engine=engine.option, **case.options)
    opt.grad_scale = torch.tensor(SCALE, device=engine.device) if case.links.scale else None
    left = []
    for k, grad in enumerate([None, *case.grads()], -1):
        if grad is not None:
            opt.found_inf = torch.tensor(float(case.found_inf(k)), device=engine.device) if case.links.scale else None
            p.grad = placed(grad, 3)
            opt.step()
        left.append(_left(case, opt, p))
    return left


def in_cohort(case: Case) -> Path:
    """The same of the second of three members of a cohort, which differ in rates and numbers; their stacks are dense."""
    others = [replace(case, draw=case.draw + 100 + k) for k in range(2)]
    members = [others[0], case, others[1]]
    stack = torch.stack([member.start() for member in members])
    params = [nn.Parameter(slice) for slice in stack]
    rates = (0.5 * LR, LR, 2 * LR)
    opts = [optim.OPTIMIZERS[case.rule]([p], **{**case.options, "lr": lr}) for p, lr in zip(params, rates, strict=True)]
    for opt, lr in zip(opts, rates, strict=True):
        opt.param_groups[0]["initial_lr"] = lr  # as a schedule leaves it
    joint = Joint(opts, [[p] for p in params], [stack])
    left = [_left(case, opts[1], params[1])]
    for grads in zip(*(member.grads() for member in members), strict=True):
        stack.grad = torch.stack(grads)
        joint.step(np.ones(3))
        left.append(_left(case, opts[1], params[1]))
    return left


def _left(case: Case, opt: Any, p: Tensor) -> list[Array]:
    average = [opt.state[p].get("ema", p)] if case.links.ema else []
    return [x.detach().cpu().double().numpy().astype(oracle.wide(DTYPES[case.dtype])) for x in (p, *average)]


def ulp(x: Array, dtype: torch.dtype) -> Array:
    """The unit in the last place of numbers of this dtype.

    Example:
        >>> ulp(np.array([1.0, 1.99, 2.0, 0.0]), torch.bfloat16).tolist()
        [0.0078125, 0.0078125, 0.015625, 9.183549615799121e-41]
    """
    facts = torch.finfo(dtype)
    whole = np.maximum(np.where(np.isfinite(x), np.abs(x), facts.max), x.dtype.type(facts.tiny))
    units: Array = np.ldexp(x.dtype.type(facts.eps), np.frexp(whole)[1] - 1)
    return units


def distance(
    got: Path, want: Path, dtype: torch.dtype, least: float = math.inf, *, spreads: bool = False
) -> tuple[float, int]:
    """How far two paths are apart, in ulp of max(|p before|, |p after|, |step|) of the second, and flips of sign.

    The maximum is over the steps so far: a path that nears 0 keeps the errors that it made far from there. Where
    neither is finite they are equal; where one is, they are infinitely far apart.

    Args:
        got: of an engine.
        want: of the oracle.
        dtype: whose units.
        least: an element that is off by more than this has stepped to another side: a flip, left out from there on.
        spreads: a flip moves all other elements too, as it does where `cautious` scales by the share of its mask;
            nothing is compared from there on.

    Returns:
        The largest distance, and the number of flips.
    """
    worst, flipped, last = 0.0, np.zeros(want[0][0].shape, dtype=bool), len(want)
    for part in range(len(want[0])):
        size: Array = np.zeros(want[0][0].shape)
        for k, (before, x, after) in enumerate(zip(want, got[1:last], want[1:last], strict=False), 1):
            p, q, new = before[part], after[part], x[part]
            with np.errstate(all="ignore"):
                step = np.abs(q - p)
                size = np.fmax.reduce([size, np.abs(p), np.abs(q), step])
                off = np.abs(new - q) / ulp(size, dtype)
                one, other = np.isfinite(new), np.isfinite(q)
                off = np.where(one & other, off, np.where(one | other, np.inf, 0.0))
                if part == 0:
                    flipped |= (off > 2) & (np.abs(new - q) > least) & np.isfinite(off)
            if spreads and flipped.any():
                last = k
                break
            worst = max(worst, float(np.where(flipped, 0.0, off).max(initial=0.0)))
    return worst, int(flipped.sum())


def measure(case: Case, engines: Sequence[Engine] = ENGINES) -> list[dict[str, Any]]:
    """A row for each engine; the first is the reference, which sets the bound of the others.

    The reference's maximum is that of a few draws of the numbers, since a single one may by luck be 0; a row that
    exceeds it is held against more draws, of all kinds of gradients, before it is out of its bound. A row of the
    reference itself holds if it is not finite exactly where the oracle is not; with ±1e30 it sets the bound only.

    Args:
        case: what to measure.
        engines: on what; those that cannot be measured here are left out.

    Returns:
        Rows as ``doctor --parity --json`` prints them.
    """
    rest = {"dtype": case.dtype, "size": case.size, "layout": case.layout, "gradients": case.gradients}
    row = {"rule": case.rule, "link": case.link, "engine": None, **rest}
    row |= dict.fromkeys(("ulp", "bound", "flips", "holds"))
    if case.why_not:
        return [{**row, "why": case.why_not}]
    want = oracle.path(case)
    here = [one for one in engines if not one.why_not()]
    seen = {one: _compared(case, one, want) for one in here if not one.cannot(case)}
    bounds = (math.inf, math.inf)
    for draws in (DRAWS, MORE, MOST) if engines[0] in seen else ():
        bounds = _bounds(case, engines[0], seen[engines[0]], draws)
        if all(_within(found, bounds, case) for found in seen.values()):
            break
    # The square of 1e30 overflows in float32 and not in the oracle, and what follows is of no use to either.
    sound = {one: one.name != "reference" or seen[one][0] < math.inf or case.gradients == "huge" for one in seen}
    missing = [{**row, "engine": one.name, "why": why} for one in here if (why := one.cannot(case))]
    measured = [
        {**row, "engine": one.name, "ulp": found[0], "bound": bounds[0], "flips": found[1]}
        | ({"layout": "contiguous"} if one.name == COHORT else {})
        | {"holds": sound[one] and _within(found, bounds, case)}
        for one, found in seen.items()
    ]
    return [*measured, *missing]


def _within(found: tuple[float, int], bounds: tuple[float, float], case: Case) -> bool:
    return found[0] <= bounds[0] and (found[1] <= bounds[1] or case.noisy)


def _bounds(case: Case, reference: Engine, found: tuple[float, int], draws: int) -> tuple[float, float]:
    """How far from the oracle, and how many flips, are no worse than the reference in some draws of the numbers."""
    others = _draws(replace(case, layout="contiguous"), reference, draws) if case.size < LARGE else ()
    return (
        max([found[0], *(worst for worst, _ in others)]) + SLACK,
        max([found[1], *(flips for _, flips in others)]) + max(1.0, 0.01 * case.size),
    )


@lru_cache(maxsize=256)
def _draws(case: Case, engine: Engine, draws: int) -> tuple[tuple[float, int], ...]:
    """How far an engine is from the oracle with other numbers, and if many are asked for, with other kinds of them."""
    kinds = {case.gradients} if draws < MORE or case.gradients == "huge" else set(GRADIENTS) - {"huge"}
    first = 1 if draws < MORE else 0  # the case itself in the other layout: sums of norms are added in another order
    others = [replace(case, draw=draw, gradients=kind) for draw in range(first, draws) for kind in sorted(kinds)]
    return tuple(_compared(other, engine, oracle.path(other)) for other in others)


def _compared(case: Case, engine: Engine, want: Path) -> tuple[float, int]:
    dtype = max(DTYPES[case.dtype], case.state_dtype, key=lambda kind: torch.finfo(kind).eps)
    least = 0.0 if case.noisy else 0.1 * LR if case.rule in SIGNS else math.inf
    spreads = case.rule in SIGNS and "cautious" in LINKS[case.link]
    return distance(path(case, engine), want, dtype, least, spreads=spreads)
