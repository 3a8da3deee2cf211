"""The task: what the user brings, as factories that can be rebuilt from a seed."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg import trial
from thalweg.batch import Batch
from thalweg.data import Feed, Tensors
from thalweg.device import find_device
from thalweg.errors import COUNT, FLAG, Allowed, BadOption, BadTask, check, one_of, optional
from thalweg.fresh import kept_because, redraw
from thalweg.metrics import Metric, choose, ece, nll
from thalweg.modes import evaluating
from thalweg.seeds import Stream, stream

if TYPE_CHECKING:
    from thalweg.prepared import Prepared

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SEED = Allowed("a whole number >= 0", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0)
SHUFFLE = Allowed("True, False, or the size of a shuffle buffer", lambda v: isinstance(v, bool) or COUNT.test(v))
CALLABLE = Allowed("a function", callable)
TEXT = Allowed("a text", lambda v: isinstance(v, str) and bool(v))


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A model, data, a loss, a metric and a budget; immutable, and nothing is read or run before `prepare`.

    Args:
        model: a factory (called under the stream of weights of each seed) or a module (copied; redrawn per seed where
            its weights are recognizably fresh, else kept).
        train: the training data: ``(inputs, targets)`` of tensors or arrays (inputs also a tuple or dict), a map
            or iterable ``Dataset``, a ``DataLoader``, or a path (idx images, .npz, .csv).
        valid: the validation data, halved into ``select`` and ``judge``; None: 20 % of the training rows, at most
            10 000.
        test: data that are used once, at the end.
        loss: a function of (output, targets), the mean over the batch; None: inferred.
        batch_loss: a function of (model, batch as the loader gave it), instead of ``loss``.
        metric: ``accuracy, f1, auc, perplexity, mse, r2, nll, ece, loss``, a function of (outputs, targets) of the
            whole evaluation set, a torchmetrics metric, or a dict of them; None: inferred.
        goal: which metric decides and how, such as ``"max auc"``.
        batch_size: rows a batch, unless the ``DataLoader`` has its own.
        epochs: passes over the training data; 5 where neither this nor ``steps`` is given.
        steps: updates, instead of ``epochs``.
        shuffle: True: a new permutation each epoch; False; or the size of a shuffle buffer.
        transform: a function of a batch of inputs, applied to every split.
        device: ``"auto"`` (CUDA where there is one), or torch's name of a device.
        precision: ``float32``, or ``bf16`` or ``fp16`` under autocast.
        accumulate: batches an update gathers.
        compile: whether the model is compiled.
        seed: of the split of the data.
        name: how the task is called.

    Raises:
        BadOption: an argument outside what is allowed.

    Example:
        >>> x, y = torch.randn(80, 4), torch.randint(3, (80,))
        >>> task = Task(model=lambda: nn.Linear(4, 3), train=(x, y), batch_size=16, epochs=2, name="toy")
        >>> prepared = task.prepare()
        >>> prepared.metric, prepared.steps, prepared.judge.rows
        ('accuracy', 8, 8)
    """

    model: Any
    train: Any
    valid: Any = None
    test: Any = None
    loss: Any = None
    batch_loss: Any = None
    metric: Any = None
    goal: str | None = None
    batch_size: int = 64
    epochs: int | None = None
    steps: int | None = None
    shuffle: bool | int = True
    transform: Callable[[Any], Any] | None = None
    device: str = "auto"
    precision: str = "float32"
    accumulate: int = 1
    compile: bool = False
    seed: int = 0
    name: str = None  # type: ignore[assignment]
    _memory: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        model: object = self.model
        if not callable(model):
            raise BadOption(
                f"Task: model must be a module or a factory, got {self.model!r}", "for example model=make_net"
            )
        if self.train is None:
            raise BadOption("Task: train is missing", "give training data, for example train=(x, y)")
        if self.loss is not None and self.batch_loss is not None:
            raise BadOption("Task: both loss and batch_loss are given", "keep one of them")
        if self.epochs is not None and self.steps is not None:
            raise BadOption("Task: both epochs and steps are given", "keep one of them")
        for option in ("loss", "batch_loss", "transform"):
            check("Task", option, getattr(self, option), optional(CALLABLE))
        for option in ("epochs", "steps"):
            check("Task", option, getattr(self, option), optional(COUNT))
        for option in ("batch_size", "accumulate"):
            check("Task", option, getattr(self, option), COUNT)
        check("Task", "shuffle", self.shuffle, SHUFFLE)
        check("Task", "precision", self.precision, one_of("float32", "bf16", "fp16"))
        check("Task", "compile", self.compile, FLAG)
        check("Task", "seed", self.seed, SEED)
        check("Task", "name", self.name, optional(TEXT))
        if self.metric is not None or self.goal is not None:
            choose(self.metric, self.goal)
        find_device(self.device)
        name: object = self.name
        if name is None:
            model_name = trial.name_of(type(self.model) if self._given else self.model)
            object.__setattr__(self, "name", "model" if model_name == "<lambda>" else model_name)

    @property
    def source(self) -> str | None:
        """What `load` took to give this task, from any folder; None: it was made otherwise."""
        return self._memory.get("source")

    @property
    def _given(self) -> bool:
        """Whether the model is an instance, not a factory."""
        return isinstance(self.model, nn.Module)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_memory": {}}  # prepared data are not worth sending to another process

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @staticmethod
    def load(where: str) -> Task:
        """The task of ``"path/to/file.py:name"``, or a built-in one by its name; see `thalweg.task_files.load`."""
        from thalweg.task_files import load

        return load(where)

    def prepare(self) -> Prepared:
        """Read the data, infer what was not said, and try the model on a few rows; done once.

        Raises:
            BadData: data that cannot be read or do not fit.
            BadTask: a model or loss that fails on them.
        """
        if "prepared" not in self._memory:
            from thalweg.prepared import prepare

            self._memory["prepared"] = prepare(self)
        prepared: Prepared = self._memory["prepared"]
        return prepared

    def build(self, seed: int, **arguments: Any) -> nn.Module:
        """A new model on the task's device, with the weights of ``seed``.

        Args:
            seed: of the stream ``"weights"``; the same seed gives the same weights.
            arguments: for the factory.

        Raises:
            BadTask: the factory failed, gave no module, or gave the same one again.
        """
        device = find_device(self.device)
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # a stream can only seed what is initialized
        if self._given:
            if arguments:
                raise BadTask(f"a module takes no arguments: {', '.join(arguments)}", "give a factory as model")
            try:
                model = copy.deepcopy(self.model)
            except Exception as error:
                raise BadTask(
                    f"the module cannot be copied: {error}", "give a function that builds it as model"
                ) from error
            if not any(map(is_lazy, model.parameters())) and self._kept() is None:
                with stream(seed, "weights"):
                    redraw(model)
            return _to(model, device)
        with stream(seed, "weights"):
            try:
                model = self.model(**arguments)
            except Exception as error:
                raise BadTask(
                    f"the model's factory failed: {type(error).__name__}: {error}", "call it by hand"
                ) from error
        if not isinstance(model, nn.Module):
            raise BadTask(f"the model's factory gave a {type(model).__name__}", "let it return an nn.Module")
        last = self._memory.get("last")
        if last is not None and last() is model:
            raise BadTask(
                "the model's factory gave the same module twice", "build a new one inside it, or give the module"
            )
        self._memory["last"] = weakref.ref(model)
        return _to(model, device)

    def _kept(self) -> str | None:
        """Why a given module's weights are kept, or None where they are redrawn."""
        if "kept" not in self._memory:
            self._memory["kept"] = kept_because(self.model)
        kept: str | None = self._memory["kept"]
        return kept

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(find_device(self.device).type, DTYPES[self.precision])

    def loss_of(self, model: Any, batch: Batch) -> Tensor:
        """The mean loss of a batch, a scalar with its graph; under autocast for ``bf16`` and ``fp16``."""
        fit = self.prepare().fit
        if self.precision != "float32":
            with self._autocast():
                return self._loss(model, batch, fit)
        return self._loss(model, batch, fit)

    def _loss(self, model: Any, batch: Batch, fit: trial.Fit) -> Tensor:
        if self.batch_loss is not None:
            loss: Tensor = self.batch_loss(model, batch.raw)
        elif fit.own_loss is not None or fit.loss is None:
            output = trial.call_raw(model, batch.raw) if fit.own_loss == "raw" else trial.call(model, batch.inputs)
            found = trial.own_loss(output)
            if found is None:
                raise BadTask("the model's output carries no loss", "give loss=")
            loss = found
        else:
            output = trial.call(model, batch.inputs)
            loss = fit.loss(output if self.loss is not None else trial.output_tensor(output), batch.targets)
        return loss if loss.ndim == 0 else loss.reshape(())

    def evaluate(self, model: nn.Module, feed: Feed, batch_size: int = 1024) -> dict[str, float]:
        """Loss and metrics over a whole set, in evaluation mode; random states and training flags are as before.

        Args:
            model: as `build` gives it.
            feed: one of the prepared feeds.
            batch_size: rows at a time; it does not change the metrics.

        Returns:
            ``loss`` (the mean over rows), every metric, and for classes also ``nll`` and ``ece``.
        """

        def forward(batch: Batch) -> tuple[Tensor, Any]:
            loss, output = self.loss_and_output(model, batch)
            return loss.reshape(1), output[None] if isinstance(output, Tensor) else output

        with evaluating(model):
            return self.evaluate_each(forward, feed, batch_size)[0]

    def evaluate_each(
        self, forward: Callable[[Batch], tuple[Tensor, Any]], feed: Feed, batch_size: int = 1024
    ) -> list[dict[str, float]]:
        """What `evaluate` finds, for K models at once.

        Args:
            forward: of a batch of N rows the losses (K,) and the outputs (K, N, ...), in evaluation mode.
            feed: one of the prepared feeds.
            batch_size: rows at a time.
        """
        prepared = self.prepare()
        size = batch_size if isinstance(feed, Tensors) else feed.batch_size or batch_size
        total, rows = np.zeros(1), 0
        outputs: list[Tensor] = []
        targets: list[Tensor] = []
        with torch.no_grad(), Stream(self.seed, "evaluation"):
            for batch in feed.batches(size):
                losses, output = forward(batch)
                total, rows = total + losses.cpu().double().numpy() * batch.rows, rows + batch.rows
                if prepared.needs_outputs and isinstance(output, Tensor) and batch.targets is not None:
                    outputs.append(output.float() if output.dtype in DTYPES.values() else output)
                    targets.append(batch.targets)
        if prepared.needs_outputs and not outputs:
            raise BadTask("the metrics need outputs and targets, and the batches give none", 'use metric="loss"')
        means = [value / rows if rows else math.nan for value in total.tolist()]
        if not prepared.needs_outputs:
            return [{"loss": mean} for mean in means]
        try:
            joined, wanted = torch.cat(outputs, 1), torch.cat(targets)
        except (RuntimeError, IndexError) as error:
            raise BadTask(f"the outputs of several batches cannot be joined: {error}", 'use metric="loss"') from error
        return [self.scores(output, wanted, loss=mean) for output, mean in zip(joined, means, strict=True)]

    def loss_and_output(self, model: Any, batch: Batch) -> tuple[Tensor, Any]:
        """Loss and output of a batch with one forward pass where the loss is a function of the output."""
        prepared = self.prepare()
        fit, wanted = prepared.fit, prepared.needs_outputs
        with self._autocast():
            if self.batch_loss is not None:
                return self._loss(model, batch, fit), trial.output_tensor(
                    trial.call(model, batch.inputs)
                ) if wanted else None
            whole = trial.call_raw(model, batch.raw) if fit.own_loss == "raw" else trial.call(model, batch.inputs)
            output = trial.output_tensor(whole)
            loss = (
                fit.loss(whole if self.loss is not None else output, batch.targets)
                if fit.loss
                else trial.own_loss(whole)
            )
            return loss if loss is not None else torch.tensor(math.nan), output

    def scores(self, outputs: Tensor, targets: Tensor, *, loss: float) -> dict[str, float]:
        """Every metric of the outputs and targets of a whole set, with the given loss; see `evaluate`.

        Args:
            outputs: of all rows, in order.
            targets: of the same rows.
            loss: the mean loss, which the outputs alone may not tell.
        """
        prepared = self.prepare()
        logits = trial.as_logits(self.loss, outputs)
        found = {"loss": loss}
        for name, metric in prepared.metrics.items():
            if metric.function is None:
                found[name] = loss
            else:
                found[name] = metric(logits if metric.builtin else outputs, targets)
        if prepared.kind in ("classification", "binary"):
            extra = {"nll": Metric("nll", nll, "min"), "ece": Metric("ece", ece, "min")}
            found = {name: metric(logits, targets) for name, metric in extra.items()} | found
        return found

    def fingerprint(self) -> str:
        """A stable hex number of what decides the results: data, model structure, loss, metric, budget, seed."""
        from thalweg.prepared import fingerprint

        if "fingerprint" not in self._memory:
            self._memory["fingerprint"] = fingerprint(self, self.prepare())
        found: str = self._memory["fingerprint"]
        return found


def _to(model: nn.Module, device: torch.device) -> nn.Module:
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise BadTask(
            "the model has lazy modules, whose sizes are not known yet", "call it once on a batch where it is made"
        )
    return model.to(device)
