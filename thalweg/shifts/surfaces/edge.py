"""How near an optimizer's own steps are to where they become unstable, on two surfaces."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...curvature import denominators, limit, preconditioned
from ...curvature.lanczos import Product
from ...errors import BadData, BadOption
from .probed import leading

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ...recipe import Recipe


@dataclass(frozen=True)
class Edge:
    """The largest curvature as an optimizer sees it: rate × λmax of D^(-1/2) H D^(-1/2), D what its steps are divided by.

    Attributes:
        optimizer: its name.
        lr: its rate.
        reference: on the reference's surface.
        incoming: on the incoming data's.
        limit: its steps are stable below.
    """

    optimizer: str
    lr: float
    reference: float
    incoming: float
    limit: float

    def __str__(self) -> str:
        now = "unstable" if self.incoming > self.limit else "stable"
        return (
            f"As {self.optimizer} at lr {self.lr:.3g} sees it, the largest curvature goes from {self.reference:.3g} to "
            f"{self.incoming:.3g} of {self.limit:.3g} that it can bear: training on would be {now}."
        )


def continued(optimizer: Optimizer, state: Mapping[str, Any] | None) -> Optimizer:
    """An optimizer that goes on with the moments of another one of the same parameters.

    Raises:
        BadData: the state belongs to other parameters.
    """
    if state is not None:
        try:
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state["state"]})
        except (KeyError, ValueError, TypeError) as error:
            raise BadData(f"shift: the optimizer's state does not fit: {error}", "give its state_dict()") from None
    return optimizer


def edge(
    model: nn.Module,
    recipe: Recipe,
    state: Mapping[str, Any] | None,
    products: Sequence[Product],
    n: int,
    seed: int = 0,
) -> Edge | None:
    """The curvature of both surfaces as a recipe's optimizer sees it.

    Args:
        model: at the point of the products; it is left alone.
        recipe: the optimizer and its rate.
        state: its ``state_dict()``; None: it has none.
        products: v → H v of the reference and of the incoming data.
        n: numbers of v.
        seed: of the start vectors.

    Returns:
        None where the limit of this optimizer has no closed form, or its denominators are in a state that is not known.

    Example:
        >>> import torch, thalweg
        >>> found = edge(torch.nn.Linear(2, 1), thalweg.Recipe("sgd", lr=0.1), None, [lambda v: v, lambda v: 5 * v], 3)
        >>> round(found.reference, 6), round(found.incoming, 6), found.limit
        (0.1, 0.5, 2.0)
    """
    twin = copy.deepcopy(model)
    parameters = [p for p in twin.parameters() if p.requires_grad]
    optimizer, _ = recipe.build(twin)
    try:
        most = limit(recipe.optimizer, optimizer.param_groups[0])
        divisor_n = denominators(continued(optimizer, state), parameters)
    except BadOption:
        return None
    rate = max(float(group["lr"]) for group in optimizer.param_groups)
    seen = [leading(preconditioned(product, divisor_n), n, count=1, seed=seed) for product in products]
    values = [rate * float(found.values_k[0]) for found in seen]
    return Edge(recipe.optimizer, rate, values[0], values[1], most)
