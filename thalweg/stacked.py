"""Cohorts of many members: one program over stacked weights, or, for what cannot be batched, one after the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .batch import Batch, Several, make_batch
from .batched import Batched
from .capacity import out_of_memory
from .cohort import Cohort, Floats, Solo
from .engine.joint import Joint
from .errors import BadOption
from .modes import evaluating
from .recording import Recorded
from .seeds import Stream
from .stacks import Places, changed_buffers, equal, stacked, turned_weights

if TYPE_CHECKING:
    from .data import Feed
    from .recipe import Recipe
    from .task import Task

TOLERANCE = 1e-4  # between a member's loss in the cohort and alone, before the first step
HALF_TOLERANCE = 1e-2  # the same where bfloat16 computes
ROWS = 8192  # members × rows that an evaluation holds at once


@dataclass(frozen=True)
class Entry:
    """What a member of a cohort is made from: its recipe with a known rate, its seed, the length of its schedule."""

    recipe: Recipe
    seed: int
    steps: int


class Many(Cohort):
    """Members that are solos as well."""

    def __init__(self, task: Task, entries: Sequence[Entry]) -> None:
        self.task, self.members = task, len(entries)
        self.solos = [Solo(task, entry.recipe, entry.seed, entry.steps) for entry in entries]

    def solo(self, member: int) -> Solo:
        """See `Cohort.solo`."""
        return self.solos[member]


class Looped(Many):
    """Members one after the other, each with its own stream of random numbers: the numbers are those of solo runs.

    Args:
        task: what is trained.
        entries: the members.
    """

    def __init__(self, task: Task, entries: Sequence[Entry]) -> None:
        super().__init__(task, entries)
        self._streams = [Stream(entry.seed, "dropout") for entry in entries]
        self._alive = [True] * self.members

    def forward(self, batch: Batch | Several) -> Tensor:
        """See `Cohort.forward`; the loss of a member that was stopped is 0."""
        losses = []
        for m, (solo, stream) in enumerate(zip(self.solos, self._streams, strict=True)):
            if self._alive[m]:
                with stream:
                    losses.append(solo.forward(batch.of(m)))
            else:
                losses.append(torch.zeros((), device=next(solo.model.parameters()).device))
        return torch.stack(losses)

    def backward(self, losses: Tensor, share: float) -> None:
        """See `Cohort.backward`."""
        alive = [solo.scaled(losses[m], share) for m, solo in enumerate(self.solos) if self._alive[m]]
        torch.stack(alive).sum().backward()  # type: ignore[no-untyped-call]

    def step(self) -> Floats:
        """See `Cohort.step`."""
        pairs = zip(self.solos, self._alive, strict=True)
        return np.concatenate([solo.step() if alive else np.zeros(1) for solo, alive in pairs])

    def stop(self, member: int) -> None:
        """See `Cohort.stop`."""
        self._alive[member] = False

    def rates(self) -> Floats:
        """See `Cohort.rates`."""
        return np.concatenate([solo.rates() for solo in self.solos])

    def evaluate(self, feed: Feed, members: Sequence[int]) -> list[dict[str, float]]:
        """See `Cohort.evaluate`."""
        return [found for m in members for found in self.solos[m].evaluate(feed)]


class Unbatchable(Exception):
    """Why the members of a cohort cannot be trained as one program."""


class TooLarge(Unbatchable):
    """The members of a cohort need more memory together than there is."""


class _Program(nn.Module):
    """What is batched: the loss of a raw batch, or loss and output in evaluation."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, raw: Any) -> Any:
        if self.model.training:
            return self.task.loss_of(self.model, make_batch(raw))
        loss, output = self.task.loss_and_output(self.model, make_batch(raw))
        return loss, output if isinstance(output, Tensor) else loss


