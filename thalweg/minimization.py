"""Any rule on any differentiable function of tensors: coordinates or pixels, not only weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from thalweg import errors, schedules
from thalweg.optim import optimizer_class
from thalweg.rules import Rule

Status = Literal[0, 1, 2]
REACHED: Status = 0
FINISHED: Status = 1
DIVERGED: Status = 2


@dataclass(frozen=True)
class MinimizeResult:
    """What `minimize` found, with the names of ``scipy.optimize.OptimizeResult``.

    Args:
        x: the last point: a tensor, or a tuple of tensors where ``x0`` was a tuple.
        fun: the function there.
        nit: how many updates were made.
        nfev: how often the function was evaluated.
        status: 0 ``until`` was met, 1 all steps were made, 2 diverged.
        message: the same in words.
        path: every point from ``x0`` to ``x``, (nit + 1, n); a tuple's numbers stand side by side.

    Example:
        >>> result = minimize(lambda x: (x**2).sum(), [1.0], rule="sgd", lr=0.5, steps=1)
        >>> result.x.tolist(), result.fun, result.nfev, result.status == FINISHED
        ([0.0], 0.0, 2, True)
    """

    x: Any
    fun: float
    nit: int
    nfev: int
    status: Status
    message: str
    path: npt.NDArray[Any]


def minimize(
    fn: Callable[[Any], Tensor],
    x0: Any,
    *,
    rule: str | Rule = "adam",
    steps: int = 1000,
    until: Callable[[Any], Any] | None = None,
    gradient_noise: float = 0.0,
    seed: int = 0,
    clip_norm: float | None = None,
    schedule: str | Callable[[int], float] | None = None,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> MinimizeResult:
    """Take steps of a rule from ``x0`` down a function: x ← x − lr·(what the rule makes of ∇fn(x)).

    A run that leaves the finite numbers is a result, with status 2, and no error.

    Args:
        fn: a differentiable function of a tensor (of a tuple of tensors where ``x0`` is a tuple) with one number as
            its value. It is evaluated once for each update, in order, and once more at the end.
        x0: where to start: a number, a list, an array, a tensor, or a tuple of those.
        rule: a name of the table of rules, or a rule.
        steps: the most updates to make.
        until: a test of the point; the run stops as soon as it holds, also before the first update.
        gradient_noise: the standard deviation of normal noise added to each number of the gradient.
        seed: of the noise.
        clip_norm: the largest norm of the gradient, noise included.
        schedule: the name of a schedule over ``steps``, or a multiplier of the rate for the updates 0, 1, ….
        dtype: of the calculation.
        **options: the rule's options, ``lr`` among them.

    Returns:
        A `MinimizeResult`.

    Raises:
        BadOption: an unknown rule, schedule or option, or a value outside what is allowed.

    Example:
        >>> result = minimize(lambda x: (x**2).sum(), [3.0, -4.0], rule="sgd", lr=0.25, until=lambda x: x.norm() < 1e-3)
        >>> result.nit, result.message, result.path[:3].tolist()
        (13, 'until was met after 13 updates', [[3.0, -4.0], [1.5, -2.0], [0.75, -1.0]])
    """
    errors.check("minimize", "steps", steps, errors.COUNT)
    errors.check("minimize", "gradient_noise", gradient_noise, errors.NOT_NEGATIVE)
    if isinstance(schedule, str):
        schedule = schedules.make(schedule, steps)
    xs = [_parameter(x, dtype) for x in (x0 if isinstance(x0, tuple) else (x0,))]
    point: Any = tuple(xs) if isinstance(x0, tuple) else xs[0]
    opt = optimizer_class(rule)(xs, clip_norm=clip_norm, **options)
    group, rate = opt.param_groups[0], opt.param_groups[0]["lr"]
    generator = torch.Generator().manual_seed(seed)
    flat = [x.detach().reshape(-1) for x in xs]
    path = [_row(flat)]

    def done(status: Status, message: str) -> MinimizeResult:
        with torch.no_grad():
            fun = float(fn(point))
        x = tuple(x.detach() for x in xs) if isinstance(x0, tuple) else xs[0].detach()
        return MinimizeResult(x, fun, len(path) - 1, len(path), status, message, np.stack(path))

    for k in range(steps + 1):
        if not np.isfinite(path[-1]).all():
            return done(DIVERGED, f"diverged: the point is not finite after {k} updates")
        if until is not None:
            with torch.no_grad():
                if until(point):
                    return done(REACHED, f"until was met after {k} updates")
        if k == steps:
            break
        value = fn(point)
        grads = torch.autograd.grad(value, xs, allow_unused=True, materialize_grads=True)
        for x, grad in zip(xs, grads, strict=True):
            x.grad = grad + gradient_noise * _normal(x, generator) if gradient_noise else grad
        if schedule is not None:
            group["lr"] = rate * schedule(k)
        opt.update()  # nobody can have hooked this optimizer, and torch's hooks cost more than a step
        path.append(_row(flat))
    return done(FINISHED, f"all {steps} updates were made")


def _parameter(x: Any, dtype: torch.dtype) -> torch.nn.Parameter:
    tensor = x.detach() if isinstance(x, Tensor) else torch.as_tensor(x, dtype=dtype)  # a list: not through float32
    return torch.nn.Parameter(tensor.to(dtype, copy=True).contiguous())


def _normal(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, drawn on the CPU so that a seed gives the same ones on every device."""
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def _row(flat: list[Tensor]) -> npt.NDArray[Any]:
    """All coordinates in one array, copied."""
    whole = flat[0].clone() if len(flat) == 1 else torch.cat(flat)
    return (whole.float() if whole.dtype is torch.bfloat16 else whole).numpy(force=True)
