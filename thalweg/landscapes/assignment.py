"""Which unit of one network is which of another: by their weights, or by what they give on the same rows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..errors import BadTask
from .units import Following, Forward, Group, State, permute, places

Floats = npt.NDArray[np.float64]
_Given = tuple[int, str, Tensor]  # the number of the operator, the group's name, what its units gave, (size, places)
TRIES = 4  # orders of the groups that the descent is tried in
SWEEPS = 100
GAIN = 1e-12  # of the product of the networks' lengths: less is rounding
REPEATS = 10  # of the assignment by activations, at most
STILL = 1e-12  # of its mean square: the variance of a unit that never changes, by rounding


def _assigned(gains: Floats) -> Tensor:
    """The permutation of the largest sum of gains[i, permutation[i]]."""
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(gains, maximize=True)[1]).long()


def by_weights(found: list[Group], a: State, b: State, learned: Sequence[str], seed: int) -> dict[str, Tensor]:
    """The permutations P of max Σ ⟨a, P b⟩: one group after the other until none gains, in several orders of the groups.

    Args:
        found: the groups.
        a: state dict of the network whose order is wanted.
        b: state dict of the other.
        learned: the tensors that count; buffers, and further names of tied weights, follow.
        seed: of the orders.

    Returns:
        Of each group its permutation, of the best order; each alone cannot be bettered while the others stand, unless a
        tensor carries it on two axes.
    """
    generator = np.random.default_rng(seed)
    wide = [{name: state[name].detach().double().cpu() for name in learned} for state in (a, b)]
    own = [Group(g.name, g.size, tuple(carrier for carrier in g.carriers if carrier.tensor in wide[0])) for g in found]
    best, most = {g.name: torch.arange(g.size) for g in own}, -np.inf
    for _ in range(TRIES if len(own) > 1 else 1):
        at, orders = dict(wide[1]), {g.name: torch.arange(g.size) for g in own}
        for _ in range(SWEEPS):
            if not sum([_improve(group, wide[0], at, orders) for group in _shuffled(own, generator)]):
                break
        reached = sum(float((wide[0][name] * at[name]).sum()) for name in learned)
        if reached > most:
            best, most = orders, reached
    return best


def _shuffled(found: list[Group], generator: np.random.Generator) -> list[Group]:
    return [found[k] for k in generator.permutation(len(found))]


def _improve(group: Group, a: State, at: dict[str, Tensor], orders: dict[str, Tensor]) -> bool:
    """Put one group into its best order while the others stand; whether that gained."""
    names = dict.fromkeys(carrier.tensor for carrier in group.carriers)
    gains = np.zeros((group.size, group.size))
    for carrier in group.carriers:
        gains += (carrier.rows(a[carrier.tensor], group.size) @ carrier.rows(at[carrier.tensor], group.size).T).numpy()
    order = _assigned(gains)
    turned = permute(at, group, order)
    # A tensor with the group on two axes makes the gains a guess: what counts is what the order reaches.
    gain = sum(float((a[name] * (turned[name] - at[name])).sum()) for name in names)
    size = sum(float(a[name].norm() * at[name].norm()) for name in names)
    if gain <= GAIN * size:
        return False
    at.update({name: turned[name] for name in names})
    orders[group.name] = orders[group.name][order]
    return True


def by_activations(
    found: list[Group], a_model: nn.Module, b_model: nn.Module, passes: Sequence[Forward]
) -> dict[str, Tensor]:
    """The units of each group by the sum of their correlations over all that products and sums give.

    Of groups on one axis, such as the heads of an attention and the numbers of a head, each is seen right only where the
    others stand in order: all are repeated until none moves.

    Args:
        found: the groups.
        a_model: the network whose order is wanted; a copy is run.
        b_model: the other; a copy is run.
        passes: a forward pass for each batch.

    Raises:
        BadTask: the networks' operators differ.
    """
    twin, orders = copy.deepcopy(b_model), {group.name: torch.arange(group.size) for group in found}
    for _ in range(REPEATS):
        gains = _gains(a_model, twin, passes)
        turns = {group.name: _assigned(gains[group.name]) for group in found if group.name in gains}
        state: State = twin.state_dict()
        for group in found:
            turn = turns.get(group.name, torch.arange(group.size))
            state, orders[group.name] = permute(state, group, turn), orders[group.name][turn]
        if all(torch.equal(turn, torch.arange(len(turn))) for turn in turns.values()):
            break
        twin.load_state_dict(state)
    return orders


def _gains(a_model: nn.Module, b_model: nn.Module, passes: Sequence[Forward]) -> dict[str, Floats]:
    """Of each group the correlations of its units over all batches, added up over the operators."""
    sums: dict[tuple[str, int], list[Any]] = {}
    for forward in passes:
        one, other = _given(a_model, forward), _given(b_model, forward)
        if [(k, name, x.shape) for k, name, x in one] != [(k, name, y.shape) for k, name, y in other]:
            raise BadTask("matching: the two models do not run alike", "match them by weights")
        for (k, name, x), (_, _, y) in zip(one, other, strict=True):
            parts: list[Any] = [x.shape[1], x.sum(1), y.sum(1), (x * x).sum(1), (y * y).sum(1), x @ y.T]
            known = sums.get((name, k), [0] * len(parts))
            sums[name, k] = [old + part for old, part in zip(known, parts, strict=True)]
    found: dict[str, Floats] = {}
    for (name, _), parts in sums.items():
        gains = _correlations(*parts)
        found[name] = found[name] + gains if name in found else gains
    return found


def _given(model: nn.Module, forward: Forward) -> list[_Given]:
    """What the units of each group give; a number that a mask made infinite counts as zero."""
    twin = copy.deepcopy(model)
    looking = Following(twin)
    looking.over(twin, forward)
    found = []
    for k, (x, axes) in enumerate(looking.given):
        for atom, carrier in places("", axes):
            group = looking.groups.get(id(atom))
            if group is not None:
                rows = carrier.rows(x.detach().double().cpu(), group.size)
                found.append((k, group.name, rows.nan_to_num(0.0, 0.0, 0.0)))
    return found


def _correlations(n: int, x: Tensor, y: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> Floats:
    """Of units by units, from their sums; of one that never changes, none."""
    variances = [(square / n - (mean / n) ** 2, STILL * square / n) for mean, square in ((x, xx), (y, yy))]
    scale = torch.outer(*(torch.where(own > least, 1 / own.clamp(min=1e-300).sqrt(), 0.0) for own, least in variances))
    found: Floats = ((xy / n - torch.outer(x / n, y / n)) * scale).numpy()
    return found
