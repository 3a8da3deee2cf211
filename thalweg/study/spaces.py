"""The search space of every optimizer, as data: what ``effort="fair"`` varies, over which range, by which prior.

The rate's decades are the rule's own (`Rule.rates`). The other priors are those of

- S: Schmidt, Schneider, Hennig, Descending through a crowded valley, ICML 2021, arXiv 2007.01547, table of search spaces:
  β1 and momentum .5 to .999, β2 and RMSProp's α .8 to .999;
- A: Dahl et al., Benchmarking neural network training algorithms (AlgoPerf), arXiv 2306.07179: 1 − β1 .004 to .1, all of
  them uniform in the logarithm, warm-up over some hundredths of the steps, weight decay of which the product with the
  rate spans 2e-9 to 2.5e-4 (Nesterov) and 5e-7 to 1e-2 (NAdamW);
- P: Sivaprasad et al., Optimizer benchmarking needs to account for hyperparameter tuning, ICML 2020, arXiv 1910.11758:
  eps 1e-8 to 1, uniform in the logarithm; here it ends where Adam's usual rates still train, and begins lower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .. import rules
from ..recipe import Recipe

DECAY = "lr·weight_decay"


@dataclass(frozen=True)
class Prior:
    """From where to where, and uniform in what: the value, its logarithm, or that of its distance from one."""

    low: float
    high: float
    uniform: Literal["value", "log", "log(1 - value)"] = "log"

    def at(self, u: float) -> float:
        """The value below which the share ``u`` of the prior lies, to three digits.

        Example:
            >>> Prior(1e-4, 1e-2).at(0.5), Prior(0.9, 0.999, "log(1 - value)").at(0.5), Prior(0, 1, "value").at(0.25)
            (0.001, 0.99, 0.25)
        """
        if self.uniform == "value":
            return _digits(self.low + u * (self.high - self.low))
        if self.uniform == "log":
            return _digits(self.low * (self.high / self.low) ** u)
        gap = (1 - self.low) * ((1 - self.high) / (1 - self.low)) ** u
        return round(1 - _digits(gap), 12)


Space = Mapping[str, Prior]

MOMENTUM = Prior(0.5, 0.996, "log(1 - value)")  # S and A
SQUARES = Prior(0.8, 0.999, "log(1 - value)")  # S
SLOW = Prior(0.999, 0.99999, "log(1 - value)")
EPS = Prior(1e-10, 1e-3)  # P
WARMUP = Prior(0.01, 0.1, "value")  # A
PRODUCT = Prior(1e-8, 1e-3)  # A; of lr and weight decay: its inverse is over how many steps a weight is forgotten
USUAL: Space = {
    "beta1": MOMENTUM,
    "beta2": SQUARES,
    "eps": EPS,
    "momentum": MOMENTUM,
    DECAY: PRODUCT,
}
OWN: Mapping[str, Space] = {  # where a rule's option means something else, or its paper recommends another range
    "adabelief": {"eps": Prior(1e-20, 1e-8)},  # stands beside a variance: Adam's eps squared
    "adadelta": {"rho": SQUARES, "eps": Prior(1e-8, 1e-2)},  # sets the first steps' size
    "adagrad": {"eps": EPS},
    "adan": {"beta2": MOMENTUM, "beta3": SQUARES},  # its paper's β3 is the one of the squares
    "ademamix": {"beta3": SLOW, "alpha": Prior(1, 10, "value")},  # its paper: α 4 to 10, β3 .999 to .9999
    "asgd": {"alpha": Prior(0.5, 1, "value"), "lambd": Prior(1e-6, 1e-2)},  # Polyak, Juditsky 1992: between 1/2 and 1
    "laprop": {"eps": Prior(1e-20, 1e-8)},  # its paper: 1e-15, divides g before it is averaged
    "mars": {"gamma": Prior(0.005, 0.1)},  # its paper: .025
    "nadam": {"momentum_decay": Prior(1e-3, 1e-2)},  # torch: 4e-3
    "nadamw": {"momentum_decay": Prior(1e-3, 1e-2)},
    "rmsprop": {"alpha": SQUARES},
    "yogi": {"eps": Prior(1e-5, 1e-1)},  # its paper: 1e-3
}
FIXED: Mapping[str, str] = {
    "amsgrad": "another optimizer, which a recipe can enter",
    "centered": "another optimizer, which a recipe can enter",
    "clip_exponent": "its paper keeps it",
    "dampening": "scales the rate",
    "decoupled_weight_decay": "another optimizer, which a recipe can enter",
    "etas": "Rprop is published as insensitive to them",
    "initial_accumulator_value": "matters in the first steps only",
    "lr_decay": "the recipe has a schedule",
    "nesterov": "an optimizer of its own",
    "no_prox": "another form of the decay",
    "r": "its paper keeps it",
    "step_sizes": "Rprop is published as insensitive to them",
    "t0": "the average begins after the run by default",
    "T_alpha": "as long as the run",
    "T_beta3": "as long as the run",
    "warmup_steps": "the recipe has a warm-up",
    "weight_lr_power": "its paper keeps it",
}
UNWARMED = ("constant", "1cycle")  # schedules that begin as they like: see `Recipe.warmup_steps`


def space(name: str) -> Space:
    """What is searched beside the rate: every number of a rule that is not in `FIXED`, and the warm-up.

    Options that are tuples are searched by element (``betas`` as ``beta1`` and ``beta2``), weight decay as the product
    with the rate. A momentum that is zero by default is an optimizer of its own.

    Args:
        name: of the rule.

    Raises:
        BadOption: no such rule.

    Example:
        >>> list(space("adamw")), list(space("sgd"))
        (['beta1', 'beta2', 'eps', 'lr·weight_decay', 'warmup'], ['lr·weight_decay', 'warmup'])
    """
    rule = rules.get(name)
    known = {**USUAL, **OWN.get(rule.name, {})}
    options = [DECAY if n == "weight_decay" else n for n in numbers(name)]
    return {n: known[n] for n in options if n not in FIXED} | ({} if rule.full_batch else {"warmup": WARMUP})


def numbers(name: str) -> list[str]:
    """The options of a rule that could be searched beside its rate, tuples by their elements.

    Example:
        >>> numbers("adan")
        ['beta1', 'beta2', 'beta3', 'eps', 'weight_decay', 'no_prox']
    """
    found = []
    for option, value in rules.get(name).defaults.items():
        if isinstance(value, tuple) and option not in FIXED:
            found += [f"{option.removesuffix('s')}{i}" for i in range(1, len(value) + 1)]
        elif option != "lr" and not (option == "momentum" and value == 0):
            found.append(option)
    return found


def of(recipe: Recipe) -> Space:
    """What is searched for a recipe: its optimizer's space without what the recipe says itself.

    Example:
        >>> list(of(Recipe("adamw", betas=(0.9, 0.95), warmup=100)))
        ['eps', 'lr·weight_decay']
    """
    said = {n for n in recipe.as_dict() if n != "optimizer"}
    said |= {"warmup"} if recipe.schedule in UNWARMED else set()
    return {n: prior for n, prior in space(recipe.optimizer).items() if not said & {n, option_of(recipe.optimizer, n)}}


def option_of(optimizer: str, name: str) -> str:
    """The option that a searched number belongs to: ``betas`` for ``beta1``."""
    if name == DECAY:
        return "weight_decay"
    whole = name.rstrip("0123456789") + "s"
    return whole if isinstance(rules.get(optimizer).defaults.get(whole), tuple) else name


def put(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with numbers of its optimizer's space set; one of a tuple leaves the others as they are.

    Example:
        >>> put(Recipe("adamw"), {"lr": 1e-3, "beta2": 0.95, "lr·weight_decay": 1e-5})
        Recipe('adamw', lr=0.001, weight_decay=0.01, betas=(0.9, 0.95))
    """
    changes: dict[str, Any] = {}
    defaults = rules.get(recipe.optimizer).defaults | recipe.options
    for name, value in values.items():
        option = option_of(recipe.optimizer, name)
        if name == DECAY:
            changes[option] = _digits(value / values["lr"])
        elif option == name:
            changes[option] = value
        else:
            old = list(changes.get(option, defaults[option]))
            old[int(name.removeprefix(option.removesuffix("s"))) - 1] = value
            changes[option] = tuple(old)
    return recipe.but(**changes)


def at_rate(recipe: Recipe, lr: float, free: Space) -> Recipe:
    """The recipe at another rate; where weight decay was searched, its product with the rate stays.

    Example:
        >>> at_rate(Recipe("adamw", lr=1e-3, weight_decay=0.03), 1e-2, space("adamw"))
        Recipe('adamw', lr=0.01, weight_decay=0.003)
    """
    if lr == recipe.lr or recipe.lr is None:
        return recipe.but(lr=lr)
    decay = {"weight_decay": _digits(recipe.weight_decay * recipe.lr / lr)} if DECAY in free else {}
    return recipe.but(lr=lr, **decay)


def default_rate(recipe: Recipe, low: float, high: float) -> float:
    """The rate of the optimizer's default setting; the middle of the range, in the logarithm, where it is outside."""
    usual = float(rules.get(recipe.optimizer).defaults["lr"])
    return usual if low <= usual <= high else _digits(math.sqrt(low * high))


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
