"""Networks whose hidden units stand in another order compute the same function: the order of one is matched to another's.

Legend: n trained parameters; permutation[i] = j: unit i of the matched network is unit j of the one that was given.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .. import trial
from ..batch import Batch, leaves, make_batch, map_leaves
from ..curvature import batches_of
from ..errors import BadTask, check, one_of
from ..modes import evaluating
from ..seeds import stream
from .units import Carrier, Following, Forward, Group, groups, places

if TYPE_CHECKING:
    from ..task import Task

__all__ = ["Carrier", "Group", "Matched", "changes", "groups", "match", "permute"]

State = Mapping[str, Any]
_Given = tuple[int, str, Tensor]  # the number of the operator, the group's name, what its units gave, (size, places)
Floats = npt.NDArray[np.float64]
BATCHES = 8
TRIES = 4  # orders of the groups that the descent is tried in
SWEEPS = 100
SAME = 1e3  # roundings of the output's numbers that a permutation may change them by
REPEATS = 10  # of the assignment by activations, at most
STILL = 1e-12  # of its mean square: the variance of a unit that never changes, by rounding
GAIN = 1e-12  # of the product of the networks' lengths: less is rounding


@dataclass(frozen=True)
class Matched:
    """A network whose units stand in the order of another's.

    Attributes:
        state: its state dict, for ``load_state_dict``.
        point: its trained parameters, (n,) float64.
        permutations: of each group, by its name.
        moved: share of the units in all groups that stand elsewhere now.
        distance: between the trained parameters of the two networks before and after, ‖a − b‖.
        by: ``weights`` or ``activations``.
        notes: what was left as it is, and why.
    """

    state: dict[str, Any]
    point: Tensor
    permutations: dict[str, Tensor]
    moved: float
    distance: tuple[float, float]
    by: str
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What was done, in words."""
        before, after = self.distance
        units = sum(map(len, self.permutations.values()))
        return (
            f"{units} units in {len(self.permutations)} groups were matched by {self.by}: {self.moved:.0%} of them moved, "
            f"and the distance of the networks went from {before:.4g} to {after:.4g}."
        )

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, without the weights."""
        return {
            "by": self.by,
            "permutations": {name: order.tolist() for name, order in self.permutations.items()},
            "moved": self.moved,
            "distance": list(self.distance),
            "notes": list(self.notes),
        }


def permute(model: nn.Module | State, group: Group, permutation: Any) -> dict[str, Any]:
    """A state dict in which unit i of a group is what unit ``permutation[i]`` was; tensors of others are shared.

    Args:
        model: or its state dict; left as it is.
        group: of `groups`.
        permutation: of 0 … size − 1.

    Raises:
        BadTask: it is no permutation of as many units.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> (group,) = groups(net, lambda m: m(torch.zeros(1, 2)))
        >>> turned = permute(net, group, [2, 0, 1])
        >>> torch.equal(turned["2.weight"], net[2].weight[:, [2, 0, 1]])
        True
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    order = torch.as_tensor(permutation, dtype=torch.long)
    if order.shape != (group.size,) or not torch.equal(order.sort().values, torch.arange(group.size)):
        raise BadTask(f"matching: no permutation of the {group.size} units of {group.name}", "give each unit once")
    found = dict(state)
    for carrier in group.carriers:
        found[carrier.tensor] = carrier.permuted(found[carrier.tensor].detach(), order)
    return found


def changes(model: nn.Module, forward: Forward, group: Group, seed: int = 0) -> float:
    """By how much the output changes when all units of a group are moved at random, in roundings of its largest number.

    Args:
        model: a copy is run, in evaluation mode.
        forward: gives the model's output.
        group: of `groups`.
        seed: of the permutation.

    Returns:
        max |f(x) − f′(x)| / (ε max |f(x)|), the largest over the tensors of the output; some roundings are the order of
        sums, and mean the same function.
    """
    twin = copy.deepcopy(model)
    before = _outputs(twin, forward)
    ring = np.random.default_rng(seed).permutation(group.size)  # one cycle, so that no unit stays
    twin.load_state_dict(permute(twin, group, np.roll(ring, 1)[np.argsort(ring)]))
    found = 0.0
    for x, y in zip(before, _outputs(twin, forward), strict=True):
        if x.is_floating_point() and x.numel():
            scale = torch.finfo(x.dtype).eps * max(float(x.abs().max()), torch.finfo(x.dtype).tiny)
            found = max(found, float((x - y).abs().max()) / scale)
    return found


def _outputs(model: nn.Module, forward: Forward) -> list[Tensor]:
    with torch.no_grad(), evaluating(model), stream(0, "units"):
        return leaves(forward(model))


