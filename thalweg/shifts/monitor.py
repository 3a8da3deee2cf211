"""A stream watched window by window: which columns moved, what the model makes of it, and how to go on training.

Legend: N reference rows, M new rows, d features, k columns (features, and with a model its loss, prediction and slopes).
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..batch import leaves
from ..data import Tensors
from ..errors import COUNT, FRACTION, NOT_NEGATIVE, BadData, BadOption, check
from .distributions.univariate import adjust
from .outcomes import LOSS, PREDICTION, Outcomes
from .sketch import Column
from .windows import ColumnTest, Drift, Moments, WindowReport, drift_of, recommendation

if TYPE_CHECKING:
    from ..task import Task

Floats = npt.NDArray[np.float64]
KEPT, HISTORY = 256, 50  # rows of the sample; windows that drift is measured over
VERSION = 1


class Monitor:
    """A reference sketch of bounded memory, against which each window of a stream is tested.

    Each column of each window is tested at a level that is spent evenly over ``horizon`` windows and, after Holm, over the
    columns: while nothing moves, the chance of any alarm in ``horizon`` windows is at most ``level``.

    Args:
        reference: rows (N, d), a `Sample`, or a tuple (inputs, targets); held out, where a model is given.
        names: of the features.
        window: rows a report.
        level: chance of a false alarm over ``horizon`` windows.
        horizon: windows that the promise is for; it then begins anew.
        gate: least effect of an alarm.
        model: whose predictions, losses and slopes are watched too.
        task: of the model.
        rows: a step of continued training; None: the task's batch size, 1 without one.
        seed: of the kept rows.

    Attributes:
        sketch: a `Column` for each feature and each outcome of the model.

    Raises:
        BadData: too few rows, or other columns than before.
        BadOption: an argument outside what is allowed.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> monitor = Monitor(rng.normal(size=(2000, 3)), names=["a", "b", "c"], window=500)
        >>> first, second = monitor.update(np.r_[rng.normal(size=(500, 3)), rng.normal(size=(500, 3)) + [0, 1, 0]])
        >>> first.alarm, second.moved
        (False, ['b'])
    """

    def __init__(
        self, reference: Any, *, names: Sequence[str] | None = None, window: int = 500, level: float = 0.05,
        horizon: int = 1000, gate: float = 0.1, model: nn.Module | None = None, task: Task | None = None,
        rows: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        for name, value in (("window", window), ("horizon", horizon), ("rows", 1 if rows is None else rows)):
            check("Monitor", name, value, COUNT)
        check("Monitor", "level", level, FRACTION)
        check("Monitor", "gate", gate, NOT_NEGATIVE)
        if (model is None) is not (task is None):
            raise BadOption("Monitor: a model needs its task, and a task its model", "give both or neither")
        self.window, self.level, self.horizon, self.gate = window, level, horizon, gate
        self.seed = seed
        self.rows = rows or (1 if task is None else int(task.prepare().batch_size))
        self._outcomes: Outcomes | None = None
        values, own_names, data = _read(reference, None, None if model is None else next(model.parameters()).dtype)
        self.names = list(names) if names is not None else own_names
        if len(self.names) != values.shape[1]:
            raise BadData(f"monitor: {values.shape[1]} features, {len(self.names)} names", "give a name a feature")
        order = np.sort(np.random.default_rng(seed).permutation(data.rows)[:KEPT])
        self._sample = data.take(torch.from_numpy(order))
        found = self._watch(model, task).columns(data) if model is not None and task is not None else []
        self.sketch = [Column.of(name, values[:, i]) for i, name in enumerate(self.names)]
        self.sketch += [Column.of(name, x, classes) for name, x, classes in found]
        self._index = self._seen = 0
        self._history: deque[list[Moments]] = deque(maxlen=HISTORY)
        self._open()

    def _watch(self, model: nn.Module, task: Task) -> Outcomes:
        self._outcomes = Outcomes(task, model, self._sample, self.seed)
        return self._outcomes

    def _open(self) -> None:
        self._counts = [column.empty for column in self.sketch]
        # Rows, sum and sum of squares; of columns from the reference's mean, after them of slopes.
        self._sums = np.zeros((len(self.sketch) + len(self._curvature), 3))
        self._filled = 0

    @property
    def _curvature(self) -> list[float]:
        return [] if self._outcomes is None else self._outcomes.curvature

    def __str__(self) -> str:
        rows = self.sketch[0].rows + self.sketch[0].missing
        return (
            f"{len(self.sketch)} columns against {rows} reference rows, in windows of {self.window}: {self._index} seen. "
            f"{self.bytes / 1024:.0f} KiB are kept."
        )

    @property
    def sample(self) -> Tensors:
        """Up to 256 rows of the reference, as the model gets them."""
        return self._sample

    @property
    def bytes(self) -> int:
        """Memory of all that is kept, which does not grow with the stream; the model is not counted."""
        history = HISTORY * self._sums.nbytes
        vectors = 0 if self._outcomes is None else self._outcomes.bytes
        return sum(c.bytes for c in self.sketch) + self._sums.nbytes + history + self._sample.bytes + vectors

    def update(self, rows: Any, targets: Any = None) -> list[WindowReport]:
        """Take in new rows; a report for each window that they fill.

        Args:
            rows: (M, d), NaN for missing values, or a `Sample`.
            targets: (M, ...), where they are known.

        Raises:
            BadData: another number of features.
        """
        known = leaves(self._sample.inputs)[0].dtype
        values, _, data = _read(rows, targets, known)
        if values.shape[1] != len(self.names):
            raise BadData(
                f"monitor: rows of {values.shape[1]} features", f"give {len(self.names)}, as the reference has"
            )
        watched = self._outcomes
        found = [] if watched is None else watched.columns(data)
        slopes = np.empty((data.rows, 0)) if watched is None else watched.slopes(data)
        whole = [*values.T, *(x for _, x, _ in found)]
        reports, start = [], 0
        while start < len(values):
            end = min(len(values), start + self.window - self._filled)
            for i, (column, x) in enumerate(zip(self.sketch, whole, strict=True)):
                self._counts[i] = self._counts[i] + column.count(x[start:end])
                self._add(i, x[start:end] - column.mean)
            for i, x in enumerate(slopes.T):
                self._add(len(self.sketch) + i, x[start:end])
            self._filled += end - start
            start = end
            if self._filled == self.window:
                reports.append(self._report())
        return reports

    def _add(self, place: int, x: Floats) -> None:
        x = x[np.isfinite(x)]
        self._sums[place] += len(x), x.sum(), x @ x

    def _report(self) -> WindowReport:
        moments = [_moments(*row) for row in self._sums]
        found = [column.test(counts) for column, counts in zip(self.sketch, self._counts, strict=True)]
        tests = []
        for column, (effect, p, where), adjusted, (n, mean, _) in zip(
            self.sketch, found, adjust([p for _, p, _ in found]), moments, strict=False
        ):
            over = min(1.0, float(adjusted) * self.horizon)
            alarm = over < self.level and effect >= self.gate
            incoming = column.mean + mean if n else math.nan
            tests.append(ColumnTest(column.name, effect, p, over, alarm, where, column.mean, incoming))
        self._history.append(moments)
        drift, loss, interval, shares = self._drift(), None, None, None
        for column, counts, (n, mean, variance) in zip(self.sketch, self._counts, moments, strict=False):
            if column.name == LOSS and n > 1:
                loss = column.mean + mean
                interval = _interval(loss, variance, n, self.level)
            if column.name == PREDICTION and counts[0]:
                shares = tuple((counts[2:] / counts[0]).tolist())
        moved = any(test.alarm for test in tests)
        report = WindowReport(
            self._index, (self._seen, self._seen + self.window), tuple(tests), shares, loss, interval, moved, drift,
            recommendation(drift, len(self._history), moved),
        )  # fmt: skip
        self._index, self._seen = self._index + 1, self._seen + self.window
        self._open()
        return report

    def _drift(self) -> Drift | None:
        """The surest: of the minimum where slopes are known, else of a feature."""
        series, features = list(zip(*self._history, strict=True)), len(self.names)
        means = [(f"mean of {name}", series[i], None) for i, name in enumerate(self.names)]
        minima = [
            (f"minimum along eigenvector {i + 1}", series[len(self.sketch) + i], h)
            for i, h in enumerate(self._curvature)
            if h > 0
        ]
        tests = (len(minima) + features) * self.horizon
        for group in (minima, means):
            seen = [drift_of(name, x, self.window, self.rows, tests, self.level, h) for name, x, h in group]
            sure = [one for one in seen if one is not None]
            if sure:
                return min(sure, key=lambda one: one[0])[1]
        return None

    def as_dict(self) -> dict[str, Any]:
        """All that is kept, as plain data; the model is not."""
        return {
            "version": VERSION, "names": self.names, "window": self.window, "level": self.level, "horizon": self.horizon,
            "gate": self.gate, "rows": self.rows, "seed": self.seed, "columns": [c.as_dict() for c in self.sketch],
            "index": self._index, "seen": self._seen, "filled": self._filled, "sums": self._sums.tolist(),
            "counts": [x.tolist() for x in self._counts], "history": [[list(x) for x in one] for one in self._history],
            "sample": pack_tensors([self._sample.inputs, self._sample.targets]), "form": self._sample.form,
            "model": self._outcomes is not None,
        }  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the state as JSON, by way of a second file, so that a stop in between leaves the old one."""
        path = Path(path)
        beside = path.with_name(path.name + ".part")
        beside.write_text(json.dumps(self.as_dict()), encoding="utf-8")
        beside.replace(path)
        return path

    @classmethod
    def load(cls, path: str | Path, *, model: nn.Module | None = None, task: Task | None = None) -> Monitor:
        """Go on from a saved state.

        Args:
            path: that `save` wrote.
            model: the same model as before, where there was one.
            task: of the model.

        Raises:
            BadData: not such a file.
            BadOption: a model where there was none, or none where there was one.
        """
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
            version = state["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadData(
                f"monitor: {path} is no saved monitor: {error}", "give a file that Monitor.save wrote"
            ) from error
        if version != VERSION:
            raise BadData(f"monitor: {path} is of version {version}, not {VERSION}", "make a new monitor")
        if state["model"] is not (model is not None and task is not None):
            raise BadOption(
                "Monitor: the saved one has " + ("a" if state["model"] else "no") + " model", "give as before"
            )
        made = cls.__new__(cls)
        for name in ("names", "window", "level", "horizon", "gate", "rows", "seed"):
            setattr(made, name, state[name])
        inputs, targets = unpack_tensors(state["sample"])
        made._sample = Tensors(inputs, targets, shuffle=False, form=state["form"], check=False)
        made._outcomes = None
        if model is not None and task is not None:
            made._watch(model, task)
        made.sketch = [Column.from_dict(column) for column in state["columns"]]
        made._index, made._seen, made._filled = state["index"], state["seen"], state["filled"]
        made._sums = np.array(state["sums"], np.float64).reshape(-1, 3)
        made._counts = [np.array(x, np.int64) for x in state["counts"]]
        made._history = deque(([(n, m, v) for n, m, v in one] for one in state["history"]), maxlen=HISTORY)
        return made


