"""`watch`: looks on inside the user's own training loop and says what goes wrong in it."""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from .. import errors
from . import graph
from .events import listening
from .findings import Finding, ranked
from .following import Clock, Followed, norms, some
from .loop_probes import PROBES
from .record import Broken, Losses, Outsider, Record

Models = nn.Module | Iterable[nn.Module]
Optimizers = torch.optim.Optimizer | Iterable[torch.optim.Optimizer]
WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile and of data parallel training


def watch(model: Models, optimizer: Optimizers, *, share: float = 0.02) -> Watch:
    """Look on inside a training loop: what is wrong with it, or with what it trains.

    The loop stays as it is. Nothing is run for it, no module is hooked, and everything is afterwards as it would be
    without: parameters, gradients, states, random numbers. A few steps are looked at in full, the first ones and then as
    many as the share allows; the others cost a few microseconds.

    Args:
        model: the network, or several.
        optimizer: the one that trains it, or all of them; ours or torch's.
        share: of the time, that looking may take after the first five steps.

    Returns:
        A context manager with ``findings`` and ``not_seen``, during and after.

    Raises:
        BadOption: something else than networks and optimizers was given.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(4, 3)
        >>> opt = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> x, y = torch.randn(8, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
        >>> with watch(net, opt) as seen:
        ...     for _ in range(10):  # zero_grad is missing
        ...         torch.nn.functional.cross_entropy(net(x), y).backward()
        ...         opt.step()
        >>> seen.findings[0].code
        'gradients-accumulate'
    """
    models = [model] if isinstance(model, nn.Module) else list(model)
    optimizers = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
    if not (models and all(isinstance(m, nn.Module) for m in models)):
        raise errors.BadOption("watch: the model is no torch.nn.Module", "watch(model, optimizer)")
    if not (optimizers and all(isinstance(o, torch.optim.Optimizer) for o in optimizers)):
        raise errors.BadOption("watch: the optimizer is no torch.optim.Optimizer", "watch(model, optimizer)")
    if not 0 < share <= 1:
        raise errors.BadOption(f"watch: share={share!r} is not in (0, 1]", "the default is 0.02")
    return Watch(models, optimizers, share)


