"""Networks whose hidden units stand in another order compute the same function: the order of one is matched to another's.

Legend: n trained parameters; permutation[i] = j: unit i of the matched network is unit j of the one that was given.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import trial
from ..batch import Batch, leaves, make_batch, map_leaves
from ..curvature import batches_of
from ..errors import BadTask, check, one_of
from ..modes import evaluating
from ..seeds import stream
from .assignment import by_activations, by_weights
from .units import Carrier, Forward, Group, State, groups, permute

if TYPE_CHECKING:
    from ..task import Task

__all__ = ["Carrier", "Group", "Matched", "changes", "groups", "match", "permute"]

BATCHES = 8
SAME = 1e3  # roundings of the output's numbers that a permutation may change them by


@dataclass(frozen=True, eq=False)
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
        units, groups = sum(map(len, self.permutations.values())), len(self.permutations)
        return (
            f"{units} units in {groups} group{'s' * (groups != 1)} were matched by {self.by}: {self.moved:.0%} of them moved, "
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
            "sentence": self.sentence,
        }


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
    learned = [name for name, p in b_model.named_parameters() if p.requires_grad]
    shapes = [{name: getattr(x, "shape", None) for name, x in state.items()} for state in (a, b)]
    if shapes[0] != shapes[1] or any(name not in b for name in learned):
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
    carried = {carrier.tensor for group in found for carrier in group.carriers}
    alone = [name for name in learned if name not in carried and b[name].ndim > 1]
    if alone:
        notes.append(f"No units to permute in {', '.join(alone)}.")
    if by == "weights":
        best = by_weights(found, a, b, learned, seed)
    else:
        best = by_activations(found, a_model, b_model, passes)
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
