"""Up to which curvature an optimizer's steps are stable, and the curvature as the optimizer sees it.

Near a point where the loss is a quadratic with Hessian H, and with its denominators D held where they are, an optimizer
moves as gradient descent or heavy ball on D^(-1/2) H D^(-1/2). It is stable along an eigenvector while the eigenvalue is
below a limit over the rate, which depends on its momentum alone.

Legend: n coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..errors import BadOption
from .lanczos import Product

EMA = {"adam", "adamw", "adamax", "adabelief", "yogi", "laprop", "adopt"}  # lr · (average of g) / D
PLAIN = {"adagrad", "adadelta", "rmsprop", "sgd", "momentum", "nesterov"}  # lr · (sum of momentum^k g) / D
HINT = f"it is known of {', '.join(sorted(EMA | PLAIN))}"


def limit(optimizer: str, options: Mapping[str, Any]) -> float:
    """What the largest eigenvalue times the rate must stay below.

    2 for gradient descent; 2 (1 + ρ) for heavy ball; 2 (1 + ρ) / (1 + 2ρ) for Nesterov's momentum; 2 (1 + β) / (1 - β),
    38 at β = .9, where the gradient is averaged instead of summed.

    Args:
        optimizer: its name, as `thalweg explain` has it or torch's class.
        options: of it: ``momentum``, ``nesterov``, ``betas``.

    Raises:
        BadOption: its limit has no closed form.

    Example:
        >>> limit("sgd", {}), limit("momentum", {"momentum": 0.9}), round(limit("adam", {"betas": (0.9, 0.999)}), 6)
        (2.0, 3.8, 38.0)

    Source: B. Polyak, USSR Comput. Math. Math. Phys. 4, 1964; J. Cohen et al., arXiv 2207.14484, section 2.
    """
    name = optimizer.lower()
    if name in EMA:
        beta = float(options.get("betas", (0.9, 0.999))[0])
        return 2 * (1 + beta) / (1 - beta)
    if name not in PLAIN:
        raise BadOption(f"curvature: the stability limit of {optimizer} has no closed form", HINT)
    momentum = float(options.get("momentum", 0.9 if name in ("momentum", "nesterov") else 0.0) or 0.0)
    ahead = name == "nesterov" or bool(options.get("nesterov"))
    damped = 1 - float(options.get("dampening", 0.0) or 0.0) if momentum else 1.0
    return 2 * (1 + momentum) / (1 + 2 * momentum if ahead else 1) / damped


def _averaged(state: Mapping[str, Any], group: Mapping[str, Any], key: str) -> Tensor:
    corrected = 1 - float(group["betas"][1]) ** float(state.get("step", 1e9))
    found: Tensor = (state[key] / corrected).sqrt() + group["eps"]
    return found


def _centred(state: Mapping[str, Any], group: Mapping[str, Any]) -> Tensor:
    mean = state.get("grad_avg")
    square = state["square_avg"] if mean is None else (state["square_avg"] - mean * mean).clamp(min=0)
    found: Tensor = square.sqrt() + group["eps"]
    return found


DENOMINATORS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Tensor]] = {
    "adam": lambda s, g: _averaged(s, g, "max_exp_avg_sq" if "max_exp_avg_sq" in s else "exp_avg_sq"),
    "yogi": lambda s, g: _averaged(s, g, "exp_avg_sq"),
    "laprop": lambda s, g: _averaged(s, g, "exp_avg_sq"),
    "adabelief": lambda s, g: _averaged(s, g, "exp_avg_var"),
    "adopt": lambda s, g: s["exp_avg_sq"].sqrt().clamp(min=g["eps"]),
    "adamax": lambda s, g: s["exp_inf"],
    "rmsprop": _centred,
    "adagrad": lambda s, g: s["sum"].sqrt() + g["eps"],
    "adadelta": lambda s, g: (s["square_avg"] + g["eps"]).sqrt() / (s["acc_delta"] + g["eps"]).sqrt(),
}
DENOMINATORS["adamw"] = DENOMINATORS["adam"]


def denominators(optimizer: Optimizer, parameters: Sequence[Tensor] | None = None) -> Tensor:
    """D, by what each coordinate's gradient is divided in a step at the largest rate; (n,).

    Args:
        optimizer: ours or torch's, after a step. Where rates differ: D · (largest rate / own rate).
        parameters: in whose order; None: the optimizer's. One that it does not have, or that never got a gradient, stands
            still: D is infinite.

    Raises:
        BadOption: not one whose limit is known, or it has not made a step.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        >>> w.grad = torch.tensor([0.3, -4.0])
        >>> adam = torch.optim.Adam([w], eps=0.0)
        >>> adam.step()
        >>> denominators(adam)
        tensor([0.3000, 4.0000], dtype=torch.float64)
    """
    name = type(optimizer).__name__.lower()
    if name not in EMA | PLAIN:
        raise BadOption(f"curvature: the denominators of {type(optimizer).__name__} are not known", HINT)
    of, found = DENOMINATORS.get(name), dict[Tensor, Tensor]()
    first = max(float(group["lr"]) for group in optimizer.param_groups)
    if of is not None and not any(optimizer.state.values()):
        raise BadOption("curvature: the optimizer has no state yet", "make a step first")
    for group in optimizer.param_groups:
        own = float(group["lr"])
        for p in (p for p in group["params"] if p.requires_grad):
            if of is None:
                one = torch.ones_like(p)
            else:
                one = of(optimizer.state[p], group) if optimizer.state.get(p) else torch.full_like(p, float("inf"))
            scale = first / own if own > 0 else float("inf")
            found[p] = one.detach().double().cpu().reshape(-1) * scale
    still = [torch.full((p.numel(),), float("inf"), dtype=torch.float64) for p in parameters or ()]
    return torch.cat([found.get(p, x) for p, x in zip(parameters or found, still or found.values(), strict=True)])


def preconditioned(product: Product, denominators_n: Tensor) -> Product:
    """V → D^(-1/2) A D^(-1/2) v: its largest eigenvalue times the rate is what `limit` bounds.

    Args:
        product: v → A v.
        denominators_n: D > 0; a coordinate with an infinite one stands still.

    Example:
        >>> product = preconditioned(lambda v: 8 * v, torch.tensor([4.0, 16.0]))
        >>> product(torch.ones(2)).tolist()
        [2.0, 0.5]
    """
    root = denominators_n.clamp(min=torch.finfo(denominators_n.dtype).tiny).rsqrt()
    return lambda v: root * product(root * v)