class Watch:
    """A training loop under watch; made by `watch`.

    Attributes:
        names: identity of a parameter → its name.
        batches: backward passes that were seen.
        clock: what the watch has taken, and when it looks again.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(4, 3)
        >>> seen = watch(net, torch.optim.SGD(net.parameters(), lr=0.1))
        >>> seen.findings
        []
    """

    def __init__(self, models: Sequence[nn.Module], optimizers: Sequence[torch.optim.Optimizer], share: float) -> None:
        self.models, self.names = list(models), dict[int, str]()
        self.batches = 0
        self.clock = Clock(share)
        self.losses = Losses()
        self.followed: list[Followed] = []
        self._optimizers, self._share = list(optimizers), share
        self._open = contextlib.ExitStack()
        self._total, self._passes = math.nan, 0  # loss of this step, and its backward passes
        self._scaled: tuple[int, Tensor, Any] | None = None  # identity of a scaled loss, the loss, the scaler
        self._scale = 1.0
        self._finite = -1  # the last step at which all was seen to be finite
        self._trouble: str | None = None

    def __enter__(self) -> Watch:
        self.clock, self.losses, self.followed = Clock(self._share), Losses(), []
        self._open.enter_context(listening(self))
        for optimizer in self._optimizers:
            self.follow(optimizer)
        return self

    def __exit__(self, *error: object) -> None:
        self.clock.stop()
        for each in self.followed:
            each.leave()
        self._open.close()
        self._scaled = None
        for each in self.followed:
            each.unchecked = each.look = None

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Watch one more optimizer."""
        followed = Followed(self, optimizer, self.losses)
        self.followed.append(followed)
        with self.looking():
            followed.begin()

    # ---- what was found, and what that took ----

    @property
    def cost(self) -> dict[str, float]:
        """What all calls of the watch took: ``seconds``, and their ``share`` of the time since it began."""
        return {"seconds": self.clock.spent, "share": self.clock.spent / max(self.clock.elapsed, 1e-9)}

    @property
    def records(self) -> list[Record]:
        """What was seen, one for each optimizer that made a step."""
        made = [f.record for f in self.followed if f.record.steps]
        for record in made:
            record.alone = len(made) == 1
        return made

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the most severe first, and of those the nearest to the root."""
        return ranked(finding for record in self.records for probe in PROBES.values() for finding in probe(record))

    @property
    def not_seen(self) -> list[str]:
        """What could not be judged, a sentence each."""
        records = self.records
        said = [self._trouble] if self._trouble else []
        if not records:
            return [*said, "No optimizer made a step."]
        scenes = [look.scene for record in records for look in record.seen]
        if any(scene is None for scene in scenes):
            said.append("Steps without a backward() before: gradients by torch.autograd.grad are not seen.")
        said += sorted({reason for scene in scenes if scene is not None for reason in scene.opaque})
        known = [scene for scene in scenes if scene is not None]
        if known and not any(scene.loss for scene in known):
            said.append(
                "The loss is no function of torch that is known: its sign, its sum and its targets are not seen."
            )
        elif known and not any(scene.labels for scene in known):
            said.append("No class labels are seen, so not whether the rows are shuffled.")
        if len(records) > 1:
            said.append("With several optimizers the loss may rise in health: it is not judged.")
        elif not self.losses.count and self.losses.broken is None:
            said.append("No loss was seen.")
        if any(f.closing or f.record.optimizer == "LBFGS" for f in self.followed):
            said.append("Inside a closure only the last gradient is seen: neither clipping nor accumulation.")
        return [*said, "Validation, the data set and what was not run are not seen."]

    # ---- what the events and the optimizers call ----

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Time what is done, without autograd; an error of ours is told and ends the looking, never the training."""
        began = perf_counter()
        try:
            if self._trouble is None:
                with torch.no_grad():
                    yield
            else:
                yield
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._trouble = f"The watch stopped: {type(error).__name__}: {error} ({place.name}, line {place.lineno})."
            for each in self.followed:
                each.leave()
                each.look = each.unchecked = None
        finally:
            self.clock.spent += perf_counter() - began

    def before_backward(self, root: Tensor) -> None:
        """A backward pass is about to run."""
        began, spent = perf_counter(), self.clock.spent
        self._before_backward(root)
        self.clock.spent = spent + perf_counter() - began

    def _before_backward(self, root: Tensor) -> None:
        self.batches += 1
        loss, scaler = root, None
        if self._scaled is not None:
            if self._scaled[0] == id(root):
                loss, scaler = self._scaled[1:]
            self._scaled = None
        looks = [each for each in self.followed if each.look is not None]
        value = math.nan
        if loss.numel() == 1 and (looks or loss.is_cpu):
            value = loss.item()
            self._count(value)
            if self.losses.broken is None and not math.isfinite(value):
                with self.looking():
                    self._trace(root)
        if looks:
            with self.looking():
                self._scale = scaler.get_scale() if scaler is not None else 1.0
                for each in looks:
                    each.record.scaled |= scaler is not None
                    each.before_pass(root, value)

    def after_backward(self) -> None:
        """It has run."""
        for each in self.followed:
            if each.look is not None:
                with self.looking():
                    each.after_pass(self._scale)

    def scaled(self, root: Any, result: Any, scaler: Any) -> None:
        """A loss was scaled: its backward pass is that of the loss."""
        if isinstance(root, Tensor):
            self._scaled = (id(result), root.detach(), scaler)

    def _count(self, value: float) -> None:
        if self._passes == 0:
            self._total = value
        elif not any(each.closing for each in self.followed):  # a closure evaluates the same loss again
            self._total += value
        self._passes += 1

    def close_step(self, step: int) -> None:
        """A step is over."""
        if self._passes:
            self.losses.add(self._total, step)
            self._passes = 0

    def finite_at(self, step: int) -> None:
        """A look at a step is over; all was finite there if the losses are."""
        self._finite = step if self.losses.broken is None else self._finite

    def training(self) -> bool:
        """Whether any model is in training mode."""
        return any(model.training for model in self.models)

    # ---- where things are ----

    def name_parameters(self) -> None:
        """Names of all parameters now; those of an optimizer that are in no model get none."""
        several = len(self.models) > 1
        self.names = {
            id(p): (f"{i}." if several else "") + plain(name)
            for i, model in enumerate(self.models)
            for name, p in model.named_parameters()
        }
        for each in self.followed:
            each.record.stochastic = getattr(each.optimizer, "rounding", None) == "stochastic"
            each.record.maximizes = any(group.get("maximize") for group in each.optimizer.param_groups)
            each.record.regularized = [
                plain(name) for model in self.models for name, module in model.named_modules() if acts_by_mode(module)
            ]

    def seen_outside(self, record: Record) -> None:
        """Parameters of the models that want gradients and that no optimizer has."""
        held = {id(p) for each in self.followed for group in each.optimizer.param_groups for p in group["params"]}
        seen = {}
        for model in self.models:
            own = [p for p in model.parameters()]
            if len(self.models) > 1 and not any(id(p) in held for p in own):
                continue  # a network that is not trained here
            for p in own:
                if p.requires_grad and id(p) not in held:
                    name = self.names.get(id(p), "")
                    known = record.outside.get(name)
                    numbers = some(p, 64)
                    known = known or Outsider(p.numel(), numbers.clone())
                    known.moved |= not torch.equal(known.some, numbers)
                    known.gradients += p.grad is not None and norms([p.grad])[0] > 0
                    seen[name] = known
        record.outside = seen

    def _trace(self, root: Tensor) -> None:
        """Where the first number is that is not finite, at the step whose loss is not."""
        step = max((each.record.steps for each in self.followed), default=0)
        self.name_parameters()
        parameters = [p for model in self.models for p in model.parameters() if p.is_floating_point()]
        bad = [
            p
            for p, size in zip(parameters, norms([p.detach() for p in parameters]), strict=True)
            if not math.isfinite(size)
        ]
        if bad:
            self.break_at("parameter", self.names.get(id(bad[0]), ""), step)
        else:
            self.break_at(*graph.where_not_finite(root, self.names), step)

    def break_at(self, kind: str, where: str, step: int) -> None:
        """Note the first number that is not finite."""
        for each in self.followed:
            if each.record.broken is None:
                each.record.broken = Broken(step, self.batches - 1, kind, where, self._finite)


def plain(name: str) -> str:
    """A name without what wrappers put before it."""
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def acts_by_mode(module: nn.Module) -> bool:
    """Whether training and evaluating differ in a module, and it is not frozen."""
    if isinstance(module, _BatchNorm):
        return module.weight is None or module.weight.requires_grad
    return isinstance(module, _DropoutNd) and module.p > 0
