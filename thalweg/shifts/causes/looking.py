"""Everything that is measured on both sides before the kind of a shift is named.

Legend of shapes: N reference rows, M incoming rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...seeds import derive
from ..distributions.drift import Drift, drift
from ..distributions.joint import JointTest, classifier_test
from ..distributions.labels import LabelShift, bbse
from ..distributions.power import enough
from ..distributions.univariate import FeatureTest, feature_tests
from ..reading import Subject
from ..rises import Rise, comparable, rise
from ..sample import Flat, Floats, Sample
from ..targets import ignored
from .answers import INPUTS, Answers, answers
from .shares import SHARE_GATE, Shares

GATE = 0.1  # effect in standard deviations below which a feature has not moved
OLD_SHARE, NULL_SHARE = (
    0.1,
    0.05,
)  # a rise of the loss matters from the larger of these parts: of it, of a constant guess's
MATCHED = 60  # rows of the same classes on both sides that are compared at least
MOST = 20_000  # rows of a side that the model is asked about


@dataclass(eq=False)
class Look:
    """Two sides under one model, and the tests on them; each is made when first asked for.

    The chance of any false alarm is ``level``: it is divided among the families of tests.

    Args:
        subject: the model, its task and the reference.
        incoming: the new rows.
        level: of all alarms together.
        seed: of draws.
    """

    subject: Subject
    incoming: Sample
    level: float = 0.05
    seed: int = 0
    memory: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def part(self) -> float:
        """The level of one family: features, joint, order, and with a task class shares or targets, and losses."""
        answers = self.subject.classes is not None or self.numbers is not None
        return self.level / (3 + answers + (self.losses is not None))

    @property
    def loss_part(self) -> float:
        """The level of one test of losses: their mean, the rate of errors where there are classes, and a part of the rows."""
        return self.part / (2 + (self.errors is not None))

    @cached_property
    def few(self) -> tuple[Sample, Sample]:
        """The rows of both sides that the model is asked about."""
        return _first(self.subject.reference), _first(self.incoming)

    @cached_property
    def old(self) -> Answers:
        """The model's answers to the reference."""
        return answers(self.subject.model, self.few[0], self.subject.task)

    @cached_property
    def new(self) -> Answers:
        """The model's answers to the incoming rows."""
        return answers(self.subject.model, self.few[1], self.subject.task)

    @cached_property
    def columns(self) -> tuple[Flat, Flat]:
        """Both sides as columns of the same names."""
        return self.subject.reference.columns(), self.incoming.columns()

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows of both sides."""
        return self.subject.reference.rows, self.incoming.rows

    @cached_property
    def losses(self) -> tuple[Floats, Floats] | None:
        """Of both sides' rows, as `comparable` makes them; None: hardly a row of one side has a loss."""
        if self.old.losses_N is None or self.new.losses_N is None:
            return None
        found = comparable(self.old.losses_N, self.new.losses_N)
        return found if min(int(np.isfinite(x).sum()) for x in found) > 1 else None

    @property
    def notes(self) -> list[str]:
        """Which rows are left out of losses and classes, and which count as the worst."""
        said = []
        for name, side in (("reference", self.old), ("incoming", self.new)):
            if side.losses_N is None:
                continue
            rows, none, bad = len(side.losses_N), int(np.isnan(side.losses_N).sum()), int(np.isinf(side.losses_N).sum())
            if none:
                said.append(
                    f"{none} of {rows} {name} rows have a target that the loss ignores or the model has no output for: they "
                    "are in no loss."
                )
            if bad:
                said.append(
                    f"{bad} of {rows} {name} rows have no finite loss: each counts as worse than every finite one."
                )
        return said

    @cached_property
    def target(self) -> FeatureTest | None:
        """The targets of a regression; None: there are none of one number a row."""
        if self.numbers is None:
            return None
        [found] = feature_tests(*self.numbers, ["the target"], level=self.part, gate=GATE)
        return found

    @cached_property
    def numbers(self) -> tuple[Floats, Floats] | None:
        """Targets of one number a row, (N, 1) and (M, 1)."""
        sides, task = [s.targets for s in (self.subject.reference, self.incoming)], self.subject.task
        if task is None or task.prepare().kind != "regression" or any(t is None or t.numel() != len(t) for t in sides):
            return None
        a, b = (t.reshape(-1, 1).double().numpy() for t in sides if t is not None)
        return a, b

    @cached_property
    def features(self) -> list[FeatureTest]:
        """Each feature on its own."""
        (a, names), (b, _) = self.columns
        return feature_tests(a, b, names, level=self.part, gate=GATE)

    @cached_property
    def moved(self) -> list[FeatureTest]:
        """The features that moved, the largest effect first."""
        return sorted((f for f in self.features if f.alarm), key=lambda f: -f.effect)

    @cached_property
    def joint(self) -> JointTest:
        """All of the model's representation together."""
        return classifier_test(self.old.representation_Nh, self.new.representation_Nh, level=self.part, seed=self.seed)

    @cached_property
    def outputs(self) -> list[FeatureTest]:
        """Each output on its own."""
        names = [f"output {k}" for k in range(self.old.outputs_Nk.shape[1])]
        return feature_tests(self.old.outputs_Nk, self.new.outputs_Nk, names, level=self.part, gate=GATE)

    @cached_property
    def order(self) -> Drift | None:
        """Whether the incoming rows drift over their own order."""
        if not self.incoming.order:
            return None
        few = self.few[1]
        labels = self.new.predicted_N if few.targets is None else few.targets.reshape(few.rows, -1)[:, 0].numpy()
        return drift(self.new.representation_Nh, labels, level=self.part, seed=self.seed)

    @property
    def inputs_moved(self) -> bool:
        """Whether any feature did, or all together."""
        return bool(self.moved) or self.joint.alarm

    @cached_property
    def strange(self) -> npt.NDArray[np.int64]:
        """Labels that neither the reference nor the training rows have; what the loss ignores is none."""
        task = self.subject.task
        given = self.labels[self.labels >= 0]
        return np.setdiff1d(given if task is None else given[given != ignored(task)], self.subject.known)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The classes of all incoming rows; empty where there are none."""
        targets = self.incoming.targets
        if targets is None or self.subject.classes is None:
            return np.zeros(0, np.int64)
        found: npt.NDArray[np.int64] = targets.reshape(len(targets), -1)[:, 0].long().numpy()
        return found

    @cached_property
    def estimated(self) -> LabelShift | None:
        """Class shares by the predictions (BBSE); None where there are no classes or no labels in the reference."""
        classes, labels = self.subject.classes, self.old.labels_N
        if classes is None or labels is None:
            return None
        known = labels >= 0
        old = self._probabilities(self.old)[known]
        return bbse(old, labels[known], self._probabilities(self.new), classes, level=self.part)

    @cached_property
    def shares(self) -> Shares | None:
        """Class shares: counted where the incoming rows have labels, else estimated."""
        classes, labels = self.subject.classes, self.old.labels_N
        if classes is None or labels is None:
            return None
        if self.new.labels_N is not None:
            a, b = (np.bincount(x[(x >= 0) & (x < classes)], minlength=classes) for x in (labels, self.new.labels_N))
            return Shares.counted_from(a, b, self.part)
        found = self.estimated
        assert found is not None
        moved = np.abs(np.asarray(found.reference) - np.asarray(found.incoming)).sum() / 2 >= SHARE_GATE
        return Shares(
            np.asarray(found.reference), np.asarray(found.incoming), found.p, bool(found.alarm and moved), False
        )

    @cached_property
    def loss(self) -> Rise | None:
        """How much higher the mean loss is; without labels None."""
        return None if self.losses is None else rise(*self.losses)

    @cached_property
    def errors(self) -> Rise | None:
        """The same of the rate of wrong classes."""
        if self.old.wrong_N is None or self.new.wrong_N is None:
            return None
        return rise(self.old.wrong_N, self.new.wrong_N)

    @cached_property
    def margin(self) -> float:
        """From which change on the mean loss matters: a tenth of it, or a twentieth of a constant guess's loss."""
        assert self.loss is not None
        return max(OLD_SHARE * abs(self.loss.before), NULL_SHARE * self._constant())

    @property
    def rose(self) -> bool:
        """Whether the loss, or the rate of errors, surely rose by more than a trifle."""
        if self.loss is None or not self.loss.difference > self.margin:
            return False
        return any(x is not None and x.difference > 0 and x.p < self.loss_part for x in (self.loss, self.errors))

    @property
    def narrow(self) -> float:
        """Within which the loss must surely have stayed to be the same: the margin; a third where the representation moved.

        There the model sees what changed. Where the representation is the inputs themselves, that cannot be told.
        """
        return self.margin / 3 if self.joint.alarm and self.old.where != INPUTS else self.margin

    @property
    def same_loss(self) -> bool:
        """Whether the loss surely did not change by more than that: two one-sided tests at level .05."""
        if self.loss is None:
            return False
        low, high = self.loss.interval(0.1)
        return -self.narrow < low and high < self.narrow

    @property
    def too_few(self) -> str | None:
        """What is missing to see a shift that matters, in a sentence."""
        return enough(*self.sizes, level=self.part, tests=len(self.features))

    @cached_property
    def within_classes(self) -> bool | None:
        """Whether the rows moved within their classes; None: too few rows to see that.

        With labels, as many rows of each class are taken from both sides. Without, reference rows are kept with
        probability w(y) / max w of the estimated class weights, which makes both sides alike under a pure label shift.
        Losses of rows of the same classes must not have risen either.
        """
        shares = self.shares
        if shares is None or self.old.labels_N is None:
            return None
        random = np.random.default_rng(derive(self.seed, "within classes"))
        rows = (np.arange(len(self.old.outputs_Nk)), np.arange(len(self.new.outputs_Nk)))
        if self.new.labels_N is not None:
            rows = _matched(self.old.labels_N, self.new.labels_N, random)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                weights = np.where(shares.reference > 0, np.maximum(shares.incoming, 0) / shares.reference, 0.0)
            known = self.old.labels_N >= 0
            kept = np.where(known, weights[np.where(known, self.old.labels_N, 0)], 0.0)
            rows = (np.flatnonzero(random.random(len(kept)) * max(kept.max(), 1e-300) < kept), rows[1])
        if min(map(len, rows)) < MATCHED:
            return None
        old, new = self.old.take(rows[0]), self.new.take(rows[1])
        part = (
            self.level / 5
        )  # a true label shift is to be called so: each of three tests is held to a fifth of the level
        together = classifier_test(
            old.representation_Nh, new.representation_Nh, level=part, seed=self.seed, gate=2 * GATE
        )
        (a, names), (b, _) = (side.columns() for side in self.few)
        alone = feature_tests(a[rows[0]], b[rows[1]], names, level=part, gate=2 * GATE)
        worse = False
        if self.losses is not None:
            loss = rise(*(side[index] for side, index in zip(self.losses, rows, strict=True)))
            worse = loss.p < part and loss.difference > self.margin
        return bool(together.alarm or worse or any(f.alarm for f in alone))

    def _probabilities(self, side: Answers) -> Floats:
        p = side.outputs_Nk
        return np.concatenate([1 - p, p], 1) if p.shape[1] == 1 else p

    def _constant(self) -> float:
        """The loss of a constant guess on the reference."""
        targets, task = self.subject.reference.targets, self.subject.task
        if targets is None or task is None:
            return 0.0
        kind = task.prepare().kind
        if kind in ("classification", "binary", "language-model"):
            p = np.unique(targets.numpy(), return_counts=True)[1] / targets.numel()
            return -float((p * np.log(p)).sum())
        if kind == "regression" and task.loss is None:
            return float(targets.double().var(0).mean()) if len(targets) > 1 else 0.0
        return 0.0


def _first(sample: Sample) -> Sample:
    """At most `MOST` rows, evenly spread."""
    if sample.rows <= MOST:
        return sample
    return sample.take(np.linspace(0, sample.rows - 1, MOST).astype(np.int64))


def _matched(
    a_N: npt.NDArray[np.int64], b_M: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As many rows of each class from both sides."""
    rows: tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]]] = ([], [])
    for label in np.intersect1d(a_N[a_N >= 0], b_M):
        sides = [np.flatnonzero(x == label) for x in (a_N, b_M)]
        count = min(map(len, sides))
        for found, side in zip(rows, sides, strict=True):
            found.append(random.choice(side, count, replace=False))
    return tuple(np.sort(np.concatenate(part)) if part else np.zeros(0, np.int64) for part in rows)  # type: ignore[return-value]
