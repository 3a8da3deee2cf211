"""Before training: do validation and test data look like the training data, and are they apart from them?

Legend of shapes: N training rows, M rows of another part, d features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..data import Feed, Tensors
from ..seeds import derive
from .identical import row_keys
from .reading import read
from .sample import Sample

if TYPE_CHECKING:
    from ..task import Task

Floats = npt.NDArray[np.float64]
ROWS = 5000  # of each side that the tests see
REPEATED = 0.01  # share of rows that also are training rows, from which on an evaluation is partly one of memory
GATE = 0.1  # standard deviations, below which a difference of features or labels does not matter
SHOWN = 3  # features that a sentence names


@dataclass(frozen=True)
class Check:
    """One question about the split, and its answer.

    Attributes:
        code: ``inputs``, ``features``, ``labels``, ``duplicates``, ``order`` or ``later``.
        part: what was held against the training rows.
        sentence: the answer, with its numbers.
        statistic: AUC, share, distance, ...: what the sentence speaks of.
        p: of "both parts are drawn alike"; None where nothing is tested.
        alarm: whether something should be done.
        names: of features, the furthest apart first.
    """

    code: str
    part: str
    sentence: str
    statistic: float
    p: float | None = None
    alarm: bool = False
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.part}: {self.sentence}"


@dataclass(frozen=True)
class Representative:
    """Whether a task's split is one that its results can be trusted on.

    Attributes:
        findings: every check, alarms first.
        sentence: the whole in one sentence.
    """

    findings: tuple[Check, ...]
    sentence: str

    @property
    def alarm(self) -> bool:
        """Whether any check found something."""
        return any(check.alarm for check in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The keys that programs read."""
        return {
            "alarm": self.alarm,
            "sentence": self.sentence,
            "findings": [asdict(c) | {"names": list(c.names)} for c in self.findings],
        }

    def __str__(self) -> str:
        return "\n".join([self.sentence, *(f"{'!' if c.alarm else ' '} {c}" for c in self.findings)])


def representative(task: Task, *, level: float = 0.05, seed: int = 0) -> Representative:
    """Hold validation and test rows against the training rows.

    Asked are: can a classifier tell them apart (adversarial validation); which features, and which labels, differ in
    distribution; how many rows are training rows too, bit for bit; is some feature a clock by which a part is later than
    training; and, said without an alarm, do the training rows drift over their order. The level is shared by all tests
    (Bonferroni), and a difference of features or labels must be .1 standard deviations to matter. No model is trained and
    the task is left as it is.

    Args:
        task: its data are read, and at most 200 000 rows of each part looked at.
        level: chance of any false alarm of the tests on a split that was drawn at random.
        seed: of the draws.

    Raises:
        BadData: data that cannot be read, or whose batches cannot be joined.

    Example:
        >>> import thalweg
        >>> found = representative(thalweg.Task.load("digits"))
        >>> found.alarm, sorted({check.code for check in found.findings})
        (False, ['duplicates', 'features', 'inputs', 'labels', 'order'])

    Source: adversarial validation: D. Lopez-Paz, M. Oquab, arXiv 1610.06545.
    """
    data = task.prepare()
    parts = {"validation": _sides(read(data.select, task, "select"), read(data.judge, task, "judge"))}
    if data.test is not None:
        parts["test"] = read(data.test, task, "test")
    train = read(data.train, task, "train")
    share = level / (3 * len(parts) + 1)
    found: list[Check] = []
    for name, part in parts.items():
        found += _differences(train, part, name, share, derive(seed, name), data.classes)
        found.append(_duplicates(train, part, name))
        found += _later(train, part, name)
    order = _order(data.train, train, share, derive(seed, "order"))
    ordered = [check for check in order if check.p is not None and check.p < share]
    found += order
    found.sort(key=lambda check: not check.alarm)
    wrong = [check for check in found if check.alarm]
    sentence = "Nothing speaks against the split: the parts look alike, and hardly any rows are in two of them."
    if wrong:
        sentence = f"The split does not look representative: {wrong[0].part}: {wrong[0].sentence}"
    elif ordered:
        sentence = f"The parts look alike, but {ordered[0].sentence}"
    return Representative(tuple(found), sentence)


def _sides(a: Sample, b: Sample) -> Sample:
    """Both halves of the validation data; the same data given twice count once."""
    from .remedies.adapting import joined

    twice = a.rows == b.rows and np.array_equal(row_keys(a.inputs), row_keys(b.inputs))
    return a if twice else joined(a, b)


def _some(sample: Sample, seed: int) -> Sample:
    """At most `ROWS` rows, drawn, in their order."""
    if sample.rows <= ROWS:
        return sample
    return sample.take(np.sort(np.random.default_rng(seed).choice(sample.rows, ROWS, replace=False)))