class Stacked(Many):
    """Members as one program: stacked weights, a batched forward, one backward of the summed losses, a joint step.

    Each member's own model lives in the stacked memory: it holds the member's weights at any time.

    Args:
        task: what is trained.
        entries: the members.

    Raises:
        Unbatchable: something in model, loss or recipe cannot be batched; says what.
    """

    def __init__(self, task: Task, entries: Sequence[Entry]) -> None:
        super().__init__(task, entries)
        if task.compile or task.precision == "fp16":
            raise Unbatchable("compile=True" if task.compile else "the loss scale of fp16 is each run's own")
        data, size = task.prepare(), entries[0].recipe.batch_size or task.prepare().batch_size
        seeds = [entry.seed for entry in entries]
        self._program = _Program(task, self.solos[0].model)
        self._factors, self._at = _factors(self.solos, entries), 0
        batch = next(iter(data.train.training(size, seeds)))
        with _telling(), _batched_fully():
            self._stack(batch.of(0))
            # of several batches a step each gets a share, which the program rounds before its gradients, not after
            once = task.accumulate == 1 and size != "full"
            self._recorded = Recorded(task, self.solos[0].model, self._weights, self._buffers) if once else None
            self._check(batch, [seeds.index(seed) for seed in dict.fromkeys(seeds)])

    def _stack(self, batch: Batch) -> None:
        """Move weights, and the buffers that differ or change, to stacked memory."""
        named = [dict(solo.model.named_parameters()) for solo in self.solos]
        buffers = [dict(solo.model.named_buffers()) for solo in self.solos]
        if len({tuple((name, p.shape, p.dtype) for name, p in each.items()) for each in named}) > 1:
            raise Unbatchable("the members' models differ in structure")
        changed = changed_buffers(self.task, self.solos[0].model, batch)
        own = [n for n in buffers[0] if n in changed or any(not equal(b[n], buffers[0][n]) for b in buffers[1:])]
        turned = turned_weights(self.solos[0].model, batch.rows)
        self._weights = {name: stacked([each[name] for each in named], name in turned) for name in named[0]}
        self._buffers = {name: stacked([each[name] for each in buffers]) for name in own}
        self._places = Places(self.solos[0].model, [*self._weights, *self._buffers])
        params = [[each[name] for name in self._weights] for each in named]
        self._joint = Joint([solo.optimizer for solo in self.solos], params, list(self._weights.values()))

    def _apply(self, members: Sequence[int] | None, raw: Any, orders: bool) -> Any:
        """What the program gives for each member, stacked."""
        state = [*self._weights.values(), *self._buffers.values()]
        if members is not None and len(members) < self.members:
            index = torch.tensor(members, device=state[0].device)
            state = [stack.index_select(0, index) for stack in state]
        return self._run(state, raw, orders)

    def _run(self, state: Sequence[Tensor], raw: Any, orders: bool) -> Any:
        """The program with stacked weights and buffers."""

        def one(state: list[Tensor], raw: Any) -> Any:
            with self._places.holding(state):
                return self._program(raw)

        with sdpa_kernel(SDPBackend.MATH), Batched():
            return torch.vmap(one, (0, 0 if orders else None), randomness="different")(list(state), raw)

    def forward(self, batch: Batch | Several) -> Tensor:
        """See `Cohort.forward`.

        Raises:
            Unbatchable: for any error; one by one tells whether it is the user's.
        """
        with _telling():
            whole = batch.joined()
            played = self._recorded.play(self._run, whole.raw, whole.orders) if self._recorded else None
            losses: Tensor = self._apply(None, whole.raw, whole.orders) if played is None else played
        return losses

    def backward(self, losses: Tensor, share: float) -> None:
        """See `Cohort.backward`."""
        with _telling(memory=True):
            if not (self._recorded and self._recorded.leave()):
                (losses.sum() * share if share != 1 else losses.sum()).backward()  # type: ignore[no-untyped-call]

    def step(self) -> Floats:
        """See `Cohort.step`."""
        norms = self._joint.step(self._factors[self._at])
        self._at += 1
        for stack in self._weights.values():
            stack.grad = None
        return norms

    def stop(self, member: int) -> None:
        """See `Cohort.stop`; the member's model gets memory of its own."""
        self._joint.stop(member)
        with torch.no_grad():
            for tensor in (*self.solos[member].model.parameters(), *self.solos[member].model.buffers()):
                tensor.data = tensor.detach().clone()

    def rates(self) -> Floats:
        """See `Cohort.rates`."""
        return self._joint.rates(self._factors[self._at])

    def evaluate(self, feed: Feed, members: Sequence[int]) -> list[dict[str, float]]:
        """See `Cohort.evaluate`; members with averaged weights are evaluated one after the other."""
        plain = [m for m in members if not self.solos[m].optimizer.averages]
        found = {m: self.solos[m].evaluate(feed)[0] for m in members if m not in plain}
        if plain:
            with evaluating(self._program), _telling(memory=True):
                scores = self.task.evaluate_each(lambda batch: self._outputs(plain, batch), feed)
            found |= dict(zip(plain, scores, strict=True))
        return [found[m] for m in members]

    def _outputs(self, members: Sequence[int], batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses and outputs of some members in evaluation mode, so many at a time that the memory does."""
        most = max(1, ROWS // batch.rows)
        parts = [self._apply(members[i : i + most], batch.raw, False) for i in range(0, len(members), most)]
        losses, outputs = (torch.cat(column) for column in zip(*parts, strict=True))
        return losses, outputs

    def _check(self, batch: Batch | Several, members: Sequence[int]) -> None:
        """See that members compute in the cohort what they compute alone, in training and in evaluation mode."""
        first = self.solos[0]
        with _kept(self._buffers), torch.enable_grad():
            together = self.forward(batch)
            self.backward(together, 1.0)
            once = [first.forward(batch.of(0)).detach() for _ in range(2)]
            for m in members if torch.equal(*once) else ():  # else it draws random numbers
                self._compare(together[m].detach(), self.solos[m].forward(batch.of(m)).detach())
        for stack in self._weights.values():
            stack.grad = None
        with torch.no_grad(), evaluating(self._program):
            one = batch.of(0)
            losses, _ = self._outputs(range(self.members), one)
            for m in members:
                with evaluating(self.solos[m].model):
                    self._compare(losses[m], self.task.loss_and_output(self.solos[m].model, one)[0])

    def _compare(self, together: Tensor, alone: Tensor) -> None:
        tolerance = TOLERANCE if self.task.precision == "float32" else HALF_TOLERANCE
        if not torch.allclose(together, alone, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise Unbatchable(f"a loss is {float(together):.6g} in a cohort and {float(alone):.6g} alone")


def make(task: Task, entries: Sequence[Entry]) -> tuple[Cohort, str | None]:
    """A cohort of some members, and why it is not trained as one program, None where it is or has one member.

    Raises:
        BadOption: the recipes differ in batch size.
        TooLarge: fewer members at a time would do.
    """
    sizes = list(dict.fromkeys(entry.recipe.batch_size for entry in entries))
    if len(sizes) > 1:
        raise BadOption(f"a cohort has one batch size, got {sizes}", "train recipes of different batch sizes apart")
    if len(entries) == 1:
        return Solo(task, entries[0].recipe, entries[0].seed, entries[0].steps), None
    try:
        return Stacked(task, entries), None
    except TooLarge:
        raise
    except Unbatchable as reason:
        return Looped(task, entries), str(reason)


def _factors(solos: Sequence[Solo], entries: Sequence[Entry]) -> Floats:
    """The schedules as a table: a row a step, a column a member; after its last step a member's rate stays."""
    steps, columns = max(entry.steps for entry in entries), {}
    keys = [(e.recipe.schedule, e.recipe.warmup_steps(e.steps), e.steps) for e in entries]
    for key, solo in zip(keys, solos, strict=True):
        if key not in columns:
            own = [float(solo.factor(step)) for step in range(key[-1] + 1)]
            columns[key] = own + own[-1:] * (steps - key[-1])
    return np.array([columns[key] for key in keys]).T.copy()


@contextmanager
def _kept(tensors: dict[str, Tensor]) -> Iterator[None]:
    """Afterwards the tensors hold what they held before."""
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(before[name])


def _line(error: Exception) -> str:
    """The kind of an error, and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


@contextmanager
def _telling(*, memory: bool = False) -> Iterator[None]:
    """Raise `TooLarge` where memory ends, and unless that is all that is asked for `Unbatchable` for any other error."""
    try:
        yield
    except Unbatchable:
        raise
    except Exception as error:
        if memory and not out_of_memory(error):
            raise
        raise (TooLarge if out_of_memory(error) else Unbatchable)(_line(error)) from error


@contextmanager
def _batched_fully() -> Iterator[None]:
    """Raise `Unbatchable` for an operator that vmap would only run member by member."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    slow = next((str(w.message) for w in caught if "batching rule" in str(w.message)), None)
    if slow is not None:
        raise Unbatchable(slow.split("for ")[-1].split(". ")[0])
