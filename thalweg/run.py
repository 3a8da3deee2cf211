"""One run: (task, recipe, seed) with its trace and its outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

    from .recipe import Recipe

Floats: TypeAlias = npt.NDArray[np.float64]
COLUMNS = ("step", "samples", "seconds", "loss", "lr", "grad_norm")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``finished``; ``diverged`` (at which step, what was non-finite first); ``stopped`` (why).

    Example:
        >>> print(Outcome.diverged(412, "layer3.weight", "loss became inf"))
        diverged at step 412: loss became inf
    """

    status: str
    step: int
    where: str | None = None
    reason: str | None = None

    @classmethod
    def diverged(cls, step: int, where: str, reason: str) -> Outcome:
        """Training left the finite numbers at ``step``, first seen in ``where``."""
        return cls("diverged", step, where, reason)

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {"status": self.status, "step": self.step, "where": self.where, "reason": self.reason}

    def __str__(self) -> str:
        tail = f": {self.reason}" if self.reason else ""
        return f"{self.status} at step {self.step}{tail}"


@dataclass
class Trace:
    """The course of a run: a column per quantity with an entry a step, and the evaluations.

    Attributes:
        step: number of the update, from 1.
        samples: training rows used so far.
        seconds: since the start, evaluation excluded.
        loss: of the step's batch, before the update.
        lr: the rate of the first parameter group in this update.
        grad_norm: Euclidean norm of the whole gradient, before clipping.
        evaluations: dicts with ``step, samples, seconds, split`` and a value per metric.

    Example:
        >>> trace = Trace(step=[1, 2], loss=[0.7, 0.5])
        >>> len(trace), trace.last("select")
        (2, None)
    """

    step: list[int] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.step)

    def columns(self, start: int = 0) -> dict[str, list[Any]]:
        """The steps from number ``start`` on, a list per column; what the store writes."""
        digits = {"loss": 9, "lr": 9, "grad_norm": 6, "seconds": 6}
        rows = {name: getattr(self, name)[start:] for name in COLUMNS}
        return {n: [float(f"{v:.{digits[n]}g}") for v in c] if n in digits else list(c) for n, c in rows.items()}

    def extend(self, columns: dict[str, list[Any]]) -> None:
        """Append what `columns` gave."""
        for name in COLUMNS:
            getattr(self, name).extend(columns[name])

    def last(self, split: str) -> dict[str, Any] | None:
        """The last evaluation on ``split``, or None."""
        return next((e for e in reversed(self.evaluations) if e["split"] == split), None)


class Log:
    """What K members that train together do, step by step; their traces get it when they are asked for.

    Args:
        members: K.
    """

    def __init__(self, members: int) -> None:
        self._traces = [Trace() for _ in range(members)]
        self._ends: list[int | None] = [None] * members
        self._rows: list[tuple[int, int, float, Floats, Floats]] = []
        self._losses: list[Floats] = []

    def loss(self, losses: Floats) -> None:
        """The losses of the next step whose losses are not known yet, (K,)."""
        self._losses.append(losses)

    def step(self, step: int, samples: int, seconds: float, rates: Floats, norms: Floats) -> None:
        """A step was made: with which rates and gradient norms, (K,) each."""
        self._rows.append((step, samples, seconds, rates, norms))

    def evaluation(self, member: int, found: dict[str, Any]) -> None:
        """A member was evaluated."""
        self._traces[member].evaluations.append(found)

    def end(self, member: int, step: int) -> None:
        """The last step of a member that counts."""
        self._ends[member] = step

    def traces(self) -> list[Trace]:
        """The members' traces up to the last step whose losses are known."""
        known = min(len(self._rows), len(self._losses))
        rows, self._rows = self._rows[:known], self._rows[known:]
        losses, self._losses = self._losses[:known], self._losses[known:]
        if rows:
            steps, samples, seconds, rates, norms = zip(*rows, strict=True)
            columns = [np.array(column).T.tolist() for column in (losses, rates, norms)]
            for trace, end, *own in zip(self._traces, self._ends, *columns, strict=True):
                n = known if end is None else max(0, min(known, end - steps[0] + 1))
                for name, values in zip(COLUMNS, (steps, samples, seconds, *own), strict=True):
                    getattr(trace, name).extend(values[:n])
        return self._traces


@dataclass
class Run:
    """One training run; ``model`` is built and filled when first asked for.

    Attributes:
        task: the task's name.
        recipe: what was chosen.
        seed: of weights, order, dropout and augmentation.
        trace: its course.
        outcome: how it ended.
        seconds: in all, evaluation included.
        folder: where it lies, or None.

    Example:
        >>> import thalweg
        >>> run = thalweg.train("digits", thalweg.Recipe("sgd", lr=0.1), quiet=True)
        >>> run.outcome.status, len(run.trace), sorted(run.final)
        ('finished', 420, ['accuracy', 'ece', 'loss', 'nll'])
    """

    task: str
    recipe: Recipe
    seed: int
    trace: Trace
    outcome: Outcome
    seconds: float
    notes: tuple[str, ...] = ()
    folder: str | None = None
    load: Callable[[], nn.Module] | None = field(default=None, repr=False)
    _model: nn.Module | None = field(default=None, repr=False)

    @property
    def model(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        if self._model is None:
            if self.load is None:
                raise LookupError("this run kept no weights")
            self._model = self.load()
        return self._model

    @property
    def final(self) -> dict[str, float]:
        """The last evaluation's metrics (on ``select``)."""
        last = self.trace.last("select") or {}
        return {k: v for k, v in last.items() if k not in ("step", "samples", "seconds", "split")}

    def __str__(self) -> str:
        values = ", ".join(f"{k} {v:.4g}" for k, v in self.final.items())
        return f"{self.task} · {self.recipe} · seed {self.seed}: {self.outcome}{' · ' + values if values else ''}"