def match(
    task: Task, a_model: nn.Module, b_model: nn.Module, *, by: str = "weights", batches: Sequence[Batch] | None = None,
    seed: int = 0,
) -> Matched:  # fmt: skip
    """The network b with its hidden units in the order of a's.

    By weights: the permutations that bring the trained parameters of b near those of a, max Σ ⟨a, P b⟩, one group after the
    other until none gains, in several orders of the groups; an exact maximum is not known to be found. By activations: the
    units of each group so that the sum of their correlations with those of a over the batches is largest.

    Args:
        task: that both were trained for.
        a_model: left as it is.
        b_model: of the same structure; left as it is.
        by: ``weights`` or ``activations``.
        batches: for the analysis and the activations; None: some training batches.
        seed: of the batches and the orders.

    Returns:
        The permuted state, which computes what b computes: a group whose permutation changes b's output is left alone.

    Raises:
        BadOption: ``by`` is unknown.
        BadTask: the models differ in structure.

    Example:
        >>> import thalweg
        >>> task = thalweg.Task.load("digits")
        >>> a = task.build(0)
        >>> found = match(task, a, task.build(1))
        >>> {name: len(order) for name, order in found.permutations.items()}, found.distance[1] < found.distance[0]
        ({'0.weight': 32}, True)

    Source: S. Ainsworth, J. Hayase, S. Srinivasa, Git Re-Basin, arXiv 2209.04836, sections 3.1 and 3.2; correlations:
    Y. Li et al., arXiv 1511.07543.
    """
    check("match", "by", by, one_of("weights", "activations"))
    a, b = a_model.state_dict(), b_model.state_dict()
    if {k: getattr(v, "shape", None) for k, v in a.items()} != {k: getattr(v, "shape", None) for k, v in b.items()}:
        raise BadTask("matching: the two models have other parameters", "give two of the same structure")
    chosen = list(batches) if batches is not None else batches_of(task, BATCHES, seed)
    if not chosen:
        raise BadTask("matching: no batches", "give at least one")
    passes = [_pass(task, batch) for batch in chosen]
    found, notes = list[Group](), list[str]()
    for group in groups(b_model, passes[0]):
        if changes(b_model, passes[0], group, seed) <= SAME:
            found.append(group)
        else:
            notes.append(f"{group.name}: left as it is, since its {group.size} units cannot be permuted unnoticed.")
    learned = [name for name, p in b_model.named_parameters() if p.requires_grad]
    carried = {carrier.tensor for group in found for carrier in group.carriers}
    alone = [name for name in learned if name not in carried and b[name].ndim > 1]
    if alone:
        notes.append(f"No units to permute in {', '.join(alone)}.")
    if by == "weights":
        best = _by_weights(found, a, b, learned, seed)
    else:
        best = _by_activations(found, a_model, b_model, passes)
    state: State = b
    for group in found:
        state = permute(state, group, best[group.name])
    units = sum(group.size for group in found)
    stay = sum(int((best[g.name] == torch.arange(g.size)).sum()) for g in found)
    at = [_flat(x, learned) for x in (a, b, state)]
    return Matched(
        {name: x.clone() if isinstance(x, Tensor) else x for name, x in state.items()}, at[2],
        best, 1 - stay / units if units else 0.0, (float((at[0] - at[1]).norm()), float((at[0] - at[2]).norm())),
        by, tuple(notes),
    )  # fmt: skip


def _pass(task: Task, batch: Batch) -> Forward:
    """What a model gives for a batch; its loss, where only the task's own function knows how it is called."""
    raw = task.batch_loss is None and task.prepare().fit.own_loss == "raw"

    def forward(model: nn.Module) -> Any:
        fresh = make_batch(map_leaves(torch.clone, batch.raw))  # for models that write into their inputs
        if task.batch_loss is not None:
            return task.loss_of(model, fresh)
        return trial.call_raw(model, fresh.raw) if raw else trial.call(model, fresh.inputs)

    return forward


def _flat(state: State, names: Sequence[str]) -> Tensor:
    return torch.cat(
        [torch.zeros(0, dtype=torch.float64), *(state[k].detach().reshape(-1).double().cpu() for k in names)]
    )


def _assigned(gains: Floats) -> Tensor:
    """The permutation of the largest sum of gains[i, permutation[i]]."""
    from scipy.optimize import linear_sum_assignment

    return torch.from_numpy(linear_sum_assignment(gains, maximize=True)[1]).long()


def _by_weights(found: list[Group], a: State, b: State, learned: Sequence[str], seed: int) -> dict[str, Tensor]:
    """Coordinate descent over the groups, from several orders of them; the best."""
    generator = np.random.default_rng(seed)
    wide = [{name: state[name].detach().double().cpu() for name in learned} for state in (a, b)]
    own = [
        Group(g.name, g.size, tuple(carrier for carrier in g.carriers if carrier.tensor in wide[0])) for g in found
    ]  # buffers and other names of tied weights follow
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


def _by_activations(
    found: list[Group], a_model: nn.Module, b_model: nn.Module, passes: Sequence[Forward]
) -> dict[str, Tensor]:
    """The units of each group by the sum of their correlations over all that products and sums give.

    Of groups on one axis, such as the heads of an attention and the numbers of a head, each is seen right only where the
    others stand in order: all are repeated until none moves.
    """
    twin, orders = copy.deepcopy(b_model), {group.name: torch.arange(group.size) for group in found}
    wanted = [_given(a_model, forward) for forward in passes]
    for _ in range(REPEATS):
        gains = _gains(wanted, [_given(twin, forward) for forward in passes])
        turns = {group.name: _assigned(gains[group.name]) for group in found if group.name in gains}
        state: State = twin.state_dict()
        for group in found:
            turn = turns.get(group.name, torch.arange(group.size))
            state, orders[group.name] = permute(state, group, turn), orders[group.name][turn]
        if all(torch.equal(turn, torch.arange(len(turn))) for turn in turns.values()):
            break
        twin.load_state_dict(state)
    return orders


def _gains(a: list[list[_Given]], b: list[list[_Given]]) -> dict[str, Floats]:
    """Of each group the correlations of its units, added up over the operators."""
    sums: dict[tuple[str, int], list[Any]] = {}
    for one, other in zip(a, b, strict=True):
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