def _moments(n: float, total: float, squares: float) -> Moments:
    if not n:
        return 0, 0.0, 0.0
    mean = total / n
    return int(n), mean, max(0.0, (squares - n * mean * mean) / max(n - 1, 1))


def _interval(mean: float, variance: float, n: int, level: float) -> tuple[float, float]:
    from scipy.stats import t

    half = float(t.isf(level / 2, n - 1)) * math.sqrt(variance / n)
    return mean - half, mean + half


def _read(data: Any, targets: Any, dtype: torch.dtype | None) -> tuple[Floats, list[str], Tensors]:
    """Features with names, and the rows as the model gets them: arrays of fractions in the given precision."""
    if isinstance(data, tuple) and len(data) == 2:
        data, targets = data
    if hasattr(data, "flat") and hasattr(data, "feed"):
        flat = data.columns() if hasattr(data, "columns") else data.flat()
        return flat.values, list(flat.names), data.feed()
    if isinstance(data, Tensors):
        data, targets = data.inputs, data.targets
    inputs, answers = _tensor(data, dtype), None if targets is None else _tensor(targets, dtype)
    values = (data.detach().cpu() if isinstance(data, Tensor) else np.asarray(data)).reshape(len(inputs), -1)
    names = [f"x{i}" for i in range(values.shape[1])]
    return np.asarray(values, np.float64), names, Tensors(inputs, answers, shuffle=False, check=False)


def _tensor(data: Any, dtype: torch.dtype | None) -> Tensor:
    found = data.detach().cpu() if isinstance(data, Tensor) else torch.from_numpy(np.array(data))
    return found.to(dtype) if dtype is not None and dtype.is_floating_point and found.is_floating_point() else found


def pack_tensors(value: Any) -> Any:
    """Nested tensors as plain data."""
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    if isinstance(value, dict):
        return {"dict": {key: pack_tensors(part) for key, part in value.items()}}
    return value if value is None else {"list": [pack_tensors(part) for part in value]}


def unpack_tensors(value: Any) -> Any:
    """The inverse of `pack_tensors`; lists become tuples."""
    if value is None:
        return None
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"])).reshape(value["shape"])
    if "dict" in value:
        return {key: unpack_tensors(part) for key, part in value["dict"].items()}
    return tuple(unpack_tensors(part) for part in value["list"])