def _differences(train: Sample, part: Sample, name: str, level: float, seed: int, classes: int | None) -> list[Check]:
    """What a classifier, the features one by one, and the labels say."""
    from .distributions.joint import classifier_test
    from .distributions.univariate import feature_tests

    a, b = _some(train, seed), _some(part, seed + 1)
    joint = classifier_test(a.flat().values, b.flat().values, level=level, seed=seed)
    said = "a classifier tells its rows from the training rows" if joint.alarm else "a classifier cannot tell its rows"
    found = [
        Check(
            "inputs", name, f"{said} (AUC {joint.statistic:.3f}, p {joint.p:.2g})", joint.statistic, joint.p, joint.alarm
        )
    ]  # fmt: skip
    columns = a.columns()
    tests = feature_tests(columns.values, b.columns().values, columns.names, level=level, gate=GATE)
    apart = sorted((t for t in tests if t.alarm), key=lambda t: -t.effect)
    names = tuple(t.name for t in apart)
    said = f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''} are distributed otherwise"
    least = min((t.adjusted for t in tests), default=1.0)
    found.append(
        Check(
            "features", name,
            f"{said}, by {apart[0].effect:.2g} sd" if apart else f"no feature of {len(tests)} differs",
            apart[0].effect if apart else max((t.effect for t in tests), default=0.0), least, bool(apart), names,
        )
    )  # fmt: skip
    if train.targets is not None and part.targets is not None:
        found.append(_labels(train.targets, part.targets, name, level, classes))
    return found


def _labels(a: Tensor, b: Tensor, name: str, level: float, classes: int | None) -> Check:
    """Proportions of classes by χ², numbers by Kolmogorov–Smirnov."""
    from .distributions.categories import homogeneity
    from .distributions.univariate import feature_tests, normal_shift

    if classes is not None and a.ndim == 1:
        counts = torch.stack([torch.bincount(x[x >= 0].long().cpu(), minlength=classes) for x in (a, b)]).numpy()
        counts = counts[:, counts.sum(0) > 0]
        shares = counts / counts.sum(1, keepdims=True)
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        test = homogeneity(counts)
        p = test.p
        effect = normal_shift(distance, len(a) + len(b))
        said = f"shares of the classes differ by {distance:.2g} in total (χ² {test.statistic:.3g}, p {p:.2g})"
    else:
        old, new = (x.detach().cpu().double().reshape(len(x), -1).mean(1, keepdim=True).numpy() for x in (a, b))
        [target] = feature_tests(old, new, ["target"], gate=GATE)
        p, effect = target.p, target.effect
        said = f"the targets differ by {effect:.2g} sd (p {p:.2g})"
    return Check("labels", name, said, effect, p, bool(p < level and effect >= GATE))


def _duplicates(train: Sample, part: Sample, name: str) -> Check:
    """Rows whose inputs are those of a training row; near duplicates are not looked for."""
    old, new = row_keys(train.inputs), row_keys(part.inputs)
    share = float(np.isin(new, old).mean())
    _, counts = np.unique(old, return_counts=True)
    within = float(counts[counts > 1].sum() / len(old))
    said = f"{share:.2%} of its rows are training rows too, bit for bit"
    if share:
        said += f" (within the training rows {within:.2%} occur more than once)"
    return Check("duplicates", name, said, share, None, share >= REPEATED)


def _later(train: Sample, part: Sample, name: str) -> list[Check]:
    """A feature that only ever rises over the training rows is a clock: where a part stands on it."""
    old, names = train.columns()
    new = part.columns().values
    found = []
    for j, column in enumerate(old.T):
        distinct = len(np.unique(column[: 2 * ROWS]))
        if distinct <= min(len(column), 2 * ROWS) / 2 or not bool((np.diff(column) >= 0).all()):
            continue
        later = float((new[:, j] >= column[-1]).mean())
        said = f"by {names[j]}, which rises over the training rows, {later:.0%} of its rows are later than training"
        said += "" if later > 0.99 else "; what is to be forecast should be later"
        found.append(Check("later", name, said, later, None, later <= 0.99, (names[j],)))
    return found


def _order(feed: Feed, train: Sample, level: float, seed: int) -> list[Check]:
    """Whether the first and the second half of the training rows differ: then their order means something.

    That is said and is no alarm: nobody knows whether the order is that of time.
    """
    from .distributions.joint import classifier_test

    if not isinstance(feed, Tensors) or train.rows < 4:
        return []
    rows = _some(train, seed)
    values, half = rows.flat().values, rows.rows // 2
    if rows.targets is not None:
        own = rows.targets.detach().cpu().double().reshape(rows.rows, -1)
        values = np.concatenate([values, own.mean(1, keepdim=True).numpy()], 1)
    test = classifier_test(values[:half], values[half:], level=level, seed=seed)
    said = f"the first and the second half of the training rows differ (AUC {test.statistic:.3f}, p {test.p:.2g})"
    said += ": they are sorted, or drift in time; where new data come later, hold out the last rows, not drawn ones"
    calm = f"no drift over the order of the rows (AUC {test.statistic:.3f}, p {test.p:.2g})"
    return [Check("order", "training", said if test.p < level else calm, test.statistic, test.p)]
